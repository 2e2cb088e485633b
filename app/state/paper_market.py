"""What the paper exchange's market shows, live, and choosing something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.services.identity.audit import audited
from app.services.market.candles import DatasetView, read_candles
from app.services.market.paper_market import (
    PaperMarketRequestView,
    PaperMarketView,
    latest_request,
    paper_markets,
    request_paper_market,
)
from app.state import words
from app.state.base import Unit, handler, put, say, text_of, whole, work
from app.state.candles import rows_after
from app.state.rows import Row

TIMEFRAMES = ("1s", "1m", "5m", "15m", "1h")
SOURCES = {"replay": "Replay", "synthetic": "Synthetic", "mirror": "Mirror"}
_CHART_CANDLES = 900
#: A tab that was away for longer than this many candles loads its chart anew.
_MOST_FRESH = 300


class PaperMarketState(rx.State):
    """The chosen symbol's market."""

    symbols: list[str] = []  # noqa: RUF012
    symbol: str = ""
    market: Row = {}  # noqa: RUF012
    request: Row = {}  # noqa: RUF012
    timeframe: str = "1s"
    chart_url: str = ""
    fresh: list[dict[str, float]] = []  # noqa: RUF012
    replayable: list[Row] = []  # noqa: RUF012

    changing: bool = False
    source: str = "replay"
    errors: dict[str, str] = {}  # noqa: RUF012
    _newest_ms: int = 0

    async def _reload(self, unit: Unit, datasets: Sequence[DatasetView]) -> None:
        markets = await paper_markets(unit.session)
        by_symbol = {m.symbol: m for m in markets}
        symbols = words.in_menu_order(by_symbol)
        shown = by_symbol.get(self.symbol) or (by_symbol[symbols[0]] if symbols else None)
        put(self, symbols=symbols, symbol=shown.symbol if shown else "")
        if shown is None:
            put(self, market={}, request={}, chart_url="")
            return
        request = await latest_request(unit.session, shown.symbol)
        put(
            self,
            market=_market_row(shown, unit),
            request=_request_row(request) if request and request.state != "APPLIED" else {},
            replayable=[_choice(d) for d in datasets if d.symbol == shown.symbol],
        )
        await self._follow(unit, shown.venue)

    async def _follow(self, unit: Unit, venue: str) -> None:
        """Send the candles that closed since the last look; a changed market or timeframe loads the chart anew."""
        url = f"/api/v1/candles?venue={venue}&symbol={self.symbol}&timeframe={self.timeframe}&limit={_CHART_CANDLES}"
        if url != self.chart_url:
            self._newest_ms, self.fresh = 0, []
        found = await read_candles(
            unit.session, venue=venue, symbol=self.symbol, timeframe=self.timeframe, limit=_MOST_FRESH, newest=True
        )
        times = found.open_time_ms.tolist()
        rows = rows_after(found, self._newest_ms)
        if rows:
            self._newest_ms = times[-1]
            # The chart loads what is there when its address changes; later it is told only what is new.
            put(self, fresh=rows if url == self.chart_url else [])
        put(self, chart_url=url if times else "")

    async def _again(self) -> None:
        from app.state.market import MarketState

        async with work(self) as unit:
            await (await self.get_state(MarketState))._renew(unit)

    @handler
    async def set_symbol(self, symbol: str) -> None:
        """Show another symbol's market."""
        self.symbol = symbol if symbol in self.symbols else self.symbol
        await self._again()

    @handler
    async def set_timeframe(self, timeframe: str) -> None:
        """Another timeframe of the live chart."""
        self.timeframe = timeframe if timeframe in TIMEFRAMES else "1s"
        await self._again()

    @handler
    async def set_changing(self, changing: bool) -> None:
        """Open or close the form that changes the market."""
        self.changing, self.errors = changing is True, {}

    @handler
    async def set_source(self, source: str) -> None:
        """Replay, synthetic or mirror."""
        self.source = source if source in SOURCES else "replay"

    @handler
    async def apply(self, form: dict[str, Any]) -> None:
        """Ask for the market of the form; the worker carries it out."""
        self.errors = {}
        is_replay, is_synthetic = self.source == "replay", self.source == "synthetic"
        start, seed = text_of(form, "start", most=12), text_of(form, "seed", most=12)
        if is_replay and not text_of(form, "dataset_id"):
            raise InvalidInput("Choose the data set to replay.", field="dataset_id")
        async with work(self) as unit:
            await request_paper_market(
                unit.session,
                user_id=unit.user_id,
                symbol=self.symbol,
                source=self.source,
                dataset_id=whole(form.get("dataset_id"), "dataset_id") if is_replay else None,
                start=whole(start, "start") if is_replay and start else None,
                loop=is_replay and bool(form.get("loop")),
                seed=whole(seed, "seed") if is_synthetic and seed else None,
            )
            what = f"paper_market:{self.symbol}"
            await audited(unit.session, unit.caller, "paper_market.requested", object=what, clock=unit.clock)
        self.changing = False
        await self._again()
        await say(self, "info", "Market change asked for", "The paper exchange changes within seconds.")


def _market_row(market: PaperMarketView, unit: Unit) -> Row:
    total, progress = market.total, market.progress
    done = "" if total is None or progress is None else f"{words.number(progress)} of {words.number(total)} candles"
    return {
        "symbol": market.symbol,
        "what": SOURCES.get(market.source, market.source),
        "label": market.label,
        "progress": done,
        "progress_pct": f"{100 * progress / total:.2f}%" if total and progress is not None else "",
        "gaps": f"{words.number(market.gaps_closed)} closed, so that time runs on" if market.gaps_closed else "none",
        "at_end": "begins again" if market.loop else "halts the symbol" if total else "has no end",
        "halted": "" if not market.halted else "Halted" if market.source == "mirror" else "Halted at its end",
        "trouble": market.trouble,
        "preset": market.preset,
        "seen": words.ago(market.seen_at, unit.now),
        "venue": market.venue,
    }


def _request_row(request: PaperMarketRequestView) -> Row:
    what = {"replay": "a replay", "mirror": "a mirror of Binance"}.get(request.source, "a synthetic market")
    if request.state == "FAILED":
        return {"tone": "bad", "words": f"The change to {what} failed: {request.message or 'no reason was given'}."}
    return {"tone": "warn", "words": f"Changing to {what} …"}


def _choice(dataset: DatasetView) -> Row:
    return {"value": str(dataset.id), "label": f"{dataset.name} · {dataset.timeframe} · {dataset.rows:,} candles"}
