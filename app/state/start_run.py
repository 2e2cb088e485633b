"""Starting a strategy on an account: one dialog, opened from several pages."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput, Unavailable
from app.services import execution
from app.services.identity.audit import audited
from app.services.strategy.library import list_strategies
from app.services.strategy.runs import start_run
from app.state.base import handler, text_of, whole, work
from app.state.rows import Row, account_options


class StartRunState(rx.State):
    """The start dialog."""

    is_open: bool = False
    strategies: list[Row] = []  # noqa: RUF012
    accounts: list[Row] = []  # noqa: RUF012
    strategy: str = ""
    account: str = ""
    is_live: bool = False  # whether the chosen account trades real money
    asked: str = ""  # what a live run will do, while that is asked
    reading: str = ""
    symbols: list[str] = []  # noqa: RUF012
    without_stop: bool = False
    errors: dict[str, str] = {}  # noqa: RUF012
    _form: dict[str, Any] = {}  # noqa: RUF012 - what was asked about

    @handler
    async def open_for(self, strategy_id: str) -> None:
        """Open the dialog with a strategy chosen ("": the newest)."""
        async with work(self) as unit:
            found = await list_strategies(unit.session, user_id=unit.user_id)
            accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        self.errors, self.asked, self._form = {}, "", {}
        self.accounts = account_options(accounts, active_only=True)
        still_there = any(row["value"] == self.account for row in self.accounts)
        self._choose_account(self.account if still_there else next((row["value"] for row in self.accounts), ""))
        self.strategies = [
            {
                "value": str(strategy.id),
                "label": f"{strategy.name} · v{strategy.versions[0].number}",
                "reading": strategy.versions[0].reading,
                "symbols": ",".join(strategy.versions[0].document["market"]["symbols"]),
                "has_stop": "yes" if _has_stop(strategy.versions[0].document) else "",
            }
            for strategy in found
        ]
        wanted = str(whole(strategy_id, "strategy")) if strategy_id else ""
        self._choose(wanted or next((row["value"] for row in self.strategies), ""))
        self.is_open = True

    def _choose(self, strategy: str) -> None:
        row = next((row for row in self.strategies if row["value"] == strategy), None)
        self.strategy = strategy if row else ""
        self.reading = row["reading"] if row else ""
        self.symbols = row["symbols"].split(",") if row else []
        self.without_stop = row is not None and not row["has_stop"]

    def _choose_account(self, account: str) -> None:
        row = next((row for row in self.accounts if row["value"] == account), None)
        self.account = account if row else ""
        self.is_live = row is not None and row["kind"] == "LIVE"

    @handler
    async def choose_account(self, account: str) -> None:
        """Choose where it trades."""
        self._choose_account(str(whole(account, "account_id")))

    @handler
    async def choose(self, strategy: str) -> None:
        """Choose the strategy to start."""
        self._choose(strategy)

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Close the dialog (it is opened by `open_for`)."""
        self.is_open = self.is_open and is_open is True
        self.asked, self._form = "", {}

    @handler
    async def start(self, form: dict[str, Any]) -> Any:
        """Ask for the run; the worker warms it up and trades it. A live one is asked about first."""
        self.errors = {}
        if not self.is_live:
            return await self._commit(form, confirm_live=False)
        if not form.get("confirm_live"):
            raise InvalidInput("Say that you mean real money.", field="confirm_live")
        self._form = {name: form.get(name) for name in ("symbol", "confirm_no_stop")}
        strategy = next((row["label"] for row in self.strategies if row["value"] == self.strategy), "")
        account = next(row["label"] for row in self.accounts if row["value"] == self.account)
        where = text_of(form, "symbol", most=20)
        self.asked = f"{account}: “{strategy}” buys and sells {where} by itself until somebody stops it."
        return None

    @handler
    async def start_live(self) -> Any:
        """Yes: what was asked about is started."""
        if not self.asked:
            raise InvalidInput("There is no run to start; fill in the form again.")
        form, self.asked, self._form = self._form, "", {}
        return await self._commit(form, confirm_live=True)

    @handler
    async def go_back(self) -> None:
        """No: back to the form."""
        self.asked, self._form = "", {}

    async def _commit(self, form: dict[str, Any], *, confirm_live: bool) -> Any:
        if not self.strategy:
            raise InvalidInput("Choose a strategy.", field="strategy_id")
        if not self.account:
            raise InvalidInput("Choose an account.", field="account_id")
        async with work(self) as unit:
            health = await execution.service_health(unit.session, now=unit.now)
            if not health.ok:
                raise Unavailable(f"Nothing can be started now: {health.reason or health.state.lower()}.")
            run = await start_run(
                unit.session,
                user_id=unit.user_id,
                strategy_id=whole(self.strategy, "strategy_id"),
                account_id=int(self.account),
                symbol=text_of(form, "symbol", most=20) or None,
                confirm_no_stop=bool(form.get("confirm_no_stop")),
                confirm_live=confirm_live,
                clock=unit.clock,
            )
            await audited(unit.session, unit.caller, "run.started", object=f"run:{run.id}", clock=unit.clock)
        self.is_open = False
        return rx.redirect(f"/runs/{run.id}")


def _has_stop(document: dict[str, Any]) -> bool:
    stop = document.get("protect", {}).get("stop")
    return stop is not None and stop != "none"
