"""Placing an order by hand."""

from __future__ import annotations

import secrets
from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.domain.orders import OrderType, Side, TimeInForce
from app.services import execution
from app.services.execution import OrderDraft
from app.services.identity.audit import audited
from app.services.market.prices import prices
from app.state.base import amount_of, handler, say, text_of, whole, work
from app.state.orders import OrdersState
from app.state.rows import Row, account_options
from app.state.words import in_menu_order


class OrderFormState(rx.State):
    """The order form. Each opening is one intent: however often it is sent, there is one order."""

    is_open: bool = False
    accounts: list[Row] = []  # noqa: RUF012
    symbols: list[str] = []  # noqa: RUF012
    side: str = "BUY"
    kind: str = "LIMIT"
    by_amount: bool = False
    errors: dict[str, str] = {}  # noqa: RUF012
    _intent: str = ""

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Open the form with a fresh intent, or close it."""
        self.is_open, self.errors, self._intent = False, {}, ""
        if is_open is not True:
            return
        async with work(self) as unit:
            accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
            self.symbols = in_menu_order(await prices(unit.session, kind="PAPER"))
        self.accounts = account_options(accounts, active_only=True)
        self.is_open, self._intent = True, secrets.token_urlsafe(18)

    @handler
    async def set_side(self, side: str) -> None:
        """Buy or sell."""
        self.side = Side.SELL.value if side == Side.SELL.value else Side.BUY.value
        self.by_amount = self.by_amount and self.side == Side.BUY.value

    @handler
    async def set_kind(self, kind: str) -> None:
        """Limit or market."""
        self.kind = "MARKET" if kind == "MARKET" else "LIMIT"
        self.by_amount = self.by_amount and self.kind == "MARKET"

    @handler
    async def set_by_amount(self, by_amount: bool) -> None:
        """Size a market buy by what to spend."""
        self.by_amount = by_amount is True and self.kind == "MARKET" and self.side == "BUY"

    @handler
    async def place(self, form: dict[str, Any]) -> None:
        """Commit the order of the form; the execution service sends it."""
        self.errors = {}
        draft = self._draft(form)
        async with work(self) as unit:
            key = f"user:{unit.user_id}:ui-{self._intent or secrets.token_urlsafe(18)}"
            order = await execution.place_order(
                unit.session, user_id=unit.user_id, draft=draft, intent_key=key, clock=unit.clock, ids=unit.ids
            )
            await audited(unit.session, unit.caller, "order.placed", object=f"order:{order.id}", clock=unit.clock)
            await (await self.get_state(OrdersState))._renew(unit)
        self.is_open, self._intent = False, ""
        if order.reject_reason:
            await say(self, "error", f"Order {order.id} was refused", order.reject_reason)
        else:
            await say(self, "success", f"Order {order.id} accepted", execution.describe(order))

    def _draft(self, form: dict[str, Any]) -> OrderDraft:
        is_market, by_amount = self.kind == "MARKET", self.by_amount
        if not text_of(form, "account_id"):
            raise InvalidInput("Choose an account.", field="account_id")
        if not text_of(form, "quote_quantity" if by_amount else "quantity"):
            raise InvalidInput("Say how much.", field="quote_quantity" if by_amount else "quantity")
        return OrderDraft(
            account_id=whole(form.get("account_id"), "account_id"),
            symbol=text_of(form, "symbol", most=20).upper(),
            side=Side(self.side),
            type=OrderType.MARKET if is_market else OrderType.LIMIT,
            quantity=None if by_amount else amount_of(form, "quantity"),
            quote_quantity=amount_of(form, "quote_quantity") if by_amount else None,
            price=None if is_market else amount_of(form, "price"),
            time_in_force=None if is_market else TimeInForce.GTC,
        )
