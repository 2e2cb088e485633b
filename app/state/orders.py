"""The list of orders."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.services import execution
from app.services.identity.audit import audited
from app.state.base import PageState, Unit, handler, live, put, say, text_of, whole, work
from app.state.rows import Row, account_names, account_options, order_row

PAGE_ROWS = 50


@live("order", "fill", "account")
class OrdersState(PageState, rx.State):
    """Orders by account, symbol and whether they still work; newest first."""

    rows: list[Row] = []  # noqa: RUF012
    accounts: list[Row] = []  # noqa: RUF012
    account: str = ""
    symbol: str = ""
    open_only: bool = False
    older: bool = False
    is_paged: bool = False
    _before_id: int | None = None

    async def _reload(self, unit: Unit) -> None:
        accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        found = await execution.list_orders(
            unit.session,
            user_id=unit.user_id,
            account_id=int(self.account) if self.account else None,
            symbol=self.symbol or None,
            open_only=self.open_only,
            limit=PAGE_ROWS + 1,
            before_id=self._before_id,
        )
        everyone = await execution.list_accounts(unit.session, user_id=unit.user_id, with_removed=True)
        names = account_names(everyone)
        put(
            self,
            rows=[order_row(order, names) for order in found[:PAGE_ROWS]],
            older=len(found) > PAGE_ROWS,
            is_paged=self._before_id is not None,
            accounts=account_options(accounts),
        )

    async def _show(self) -> None:
        async with work(self) as unit:
            await self._renew(unit)

    @handler
    async def set_account(self, account: str) -> None:
        """Show one account's orders, or all."""
        self.account, self._before_id = str(whole(account, "account")) if account else "", None
        await self._show()

    @handler
    async def set_symbol(self, symbol: str) -> None:
        """Show one symbol's orders, or all."""
        self.symbol, self._before_id = text_of({"symbol": symbol}, "symbol", most=20).upper(), None
        await self._show()

    @handler
    async def set_open_only(self, open_only: bool) -> None:
        """Show only orders that still work, or all."""
        self.open_only, self._before_id = open_only is True, None
        await self._show()

    @handler
    async def go_older(self) -> None:
        """The next page."""
        if self.rows and self.older:
            self._before_id = int(self.rows[-1]["id"])
            await self._show()

    @handler
    async def go_newest(self) -> None:
        """The first page."""
        self._before_id = None
        await self._show()

    @handler
    async def cancel(self, order_id: str) -> None:
        """Ask for an order's cancellation."""
        async with work(self) as unit:
            await cancel_for(unit, order_id)
            await self._renew(unit)
        await say(
            self, "info", f"Cancel of order {order_id} asked for", "It may still fill until the exchange confirms."
        )


async def cancel_for(unit: Unit, order_id: Any) -> None:
    """Ask for a cancellation and write it down."""
    number = whole(order_id, "order")
    await execution.cancel_order(unit.session, user_id=unit.user_id, order_id=number, clock=unit.clock)
    await audited(unit.session, unit.caller, "order.cancelled", object=f"order:{number}", clock=unit.clock)
