"""Placing an order by hand. On a live account it is sent only after a second look at what it will do."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.domain.orders import OrderType, Side, TimeInForce
from app.services import execution
from app.services.container import get_services
from app.services.execution import OrderDraft
from app.services.identity.audit import audited
from app.services.market.prices import PriceView, prices
from app.state import words
from app.state.base import Unit, amount_of, handler, say, text_of, whole, work
from app.state.orders import OrdersState
from app.state.rows import Row, account_options
from app.state.words import in_menu_order

#: A menu longer than this is cut to what is quoted in USDT; the API takes every symbol.
_MOST_SYMBOLS = 200


class OrderFormState(rx.State):
    """The order form. Each opening is one intent: however often it is sent, there is one order."""

    is_open: bool = False
    accounts: list[Row] = []  # noqa: RUF012
    account: str = ""
    is_live: bool = False  # whether the chosen account trades real money
    asked: str = ""  # what a live order will do, while that is asked
    symbols: list[str] = []  # noqa: RUF012
    symbol: str = ""
    last: str = ""  # its newest price, and as of when
    side: str = "BUY"
    kind: str = "LIMIT"
    by_amount: bool = False
    errors: dict[str, str] = {}  # noqa: RUF012
    _intent: str = ""
    _drafted: OrderDraft | None = None  # what was asked about

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Open the form with a fresh intent, or close it."""
        self.is_open, self.errors, self.asked, self._intent, self._drafted = False, {}, "", "", None
        if is_open is not True:
            return
        async with work(self) as unit:
            accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
            self.accounts = account_options(accounts, active_only=True)
            still_there = any(row["value"] == self.account for row in self.accounts)
            await self._choose(unit, self.account if still_there else next((r["value"] for r in self.accounts), ""))
        self.is_open, self._intent = True, secrets.token_urlsafe(18)

    async def _choose(self, unit: Unit, account: str) -> None:
        row = next((row for row in self.accounts if row["value"] == account), None)
        self.account = account if row else ""
        self.is_live = row is not None and row["kind"] == "LIVE"
        known = await prices(unit.session, kind=row["kind"]) if row else {}
        self.symbols = _menu(in_menu_order(known))
        self._price_of(unit, known, self.symbol if self.symbol in self.symbols else next(iter(self.symbols), ""))

    def _price_of(self, unit: Unit, known: Mapping[str, PriceView], symbol: str) -> None:
        self.symbol, newest = symbol, known.get(symbol)
        if newest is None:
            self.last = "No price is known." if symbol else ""
            return
        age = words.ago(newest.priced_at, unit.now)
        self.last = f"{words.price(newest.price)} at {words.clock_time(newest.priced_at)}, {age}"

    @handler
    async def choose_account(self, account: str) -> None:
        """Trade on another account; each exchange has its own symbols."""
        async with work(self) as unit:
            await self._choose(unit, str(whole(account, "account_id")))

    @handler
    async def choose_symbol(self, symbol: str) -> None:
        """Trade another symbol: its newest price is shown with its age."""
        kind = next((row["kind"] for row in self.accounts if row["value"] == self.account), "")
        async with work(self) as unit:
            self._price_of(unit, await prices(unit.session, kind=kind), symbol if symbol in self.symbols else "")

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
        """Commit the order of the form; the execution service sends it. A live one is asked about first."""
        self.errors = {}
        draft = self._draft(form)
        if not self.is_live:
            await self._commit(draft, confirm_live=False)
            return
        if not form.get("confirm_live"):
            raise InvalidInput("Say that you mean real money.", field="confirm_live")
        label = next(row["label"] for row in self.accounts if row["value"] == self.account)
        async with work(self) as unit:
            about = _worth(draft, await prices(unit.session, kind="LIVE"))
        self._drafted = draft
        self.asked = f"{label}: {execution.describe(draft)}{about}. It is sent to Binance at once."

    @handler
    async def send(self) -> None:
        """Yes: what was asked about is sent."""
        draft = self._drafted
        if draft is None:
            raise InvalidInput("There is no order to send; fill in the form again.")
        self.asked, self._drafted = "", None
        await self._commit(draft, confirm_live=True)

    @handler
    async def go_back(self) -> None:
        """No: back to the form."""
        self.asked, self._drafted = "", None

    async def _commit(self, draft: OrderDraft, *, confirm_live: bool) -> None:
        async with work(self) as unit:
            key = f"user:{unit.user_id}:ui-{self._intent or secrets.token_urlsafe(18)}"
            order = await execution.place_order(
                unit.session,
                user_id=unit.user_id,
                draft=draft,
                intent_key=key,
                clock=unit.clock,
                ids=unit.ids,
                confirm_live=confirm_live,
                stale_price_ms=get_services().settings.stale_price_ms,
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
        if not self.account:
            raise InvalidInput("Choose an account.", field="account_id")
        if not text_of(form, "quote_quantity" if by_amount else "quantity"):
            raise InvalidInput("Say how much.", field="quote_quantity" if by_amount else "quantity")
        return OrderDraft(
            account_id=int(self.account),
            symbol=text_of(form, "symbol", most=20).upper(),
            side=Side(self.side),
            type=OrderType.MARKET if is_market else OrderType.LIMIT,
            quantity=None if by_amount else amount_of(form, "quantity"),
            quote_quantity=amount_of(form, "quote_quantity") if by_amount else None,
            price=None if is_market else amount_of(form, "price"),
            time_in_force=None if is_market else TimeInForce.GTC,
        )


def _worth(draft: OrderDraft, known: Mapping[str, PriceView]) -> str:
    """`, about 1,001.86 at the last price`; nothing where it is said already or no price is known."""
    price = draft.price or (known[draft.symbol].price if draft.symbol in known else None)
    if draft.quantity is None or price is None:
        return ""
    at = "its price" if draft.price else "the last price"
    return f", about {words.rate(draft.quantity * price)} at {at}"


def _menu(symbols: list[str]) -> list[str]:
    return symbols if len(symbols) <= _MOST_SYMBOLS else [name for name in symbols if name.endswith("USDT")]
