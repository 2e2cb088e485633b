"""The dialogs that replace one order, and that cancel all of an account."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any

import reflex as rx

from app.domain.money import plain
from app.services import execution
from app.services.identity.audit import audited
from app.state.base import amount_of, handler, put, say, text_of, whole, work
from app.state.rows import Row, account_options
from app.state.words import sentence


class ReplaceState(rx.State):
    """Another order in the place of one that works. Each opening is one intent."""

    order_id: str = ""  # of the order that is asked about
    wanted: Row = {}  # noqa: RUF012 - what the form begins with
    errors: dict[str, str] = {}  # noqa: RUF012
    _intent: str = ""

    @handler
    async def ask(self, order_id: str) -> None:
        """Open the form for one of one's orders."""
        number = whole(order_id, "order")
        async with work(self) as unit:
            order = (await execution.order_detail(unit.session, user_id=unit.user_id, order_id=number)).order
        amounts = {"price": order.price, "stop_price": order.stop_price, "quantity": order.quantity}
        self.wanted = {name: "" if value is None else plain(value) for name, value in amounts.items()}
        put(self, order_id=str(number), errors={}, _intent=secrets.token_urlsafe(18))

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Close the form."""
        if is_open is not True:
            put(self, order_id="", errors={})

    @handler
    async def replace(self, form: dict[str, Any]) -> None:
        """Ask for the replacement with what was changed in the form."""
        self.errors = {}
        order_id = whole(self.order_id, "order")
        asked = {name: amount_of(form, name) for name in ("price", "stop_price", "quantity")}
        changes = {name: value for name, value in asked.items() if value != _amount(self.wanted.get(name, ""))}
        async with work(self) as unit:
            done = await execution.replace_order(
                unit.session,
                user_id=unit.user_id,
                order_id=order_id,
                intent_key=f"user:{unit.user_id}:{self._intent}",
                clock=unit.clock,
                **changes,
            )
            what = f"order:{order_id}"
            await audited(
                unit.session, unit.caller, "order.replaced", object=what, clock=unit.clock, replacement=done.id
            )
        self.order_id = ""
        await say(self, "info", "Replacement asked for", "The new order is placed once this one is confirmed gone.")


class CancelAllState(rx.State):
    """Cancel everything that works on an account, in one act."""

    is_open: bool = False
    accounts: list[Row] = []  # noqa: RUF012
    errors: dict[str, str] = {}  # noqa: RUF012
    kept: list[str] = []  # noqa: RUF012 - what stayed, and why, of the last time

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Open or close the question."""
        put(self, is_open=False, errors={}, kept=[])
        if is_open is True:
            async with work(self) as unit:
                accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
            put(self, accounts=account_options(accounts), is_open=True)

    @handler
    async def cancel(self, form: dict[str, Any]) -> None:
        """Cancel the orders of the chosen account."""
        self.errors = {}
        account_id = whole(form.get("account_id"), "account")
        symbol = text_of(form, "symbol", most=20).upper() or None
        stops = bool(form.get("include_stops"))
        async with work(self) as unit:
            done = await execution.cancel_all_orders(
                unit.session,
                user_id=unit.user_id,
                account_id=account_id,
                symbol=symbol,
                include_stops=stops,
                clock=unit.clock,
            )
            asked = {"symbol": symbol, "include_stops": stops, "orders": done.cancelled}
            what = f"account:{account_id}"
            await audited(unit.session, unit.caller, "orders.cancelled", object=what, clock=unit.clock, **asked)
        put(self, kept=[sentence(words) for words in done.kept], is_open=bool(done.kept))
        many = f"{len(done.cancelled)} order{'' if len(done.cancelled) == 1 else 's'}"
        await say(self, "info", f"Cancel of {many} asked for", "What has filled stays filled.")


def _amount(text: str) -> Decimal | None:
    return Decimal(text) if text else None
