"""The first page: what matters now, over all accounts."""

from __future__ import annotations

from decimal import Decimal

import reflex as rx

from app.domain.money import ZERO
from app.services import execution
from app.services.execution import NoticeView
from app.services.portfolio.views import PortfolioView, portfolio_of
from app.services.strategy.runs import list_runs
from app.state import words
from app.state.base import PageState, Unit, live, put
from app.state.portfolio import figures_of
from app.state.rows import Row, account_names, fill_row, order_row, position_row
from app.state.runs import run_rows
from app.state.shell import RISKIEST_FIRST

_ROWS = 8
#: Open orders are counted up to this many.
_COUNTED = 500


@live("order", "fill", "position", "price", "run", "account", "notice")
class DashboardState(PageState, rx.State):
    """Figures are sums over accounts of one kind and quote asset; a figure that cannot be known is a dash."""

    figures: Row = {}  # noqa: RUF012
    kind: str = ""  # of the accounts that the figures are about
    steps: list[Row] = []  # noqa: RUF012
    positions: list[Row] = []  # noqa: RUF012
    orders: list[Row] = []  # noqa: RUF012
    more_orders: str = ""  # how many open orders are not shown
    runs: list[Row] = []  # noqa: RUF012
    fills: list[Row] = []  # noqa: RUF012
    notices: list[Row] = []  # noqa: RUF012

    async def _reload(self, unit: Unit) -> None:
        session, user_id = unit.session, unit.user_id
        accounts = await execution.list_accounts(session, user_id=user_id)
        names = account_names(await execution.list_accounts(session, user_id=user_id, with_removed=True))
        views = [await portfolio_of(session, user_id=user_id, account_id=a.id, now=unit.now) for a in accounts]
        # Real money is not added to play money: where there is a live account, only live ones are summed.
        shown = next((kind for kind in RISKIEST_FIRST if any(account.kind == kind for account in accounts)), "")
        runs = await list_runs(session, user_id=user_id, active_only=True)
        orders = await execution.list_orders(session, user_id=user_id, open_only=True, limit=_COUNTED)
        fills = await execution.list_fills(session, user_id=user_id, limit=_ROWS)
        told = await execution.notices(session, user_id=user_id, limit=6)
        put(
            self,
            figures=_total([view for account, view in zip(accounts, views, strict=True) if account.kind == shown]),
            kind=shown,
            positions=[
                position_row(p, view.quote_asset, account.kind)
                for account, view in zip(accounts, views, strict=True)
                for p in view.positions
                if p.quantity
            ],
            orders=[order_row(order, names) for order in orders[:_ROWS]],
            more_orders=_more(len(orders)),
            runs=await run_rows(unit, runs),
            fills=[fill_row(fill, names) for fill in fills],
            notices=[_notice_row(notice) for notice in told],
            steps=[] if runs or fills else _first_steps(has_account=bool(accounts)),
        )


def _total(views: list[PortfolioView]) -> Row:
    if not views:
        return {}
    first = views[0]
    same = [view for view in views if view.quote_asset == first.quote_asset]
    whole = PortfolioView(
        account_id=0,
        quote_asset=first.quote_asset,
        equity=_sum([view.equity for view in same]),
        cash=sum((view.cash for view in same), ZERO),
        realised=sum((view.realised for view in same), ZERO),
        unrealised=_sum([view.unrealised for view in same]),
        fees_quote=sum((view.fees_quote for view in same), ZERO),
        as_of=min(view.as_of for view in same),
        balances=[],
        positions=[],
    )
    return figures_of(whole)


def _more(number: int) -> str:
    if number <= _ROWS:
        return ""
    at_least = "at least " if number == _COUNTED else ""
    return f"and {at_least}{number - _ROWS} more"


def _sum(values: list[Decimal | None]) -> Decimal | None:
    known = [value for value in values if value is not None]
    return sum(known, ZERO) if len(known) == len(values) else None


def _notice_row(notice: NoticeView) -> Row:
    return {"time": words.day_time(notice.created_at), "message": words.sentence(notice.message)}


def _first_steps(*, has_account: bool) -> list[Row]:
    steps = [
        (
            "Add a paper account",
            "It starts with the balance you choose; no money is involved.",
            "/settings",
            has_account,
        ),
        ("Import candles", "Let the paper market replay a real history, or leave it synthetic.", "/market", False),
        ("Make a strategy", "Start from a template and read what it does in plain English.", "/strategies", False),
        ("Start it", "Watch its orders, fills and PnL arrive here.", "/runs", False),
    ]
    return [
        {"number": str(i), "title": title, "text": text, "href": href, "done": "yes" if done else ""}
        for i, (title, text, href, done) in enumerate(steps, 1)
    ]
