"""One live run: its position, its plan, and why it did what it did."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import reflex as rx

from app.domain.orders import Side
from app.models.strategy import StopMode
from app.services import execution
from app.services.execution import BookedFill
from app.services.identity.audit import audited
from app.services.market.candles import read_candles
from app.services.portfolio.views import PositionView, portfolio_of
from app.services.strategy import CandleColumns, timeframe_ms
from app.services.strategy.runs import PlanView, RunView, run_detail, stop_run
from app.state import words
from app.state.base import PageState, Unit, handler, live, put, say, text_of, whole, work
from app.state.candles import rows_after
from app.state.decisions import decision_row, trace_rows
from app.state.kill import switch_row
from app.state.rows import Row, fill_row, order_row, position_row
from app.state.runs import position_of, run_row

_CHART_CANDLES = 600
_MOST_FRESH = 120
_WHY = {
    "rule": "the exit rule became true",
    "stop": "the stop was reached",
    "trail": "the trailed stop was reached",
    "target": "the last target was reached",
    "time": "its time was over",
    "taken_over": "you took it over; nothing was sold",
    "stopped": "the run was stopped with “close”",
    "kill_switch": "the kill switch was engaged",
    "refused": "the entry was refused",
}


@live("run", "order", "fill", "position", "price", "decision", "kill")
class RunState(PageState, rx.State):
    """The run in the page's address."""

    run: Row = {}  # noqa: RUF012
    position: Row = {}  # noqa: RUF012
    plan: Row = {}  # noqa: RUF012
    plan_facts: list[Row] = []  # noqa: RUF012
    parts: list[Row] = []  # noqa: RUF012
    reading: str = ""
    decisions: list[Row] = []  # noqa: RUF012
    trace: list[Row] = []  # noqa: RUF012
    chosen: str = ""  # open time of the decision looked at; "" follows the newest
    orders: list[Row] = []  # noqa: RUF012
    fills: list[Row] = []  # noqa: RUF012
    markers: list[dict[str, Any]] = []  # noqa: RUF012
    chart_url: str = ""
    last: Row = {}  # noqa: RUF012 - newest price, of the price feed or of a candle that closed since
    fresh: list[dict[str, float]] = []  # noqa: RUF012
    stopping: bool = False
    switches: list[Row] = []  # noqa: RUF012 - of this run, and of its strategy
    _id: int = 0
    _newest_ms: int = 0

    async def _reload(self, unit: Unit) -> None:
        run_id = self._from_address()
        if run_id != self._id:
            self._id, self._newest_ms = run_id, 0
            put(self, chosen="", fresh=[], chart_url="", last={})
        detail = await run_detail(unit.session, user_id=unit.user_id, run_id=run_id)
        run = detail.run
        portfolio = await portfolio_of(unit.session, user_id=unit.user_id, account_id=run.account_id, now=unit.now)
        held = position_of(portfolio.positions, run_id)
        position = position_row(held, portfolio.quote_asset) if held else {}
        orders = await execution.list_orders(unit.session, user_id=unit.user_id, run_id=run_id, limit=50)
        fills = await execution.list_fills(unit.session, user_id=unit.user_id, run_id=run_id, limit=100)
        looked_at = next((d for d in detail.decisions if str(d.open_time_ms) == self.chosen), None)
        looked_at = looked_at or (detail.decisions[0] if detail.decisions else None)
        put(
            self,
            run=run_row(run, position or None),
            position=position,
            plan=_plan_row(detail.plan, stopped=run.state == "STOPPED"),
            plan_facts=_plan_facts(detail.plan),
            parts=await _parts(unit, detail.plan),
            reading=detail.version.reading,
            decisions=[decision_row(decision) for decision in detail.decisions],
            trace=trace_rows(looked_at) if looked_at else [],
            orders=[order_row(order) for order in orders],
            fills=[fill_row(fill) for fill in fills],
            markers=[_marker(fill) for fill in reversed(fills)],
        )
        engaged = await execution.kill_switches(unit.session, user_id=unit.user_id)
        of_run = await switch_row(unit, engaged, "run", run_id, f"run {run_id}")
        name = f"strategy “{run.strategy_name}”"
        put(self, switches=[of_run, await switch_row(unit, engaged, "strategy", run.strategy_id, name)])
        if run.venue:
            await self._follow(unit, run, held)

    async def _follow(self, unit: Unit, run: RunView, held: PositionView | None) -> None:
        """The chart of the candles it decides on: all of them once, later only what is new; and the last price."""
        found = await read_candles(
            unit.session, venue=run.venue, symbol=run.symbol, timeframe=run.timeframe, limit=_MOST_FRESH, newest=True
        )
        times = found.open_time_ms.tolist()
        rows = rows_after(found, self._newest_ms)
        if rows and self._newest_ms:
            self.fresh = rows
        self._newest_ms = times[-1] if times else 0
        url = f"/api/v1/candles?venue={run.venue}&symbol={run.symbol}&timeframe={run.timeframe}&limit={_CHART_CANDLES}"
        put(self, chart_url=url if times else "", last=_last(found, held))

    @handler
    async def look_at(self, open_time_ms: str) -> None:
        """Show why one decision was made; the newest follows again when it is chosen."""
        wanted = str(whole(open_time_ms, "decision"))
        newest = self.decisions[0]["key"] if self.decisions else ""
        self.chosen = "" if wanted == newest else wanted
        async with work(self) as unit:
            await self._renew(unit)

    @handler
    async def set_stopping(self, stopping: bool) -> None:
        """Open or close the question what becomes of the position."""
        self.stopping = stopping is True

    @handler
    async def stop(self, form: dict[str, Any]) -> None:
        """Ask the run to stop: its position stays protected, is closed, or its owner takes it over."""
        wanted = text_of(form, "mode")
        chosen = next((mode for mode in StopMode if mode.value == wanted), StopMode.KEEP_PROTECTED)
        await self._stop(chosen)

    @handler
    async def close_position(self) -> None:
        """Sell the position that a stopped run still holds under its stop."""
        await self._stop(StopMode.CLOSE)

    @handler
    async def take_over(self) -> None:
        """Look after the position of a stopped run oneself; its orders stay where they are."""
        await self._stop(StopMode.TAKE_OVER)

    async def _stop(self, mode: StopMode) -> None:
        async with work(self) as unit:
            await stop_run(
                unit.session,
                user_id=unit.user_id,
                run_id=self._id,
                mode=mode,
                reason="stopped by you",
                clock=unit.clock,
            )
            what = f"run:{self._id}"
            await audited(unit.session, unit.caller, "run.stopped", object=what, clock=unit.clock, mode=mode.value)
            await self._renew(unit)
        self.stopping = False
        await say(self, "info", "Stop asked for", "The execution service sees to the position now.")


def _last(candles: CandleColumns, held: PositionView | None) -> Row:
    """The newest price that is known: the price feed comes every few seconds, a candle may have closed since."""
    fed = held.priced_at if held is not None else None
    closes = candles.open_time_ms.tolist()
    closed = words.at_ms(closes[-1] + timeframe_ms(candles.timeframe)) if closes else None
    if closed is not None and (fed is None or closed > fed):
        shown = words.price(Decimal(repr(float(candles.close[-1]))))
        return {"price": shown, "as_of": f"close of {words.clock_time(closed)}"}
    if held is None or fed is None:
        return {}
    return {"price": words.price(held.price), "as_of": f"as of {words.clock_time(fed)}"}


def _marker(fill: BookedFill) -> dict[str, Any]:
    is_buy = fill.side == Side.BUY.value
    return {
        "time": int(fill.traded_at.timestamp()),
        "side": fill.side,
        "position": "belowBar" if is_buy else "aboveBar",
        "shape": "arrowUp" if is_buy else "arrowDown",
        "text": "",
    }


def _plan_row(plan: PlanView | None, *, stopped: bool) -> Row:
    if plan is None:
        return {}
    closable = stopped and plan.state in ("PROTECTING", "PROTECTED")
    return {
        "state": words.status_words(plan.state),
        "tone": words.tone(plan.state),
        "closable": "yes" if closable else "",
    }


def _plan_facts(plan: PlanView | None) -> list[Row]:
    """What is known of the plan; what is not, is left out."""
    if plan is None:
        return []
    orders = (
        ("Entry order", plan.entry_order_id),
        ("Stop order", plan.stop_order_id),
        ("Exit order", plan.exit_order_id),
    )
    time_stop = words.clock_time(words.at_ms(plan.time_stop_ms)) if plan.time_stop_ms else ""
    waits = plan.state == "ENTERING" and plan.entry_until_ms
    bare_ms = plan.unprotected_since_ms if plan.state != "CLOSED" else None
    pairs = [
        ("Entry price", words.price(plan.entry_price) if plan.entry_price is not None else "", ""),
        ("Entry waits until", words.clock_time(words.at_ms(plan.entry_until_ms)) if waits else "", ""),
        ("Stop price", words.price(plan.stop_price) if plan.stop_price is not None else "", ""),
        ("Trail", _trail_words(plan), ""),
        ("Without its stop since", words.clock_time(words.at_ms(bare_ms)) if bare_ms else "", ""),
        ("Leaves at", time_stop, ""),
        *((name, str(number or ""), f"/orders/{number}") for name, number in orders),
        ("Left because", _WHY.get(plan.exit_reason, plan.exit_reason.replace("_", " ")), ""),
        ("Opened", words.day_time(plan.opened_at), ""),
        ("Closed", words.day_time(plan.closed_at) if plan.closed_at else "", ""),
    ]
    return [{"name": name, "value": value, "href": href} for name, value, href in pairs if value]


def _trail_words(plan: PlanView) -> str:
    """How the stop follows the price, and how far it has come."""
    trail = plan.trail
    if not trail:
        return ""
    distance = f"{trail['pct']} % of the entry price" if "pct" in trail else ""
    distance = distance or (f"{trail['r']} R" if "r" in trail else str(trail.get("distance", "")))
    begins = f", once {trail['after_r']} R up" if trail.get("after_r", "0") != "0" else ""
    reached = f"; highest {words.price(plan.highest)}" if plan.highest is not None else ""
    return f"{distance} below the highest price{begins}{reached}"


async def _parts(unit: Unit, plan: PlanView | None) -> list[Row]:
    """The position part by part: sold, resting or on its way."""
    if plan is None:
        return []
    parts = await execution.plan_parts(unit.session, user_id=unit.user_id, plan_id=plan.id)
    return [
        {
            "quantity": words.quantity(part.quantity),
            "stop": words.price(part.stop_price) if part.stop_price is not None else "",
            "target": words.price(part.target_price) if part.target_price is not None else "",
            "state": part.state,
            "tone": "good" if part.rests else "" if part.state.startswith("sold") else "wait",
            "order_href": f"/orders/{part.order_ids[0]}",
        }
        for part in parts
    ]
