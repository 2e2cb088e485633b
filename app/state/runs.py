"""The list of live runs."""

from __future__ import annotations

import reflex as rx

from app.domain.errors import NotFound
from app.services.portfolio.views import PositionView, portfolio_of
from app.services.strategy.runs import RunView, list_runs
from app.state import words
from app.state.base import PageState, Unit, live, put
from app.state.rows import Row, position_row


@live("run", "position", "price", "decision")
class RunsState(PageState, rx.State):
    """Runs, newest first, those that trade with their position and PnL."""

    active: list[Row] = []  # noqa: RUF012
    stopped: list[Row] = []  # noqa: RUF012

    async def _reload(self, unit: Unit) -> None:
        rows = await run_rows(unit, await list_runs(unit.session, user_id=unit.user_id, limit=60))
        put(
            self,
            active=[row for row in rows if row["is_active"]],
            stopped=[row for row in rows if not row["is_active"]],
        )


async def run_rows(unit: Unit, runs: list[RunView]) -> list[Row]:
    """Runs with the position of each, read account by account."""
    positions: dict[int, Row] = {}
    for account_id in {run.account_id for run in runs}:
        try:
            view = await portfolio_of(unit.session, user_id=unit.user_id, account_id=account_id, now=unit.now)
        except NotFound:
            continue
        positions |= {p.run_id: position_row(p, view.quote_asset) for p in view.positions if p.run_id}
    return [run_row(run, positions.get(run.id)) for run in runs]


def run_row(run: RunView, position: Row | None) -> Row:
    """A run in a list."""
    nothing = {"quantity": "0", "unrealised": words.UNKNOWN, "realised": words.UNKNOWN, "fees": words.UNKNOWN}
    held = position or nothing
    return {
        "id": str(run.id),
        "href": f"/runs/{run.id}",
        "strategy": run.strategy_name,
        "strategy_href": f"/strategies/{run.strategy_id}",
        "version": f"v{run.version_number}",
        "account": run.account_label,
        "account_kind": run.account_kind,
        "symbol": run.symbol,
        "timeframe": run.timeframe,
        "state": words.status_words(run.state),
        "tone": words.tone(run.state),
        "is_active": "" if run.state == "STOPPED" else "yes",
        "started": words.day_time(run.started_at or run.created_at),
        "stopped": words.day_time(run.stopped_at) if run.stopped_at else "",
        "why": words.sentence(run.stop_reason) if run.stop_reason else "",
        "decided": words.clock_time(words.at_ms(run.last_decided_ms)),
        "quantity": held["quantity"],
        "unrealised": held["unrealised"],
        "realised": held["realised"],
        "fees": held["fees"],
    }


def position_of(positions: list[PositionView], run_id: int) -> PositionView | None:
    """The position of a run."""
    return next((position for position in positions if position.run_id == run_id), None)
