"""Data sets: what has been imported, their gaps, and the chart of one."""

from __future__ import annotations

import reflex as rx

from app.services.container import get_services
from app.services.identity.audit import audited
from app.services.market.candles import DatasetView, delete_dataset, get_dataset, list_datasets
from app.services.strategy import timeframe_ms
from app.state import words
from app.state.base import PageState, Unit, handler, live, put, say, whole, work
from app.state.paper_market import PaperMarketState
from app.state.rows import Row

#: The chart shows the newest candles of a data set; the gateway gives at most this many at once.
CHART_CANDLES = 5000
MOST_GAPS = 200


@live("market", "price")
class MarketState(PageState, rx.State):
    """The market page: imported candles here, the paper market in a state of its own."""

    datasets: list[Row] = []  # noqa: RUF012
    chosen: Row = {}  # noqa: RUF012
    gaps: list[Row] = []  # noqa: RUF012
    warnings: list[str] = []  # noqa: RUF012
    chart_url: str = ""
    upload_limit_mb: int = 0
    _chosen_id: int = 0

    async def _reload(self, unit: Unit) -> None:
        found = await list_datasets(unit.session)
        put(
            self,
            datasets=[_row(dataset, unit.user_id) for dataset in found],
            upload_limit_mb=get_services().settings.upload_limit_mb,
        )
        if self._chosen_id and all(dataset.id != self._chosen_id for dataset in found):
            self._forget()
        await (await self.get_state(PaperMarketState))._reload(unit, found)

    async def _choose(self, unit: Unit, dataset_id: int) -> None:
        dataset = await get_dataset(unit.session, dataset_id)
        step_ms = timeframe_ms(dataset.timeframe)
        self._chosen_id = dataset_id
        put(
            self,
            chosen=_row(dataset, unit.user_id),
            warnings=list(dataset.warnings),
            gaps=[_gap_row(gap.from_ms, gap.missing, step_ms) for gap in dataset.gap_list[:MOST_GAPS]],
            chart_url=f"/api/v1/candles?venue={dataset.venue}&symbol={dataset.symbol}"
            f"&timeframe={dataset.timeframe}&limit={CHART_CANDLES}",
        )

    def _forget(self) -> None:
        self._chosen_id = 0
        put(self, chosen={}, gaps=[], warnings=[], chart_url="")

    @handler
    async def choose(self, dataset_id: str) -> None:
        """Show one data set: its chart and its gaps."""
        async with work(self) as unit:
            await self._choose(unit, whole(dataset_id, "data set"))

    @handler
    async def imported(self, dataset_id: str) -> None:
        """An upload is done: show it."""
        async with work(self) as unit:
            await self._renew(unit)
            await self._choose(unit, whole(dataset_id, "data set"))
        await say(self, "success", f"{self.chosen['name']} imported", f"{self.chosen['rows']} candles.")

    @handler
    async def remove(self, dataset_id: str) -> None:
        """Remove a data set and its candles."""
        number = whole(dataset_id, "data set")
        async with work(self) as unit:
            await delete_dataset(unit.session, user_id=unit.user_id, dataset_id=number)
            await audited(unit.session, unit.caller, "dataset.removed", object=f"dataset:{number}", clock=unit.clock)
            await self._renew(unit)


def _row(dataset: DatasetView, user_id: int) -> Row:
    gaps = f"{dataset.gaps:,} gap{'' if dataset.gaps == 1 else 's'}, {dataset.missing:,} missing"
    return {
        "id": str(dataset.id),
        "name": dataset.name,
        "symbol": dataset.symbol,
        "timeframe": dataset.timeframe,
        "rows": words.number(dataset.rows),
        "from": words.date_time(words.at_ms(dataset.first_ms)),
        "to": words.date_time(words.at_ms(dataset.last_ms)),
        "gaps": gaps if dataset.gaps else "no gaps",
        "gaps_class": "warn" if dataset.gaps else "muted",
        "range": f"{words.date(words.at_ms(dataset.first_ms))} to {words.date(words.at_ms(dataset.last_ms))}",
        "imported": words.day_time(dataset.created_at),
        "fingerprint": dataset.sha256[:12],
        "is_own": "yes" if dataset.user_id in (None, user_id) else "",
    }


def _gap_row(from_ms: int, missing: int, step_ms: int) -> Row:
    return {
        "from": words.date_time(words.at_ms(from_ms)),
        "to": words.date_time(words.at_ms(from_ms + (missing - 1) * step_ms)),
        "missing": words.number(missing),
    }
