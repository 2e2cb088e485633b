"""Balances, positions, PnL and fills of one account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import reflex as rx

from app.services import execution
from app.services.portfolio.snapshots import snapshots
from app.services.portfolio.views import BalanceView, PortfolioView, portfolio_of
from app.state import words
from app.state.accounts import chosen_account
from app.state.base import PageState, Unit, handler, live, put, whole, work
from app.state.rows import Row, fill_row, position_row

_CURVE = timedelta(days=30)


def figures_of(view: PortfolioView) -> Row:
    """The account's figures, each as of the oldest price that went in."""
    quote = view.quote_asset
    return {
        "quote": quote,
        "equity": words.money(view.equity, quote),
        "cash": words.money(view.cash, quote),
        "unrealised": words.signed(view.unrealised, quote),
        "realised": words.signed(view.realised, quote),
        "fees": words.money(view.fees_quote, quote),
        "priced": words.clock_time(view.as_of),
    }


@live("position", "fill", "price", "account", "order")
class PortfolioState(PageState, rx.State):
    """One account at a time."""

    accounts: list[Row] = []  # noqa: RUF012
    account: str = ""
    kind: str = ""
    figures: Row = {}  # noqa: RUF012
    books: str = ""
    balances: list[Row] = []  # noqa: RUF012
    positions: list[Row] = []  # noqa: RUF012
    closed: list[Row] = []  # noqa: RUF012
    fills: list[Row] = []  # noqa: RUF012
    curve: list[dict[str, Any]] = []  # noqa: RUF012

    async def _reload(self, unit: Unit) -> None:
        chosen = await chosen_account(self, unit)
        if chosen is None:
            put(self, figures={}, balances=[], positions=[], closed=[], fills=[], curve=[])
            return
        put(self, kind=chosen.kind)
        view = await portfolio_of(unit.session, user_id=unit.user_id, account_id=chosen.id, now=unit.now)
        fills = await execution.list_fills(unit.session, user_id=unit.user_id, account_id=chosen.id, limit=50)
        hours = await snapshots(unit.session, user_id=unit.user_id, account_id=chosen.id, since=unit.now - _CURVE)
        rows = [position_row(position, view.quote_asset) for position in view.positions]
        put(
            self,
            figures=figures_of(view),
            books=words.clock_time(chosen.books_agree_at) if chosen.books_agree_at else "",
            balances=[_balance_row(balance, view.quote_asset) for balance in view.balances],
            positions=[row for row in rows if row["is_open"]],
            closed=[row for row in rows if not row["is_open"]],
            fills=[fill_row(fill) for fill in fills],
            # For the eye only: a chart is drawn in floats.
            curve=[
                {"time": int(hour.hour_at.timestamp()), "value": float(hour.equity)}
                for hour in hours
                if hour.equity is not None
            ],
        )

    @handler
    async def set_account(self, account: str) -> None:
        """Look at another account."""
        self.account = str(whole(account, "account"))
        async with work(self) as unit:
            await self._renew(unit)


def _balance_row(balance: BalanceView, quote: str) -> Row:
    asset = balance.asset
    return {
        "asset": asset,
        "total": words.money(balance.total, asset),
        "exact": f"{words.quantity(balance.total)} {asset}",
        "reserved": words.money(balance.reserved, asset),
        "free": words.money(balance.free, asset),
        "value": words.money(balance.value, quote),
        # What the exchange said when it was last asked; trades since then are in the total, not in this.
        "exchange": words.money(balance.exchange_total, asset),
    }
