"""From notifications to the tabs that show what changed."""

from __future__ import annotations

import asyncio
import json

from app.database.notifications import RESYNC
from app.state.hub import MERGE_S, Hint, Hub


class Tabs:
    """Remembers what each tab was told; a tab may be slow, or gone."""

    def __init__(self) -> None:
        self.told: list[tuple[str, frozenset[Hint]]] = []
        self.gone: set[str] = set()
        self.slow: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()
        self.arrived = asyncio.Event()

    async def refresh(self, token: str, hints: frozenset[Hint]) -> None:
        if token in self.slow:
            await self.slow[token].wait()
        if token in self.failing:
            self.failing.discard(token)
            raise OSError("gone for a moment")
        self.told.append((token, hints))
        self.arrived.set()

    def is_connected(self, token: str, socket_id: str) -> bool:
        return token not in self.gone

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.told) < count:
                self.arrived.clear()
                await self.arrived.wait()


def make() -> tuple[Hub, Tabs]:
    hub, tabs = Hub(), Tabs()
    hub.connect(tabs.refresh, tabs.is_connected)
    hub.register(1, "ada-1", "s1")
    hub.register(1, "ada-2", "s2")
    hub.register(2, "tom-1", "s3")
    return hub, tabs


def payload(user_id: int | None, kind: str, about: int | str = 1) -> str:
    return json.dumps({"user_id": user_id, "kind": kind, "id": about})


async def test_a_hint_reaches_every_tab_of_its_user_and_no_other() -> None:
    hub, tabs = make()
    await hub.heard("plumbline_ui", payload(1, "fill", 7))
    await tabs.until(2)
    assert {token for token, _ in tabs.told} == {"ada-1", "ada-2"}
    assert {hints for _, hints in tabs.told} == {frozenset({Hint("fill", "7")})}


async def test_a_hint_without_a_user_reaches_everybody() -> None:
    hub, tabs = make()
    await hub.heard("plumbline_ui", payload(None, "price", "BTCUSDT"))
    await tabs.until(3)
    assert len(tabs.told) == 3


async def test_a_reconnect_makes_every_tab_look_for_itself() -> None:
    hub, tabs = make()
    await hub.heard(RESYNC, "")
    await tabs.until(3)
    assert all(hint.means_anything for _, hints in tabs.told for hint in hints)


async def test_a_burst_becomes_two_refreshes_the_first_at_once() -> None:
    hub, tabs = make()
    for number in range(50):
        await hub.heard("plumbline_ui", payload(2, "order", number))
        if number == 0:
            await tabs.until(1)
    await tabs.until(2)
    await asyncio.sleep(2 * MERGE_S)
    assert [len(hints) for _, hints in tabs.told] == [1, 49]


async def test_a_slow_tab_delays_no_other() -> None:
    hub, tabs = make()
    tabs.slow["ada-1"] = asyncio.Event()
    await hub.heard("plumbline_ui", payload(1, "fill"))
    await tabs.until(1)
    assert tabs.told[0][0] == "ada-2"
    tabs.slow["ada-1"].set()
    await tabs.until(2)


async def test_a_tab_that_could_not_be_refreshed_is_told_the_next_time() -> None:
    hub, tabs = make()
    tabs.failing.add("tom-1")
    await hub.heard("plumbline_ui", payload(2, "fill", 1))
    await asyncio.sleep(2 * MERGE_S)
    await hub.heard("plumbline_ui", payload(2, "fill", 2))
    await tabs.until(1)
    assert tabs.told == [("tom-1", frozenset({Hint("fill", "2")}))]


async def test_a_tab_whose_socket_is_gone_is_forgotten() -> None:
    hub, tabs = make()
    tabs.gone.add("ada-1")
    assert hub.tabs_of(1) == ["ada-2"]
    tabs.gone.clear()
    assert hub.tabs_of(1) == ["ada-2"]


async def test_odd_notifications_are_ignored() -> None:
    hub, tabs = make()
    for odd in ("", "no json", "[]", "7", "{}", json.dumps({"kind": "fill", "user_id": "1; drop"})):
        await hub.heard("plumbline_ui", odd)
    await hub.heard("plumbline_ui", payload(2, "fill"))
    await tabs.until(1)
    assert [token for token, _ in tabs.told] == ["tom-1"]
