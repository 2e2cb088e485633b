"""Strategies, versions and runs on real PostgreSQL, with the web's rights; and an account's limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from app.database.notifications import Listener
from app.domain.clock import to_datetime
from app.domain.errors import Conflict, InvalidAmount, InvalidInput, NotFound, PlumblineError
from app.models.strategy import StopMode
from app.services.risk.limits import DEFAULT_LIMITS, Limits, limits_of, set_limits
from app.services.strategy import template
from app.services.strategy.library import (
    StrategyView,
    archive_strategy,
    create_strategy,
    get_strategy,
    list_strategies,
    save_version,
)
from app.services.strategy.runs import RunView, decision, list_runs, run_detail, start_run, stop_run
from tests.conftest import Sessions
from tests.postgres.books import Books, insert

D = Decimal
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class FixedClock:
    """It is always noon."""

    def now_ms(self) -> int:
        return int(NOW.timestamp() * 1000)

    def exchange_now_ms(self) -> int:
        return self.now_ms()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


CLOCK = FixedClock()


def document(**changes: Any) -> dict[str, Any]:
    return template("ema_cross").document() | changes


@dataclass
class Room:
    """One user with an active paper account, as the web process serves them."""

    web: Sessions
    books: Books

    @property
    def user_id(self) -> int:
        return int(self.books.user_id)

    def other_user(self) -> int:
        row = {"email": "bob@example.org", "password_hash": "x", "role": "trader"}
        return int(insert(self.books.owner, "auth.users", row, "id"))

    async def create(self, name: str = "Mine", **changes: Any) -> StrategyView:
        async with self.web.begin() as session:
            return await create_strategy(session, user_id=self.user_id, name=name, document=document(**changes))

    async def start(self, strategy_id: int, **options: Any) -> RunView:
        given = {"user_id": self.user_id, "account_id": int(self.books.account_id), "clock": CLOCK} | options
        async with self.web.begin() as session:
            return await start_run(session, strategy_id=strategy_id, **given)

    async def stop(self, run_id: int, mode: StopMode = StopMode.CLOSE, **options: Any) -> RunView:
        given = {"user_id": self.user_id, "clock": CLOCK, "mode": mode, "reason": "enough"} | options
        async with self.web.begin() as session:
            return await stop_run(session, run_id=run_id, **given)

    def set_state(self, run_id: int, state: str) -> None:
        self.books.owner.execute("UPDATE strategy.runs SET state = %s WHERE id = %s", [state, run_id])


@pytest.fixture
def room(web_sessions: Sessions, own_books: Books) -> Room:
    own_books.owner.execute("UPDATE execution.accounts SET state = 'ACTIVE'")
    insert(own_books.owner, "execution.symbols", {"kind": "PAPER", "symbol": "BTCUSDT", "refreshed_at": NOW})
    return Room(web_sessions, own_books)


async def test_a_strategy_is_stored_with_its_reading_and_a_version_for_each_other_document(room: Room) -> None:
    made = await room.create(" First ")
    assert (made.name, [version.number for version in made.versions]) == ("First", [1])
    assert made.versions[0].reading.startswith("On BTCUSDT 1h, buy when")
    assert made.versions[0].document == document()
    async with room.web.begin() as session:
        same = await save_version(session, user_id=room.user_id, strategy_id=made.id, document=document())
        assert [version.number for version in same.versions] == [1]
        other = document(note="slower")
        new = await save_version(session, user_id=room.user_id, strategy_id=made.id, document=other)
        again = await save_version(session, user_id=room.user_id, strategy_id=made.id, document=document())
    assert [version.number for version in new.versions] == [2, 1]
    assert new.versions[0].hash != new.versions[1].hash
    assert again == new


async def test_versions_saved_at_once_are_numbered_apart(room: Room) -> None:
    made = await room.create()

    async def save(note: str) -> None:
        async with room.web.begin() as session:
            await save_version(session, user_id=room.user_id, strategy_id=made.id, document=document(note=note))

    await asyncio.gather(*(save(f"note {i % 3}") for i in range(6)))
    async with room.web.begin() as session:
        found = await get_strategy(session, user_id=room.user_id, strategy_id=made.id)
    assert [version.number for version in found.versions] == [4, 3, 2, 1]


async def test_an_invalid_document_is_refused_with_every_problem(room: Room) -> None:
    bad = document()
    bad["entry"] = {"all": [{"op": "crosses_above", "left": "ema_fsat", "right": "ema_slow"}]}
    async with room.web.begin() as session:
        with pytest.raises(InvalidInput) as caught:
            await create_strategy(session, user_id=room.user_id, name="", document=bad)
        with pytest.raises(InvalidInput, match="a strategy is a JSON object"):
            await create_strategy(session, user_id=room.user_id, name="", document=["no"])
    assert caught.value.facts["problems"][0]["path"] == "entry.all[0].left"
    assert "ema_fsat" in caught.value.message
    assert caught.value.field == "document"


async def test_lists_show_only_ones_own_and_not_archived_ones(room: Room) -> None:
    kept, gone = await room.create("kept"), await room.create("gone")
    async with room.web.begin() as session:
        await archive_strategy(session, user_id=room.user_id, strategy_id=gone.id, clock=CLOCK)
        assert [view.name for view in await list_strategies(session, user_id=room.user_id)] == ["kept"]
        other = room.other_user()
        assert await list_strategies(session, user_id=other) == []
        with pytest.raises(NotFound):
            await get_strategy(session, user_id=other, strategy_id=kept.id)
        with pytest.raises(Conflict, match="archived"):
            await save_version(session, user_id=room.user_id, strategy_id=gone.id, document=document(note="x"))
    with pytest.raises(Conflict, match="“gone” is archived"):
        await room.start(gone.id)


async def test_a_run_is_asked_for_and_the_worker_is_told(room: Room, database_urls: dict[Any, str]) -> None:
    heard: list[tuple[str, str]] = []
    listening, told = asyncio.Event(), asyncio.Event()

    async def hear(channel: str, payload: str) -> None:
        listening.set()
        heard.append((channel, payload))
        if channel == "plumbline_ui":
            told.set()

    listener = Listener(database_urls["web"], ["plumbline_work", "plumbline_ui"], hear)
    task = asyncio.create_task(listener.run())
    try:
        await asyncio.wait_for(listening.wait(), 10)
        made = await room.create("EMA")
        run = await room.start(made.id)
        await asyncio.wait_for(told.wait(), 10)
    finally:
        task.cancel()
    assert ("plumbline_work", "runs") in heard
    assert (run.state, run.symbol, run.timeframe, run.version_number) == ("STARTING", "BTCUSDT", "1h", 1)
    assert (run.strategy_name, run.created_at) == ("EMA", NOW)
    async with room.web.begin() as session:
        assert await list_runs(session, user_id=room.user_id, active_only=True) == [run]
        assert await list_runs(session, user_id=room.other_user()) == []


async def test_an_older_version_can_be_run(room: Room) -> None:
    made = await room.create()
    async with room.web.begin() as session:
        await save_version(session, user_id=room.user_id, strategy_id=made.id, document=document(note="2"))
    with pytest.raises(InvalidInput, match="has no version 3") as caught:
        await room.start(made.id, version_number=3)
    assert caught.value.field == "version_number"
    assert (await room.start(made.id, version_number=1)).version_number == 1


async def refusal_of(room: Room, strategy_id: int, **options: Any) -> PlumblineError:
    with pytest.raises(PlumblineError) as caught:
        await room.start(strategy_id, **options)
    return caught.value


async def test_a_start_is_refused_in_words_where_nothing_could_be_traded(room: Room) -> None:
    owner, made = room.books.owner, await room.create("EMA")
    label = room.books.owner.execute("SELECT label FROM execution.accounts").fetchone()
    assert label is not None

    owner.execute("UPDATE execution.accounts SET state = 'FROZEN', state_reason = 'the key was refused'")
    error = await refusal_of(room, made.id)
    assert isinstance(error, Conflict)
    assert error.message == (
        f"The account “{label[0]}” is frozen (the key was refused), so nothing can be traded on it."
    )
    owner.execute("UPDATE execution.accounts SET state = 'REQUESTED', state_reason = ''")
    assert "is still being set up" in (await refusal_of(room, made.id)).message
    owner.execute("UPDATE execution.accounts SET state = 'ACTIVE'")

    switch = {"scope": "global", "scope_id": 0, "engaged_at": NOW, "engaged_by": "ann", "reason": "drawdown"}
    insert(owner, "execution.kill_switches", switch)
    error = await refusal_of(room, made.id)
    assert error.message == "The kill switch for everything is engaged (drawdown). Release it first."
    owner.execute("UPDATE execution.kill_switches SET released_at = now()")
    insert(owner, "execution.kill_switches", switch | {"scope": "account", "scope_id": room.books.account_id})
    assert "The kill switch for the account" in (await refusal_of(room, made.id)).message
    owner.execute("UPDATE execution.kill_switches SET released_at = now()")
    insert(owner, "execution.kill_switches", switch | {"scope": "strategy", "scope_id": made.id})
    assert "The kill switch for the strategy" in (await refusal_of(room, made.id)).message
    owner.execute("UPDATE execution.kill_switches SET released_at = now()")

    assert isinstance(await refusal_of(room, made.id, user_id=room.other_user()), NotFound)
    assert isinstance(await refusal_of(room, made.id + 1), NotFound)
    error = await refusal_of(room, made.id, symbol="ETHUSDT")
    assert (error.message, error.field) == ("This strategy trades BTCUSDT, not ETHUSDT.", "symbol")  # type: ignore[attr-defined]
    assert (await room.start(made.id)).state == "STARTING"


async def test_a_symbol_the_exchange_does_not_have_is_refused(room: Room) -> None:
    market = {"symbols": ["SOLUSDT"], "timeframe": "1h"}
    made = await room.create(market=market)
    assert (await refusal_of(room, made.id)).message == "The paper exchange has no symbol SOLUSDT."


async def test_one_of_several_symbols_must_be_chosen(room: Room) -> None:
    made = await room.create(market={"symbols": ["ETHUSDT", "BTCUSDT"], "timeframe": "1h"})
    error = await refusal_of(room, made.id)
    assert error.facts["problems"][0]["path"] == "market.symbols"
    assert (await room.start(made.id, symbol="btcusdt")).symbol == "BTCUSDT"


async def test_what_a_live_run_cannot_do_is_refused(room: Room) -> None:
    made = await room.create(limits={"max_open": 2})
    error = await refusal_of(room, made.id)
    assert error.message.startswith("This strategy cannot run live: a live run holds one position at a time")


async def test_limit_entries_targets_and_trails_run_live(room: Room) -> None:
    protect = {"stop": {"pct": "2"}, "take_profit": [{"at": {"r": "1"}, "close_pct": 50}], "trail": {"pct": "1"}}
    made = await room.create(order={"type": "limit", "limit_offset_pct": 0.1}, protect=protect)
    assert (await room.start(made.id)).state == "STARTING"


async def test_a_strategy_without_a_stop_needs_the_users_word(room: Room) -> None:
    made = await room.create(protect={"stop": "none"}, sizing={"mode": "equity_pct", "pct": "10"})
    error = await refusal_of(room, made.id)
    assert error.field == "confirm_no_stop"  # type: ignore[attr-defined]
    assert (await room.start(made.id, confirm_no_stop=True)).state == "STARTING"


async def test_the_same_strategy_runs_once_on_an_account_and_symbol(room: Room) -> None:
    made, other = await room.create("EMA"), await room.create("Other")
    results = await asyncio.gather(*(room.start(made.id) for _ in range(4)), return_exceptions=True)
    started = [result for result in results if isinstance(result, RunView)]
    assert len(started) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 3
    assert f"(run {started[0].id})" in (await refusal_of(room, made.id)).message
    assert (await room.start(other.id)).strategy_name == "Other"
    room.set_state(started[0].id, "STOPPED")
    assert (await room.start(made.id)).id > started[0].id


async def test_a_stop_stores_what_becomes_of_the_position_and_the_worker_does_the_rest(room: Room) -> None:
    run = await room.start((await room.create()).id)
    room.set_state(run.id, "RUNNING")
    stopping = await room.stop(run.id, StopMode.CLOSE)
    assert (stopping.state, stopping.stop_mode, stopping.stop_reason) == ("STOPPING", "close", "enough")
    assert (await room.stop(run.id, StopMode.KEEP_PROTECTED)).stop_mode == "keep_protected"
    room.set_state(run.id, "STOPPED")
    with pytest.raises(Conflict, match="stopped already"):
        await room.stop(run.id)
    with pytest.raises(NotFound):
        await room.stop(run.id, user_id=room.other_user())


async def test_a_run_that_has_not_begun_stops_at_once(room: Room) -> None:
    run = await room.start((await room.create()).id)
    stopped = await room.stop(run.id)
    assert (stopped.state, stopped.stopped_at) == ("STOPPED", to_datetime(CLOCK.now_ms()))


async def test_a_running_strategy_is_not_archived(room: Room) -> None:
    made = await room.create()
    await room.start(made.id)
    async with room.web.begin() as session:
        with pytest.raises(Conflict, match="Stop it before"):
            await archive_strategy(session, user_id=room.user_id, strategy_id=made.id, clock=CLOCK)


async def test_a_runs_detail_shows_its_plan_and_newest_decisions(room: Room) -> None:
    run = await room.start((await room.create()).id)
    owner = room.books.owner
    for i in range(3):
        insert(
            owner,
            "strategy.decisions",
            {
                "run_id": run.id,
                "open_time_ms": i * 1000,
                "action": "none",
                "entry": 0,
                "exit": -1,
                "trace": Jsonb({"at": i}),
            },
        )
    for state in ("PROTECTED", "CLOSED"):
        insert(
            owner,
            "execution.plans",
            {"account_id": room.books.account_id, "run_id": run.id, "symbol": "BTCUSDT", "state": state},
        )
    async with room.web.begin() as session:
        detail = await run_detail(session, user_id=room.user_id, run_id=run.id, decisions=2)
        one = await decision(session, user_id=room.user_id, run_id=run.id, open_time_ms=1000)
        stranger = room.other_user()
        for refused in (
            run_detail(session, user_id=stranger, run_id=run.id),
            decision(session, user_id=stranger, run_id=run.id, open_time_ms=1000),
            decision(session, user_id=room.user_id, run_id=run.id, open_time_ms=1),
        ):
            with pytest.raises(NotFound):
                await refused
    assert detail.run == run
    assert detail.plan is not None
    assert detail.plan.state == "PROTECTED"
    assert [each.open_time_ms for each in detail.decisions] == [2000, 1000]
    assert detail.version.reading.startswith("On BTCUSDT")
    assert (one.trace, one.exit) == ({"at": 1}, -1)


async def test_limits_hold_from_when_they_are_set_and_only_the_owner_sets_them(room: Room) -> None:
    account_id = int(room.books.account_id)

    async def change(order: str, exposure: str, user_id: int = room.user_id) -> Limits:
        async with room.web.begin() as session:
            return await set_limits(
                session,
                user_id=user_id,
                account_id=account_id,
                max_order_notional=D(order),
                max_symbol_exposure=D(exposure),
            )

    async with room.web.begin() as session:
        assert await limits_of(session, account_id) == DEFAULT_LIMITS
        await change("50", "75.5")
        assert await limits_of(session, account_id) == Limits(D(50), D("75.5"))
    assert await change("60", "80") == Limits(D(60), D(80))
    with pytest.raises(InvalidAmount) as caught:
        await change("0", "80")
    assert caught.value.field == "max_order_notional"
    with pytest.raises(NotFound):
        await change("1", "1", room.other_user())
