"""The list of strategies, and making one from a template."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.services.identity.audit import audited
from app.services.strategy import TEMPLATES, template
from app.services.strategy.library import StrategyView, create_strategy, list_strategies
from app.services.strategy.runs import list_runs
from app.state import words
from app.state.base import PageState, Unit, handler, live, put, text_of, work
from app.state.rows import Row

_EXAMPLE_SYMBOL = "BTCUSDT"


@live("run")
class StrategiesState(PageState, rx.State):
    """The viewer's strategies, each by its newest version."""

    rows: list[Row] = []  # noqa: RUF012
    templates: list[Row] = []  # noqa: RUF012
    creating: bool = False
    template: str = TEMPLATES[0].key

    async def _reload(self, unit: Unit) -> None:
        found = await list_strategies(unit.session, user_id=unit.user_id)
        active = await list_runs(unit.session, user_id=unit.user_id, active_only=True)
        running = {run.strategy_id for run in active}
        put(
            self,
            rows=[_row(strategy, strategy.id in running) for strategy in found],
            templates=[
                {"key": one.key, "title": one.title, "explains": one.explains, "loses_when": one.loses_when}
                for one in TEMPLATES
            ],
        )

    @handler
    async def set_creating(self, creating: bool) -> None:
        """Open or close the form for a new strategy."""
        self.creating, self.errors = creating is True, {}

    @handler
    async def set_template(self, key: str) -> None:
        """Choose the template to start from."""
        self.template = template(text_of({"template": key}, "template", most=60)).key

    @handler
    async def create(self, form: dict[str, Any]) -> Any:
        """Make a strategy of the template and open it."""
        self.errors = {}
        symbol = text_of(form, "symbol", most=20).upper() or _EXAMPLE_SYMBOL
        if not symbol.isalnum() or not symbol.isascii():
            raise InvalidInput("A symbol looks like BTCUSDT.", field="symbol")
        document = template(self.template).document(symbol)
        name = text_of(form, "name", most=100)
        async with work(self) as unit:
            made = await create_strategy(unit.session, user_id=unit.user_id, name=name, document=document)
            what = f"strategy:{made.id}"
            await audited(unit.session, unit.caller, "strategy.created", object=what, clock=unit.clock, name=made.name)
        self.creating = False
        return rx.redirect(f"/strategies/{made.id}")


def _row(strategy: StrategyView, is_running: bool) -> Row:
    newest = strategy.versions[0]
    market = newest.document["market"]
    return {
        "id": str(strategy.id),
        "href": f"/strategies/{strategy.id}",
        "name": strategy.name,
        "market": f"{', '.join(market['symbols'])} · {market['timeframe']}",
        "version": f"v{newest.number}",
        "hash": newest.hash[:10],
        "reading": newest.reading,
        "saved": words.day_time(newest.created_at),
        "state": "Running" if is_running else "",
    }
