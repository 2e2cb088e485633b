"""What happens in a round, drawn from the campaign's seed and the round's number and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.points import OF_RECOVERY, POINTS

#: Every so many rounds the death bound is the real one, 75 s, on a stack of its own.
REAL_BOUND_EVERY = 50
LOAD_S = 4.5
POST = ["POST /api/v3/order", "POST /api/v3/orderList/oco"]
DELETE, GET = "DELETE /api/v3/order", "GET /api/v3/order"
LISTS = ["GET /api/v3/openOrders", "GET /api/v3/myTrades", "GET /api/v3/allOrders", "GET /api/v3/account"]

Fault = dict[str, Any]
Rng = random.Random


def _on(endpoint: str | list[str], **fault: Any) -> Fault:
    return {"where": {"endpoint": endpoint}, **fault}


def _told(**fault: Any) -> Fault:
    return {"where": {"stream": "user"}, **fault}


def _either(rng: Rng) -> str:
    return rng.choice(("before", "after"))


#: What the exchange can do to us, as bodies for `/paper/faults`. Delays stay below the scaled death bound.
WEATHER: Mapping[str, Callable[[Rng], Fault]] = {
    "answers lost after accepting": lambda r: _on([*POST, DELETE], kind="drop", when="after"),
    "requests lost": lambda r: _on([*POST, DELETE], kind="drop", when="before"),
    "answers never come": lambda r: _on(POST, kind="timeout", when=_either(r), hold_ms=r.randrange(300, 1500)),
    "answers broken off": lambda r: _on([*POST, DELETE, GET], kind="truncated"),
    "late before the engine": lambda r: _on(POST, kind="engine_delay", delay_ms=r.randrange(100, 1200)),
    "5xx, carried out": lambda r: _on([*POST, DELETE], kind="http_5xx", when="after", status=r.randrange(500, 505)),
    "5xx, not carried out": lambda r: _on("*", kind="http_5xx", when="before", body=r.choice(("html", "json"))),
    "-1007, carried out": lambda r: _on([*POST, DELETE], kind="unknown_outcome", when="after"),
    "-1006, not carried out": lambda r: _on(POST, kind="unknown_outcome", when="before", code=-1006),
    "429": lambda r: _on("*", kind="rate_limited", retry_after_s=r.randrange(1, 3), count=1, skip=r.randrange(12)),
    "418": lambda r: _on("*", kind="banned", retry_after_s=r.randrange(2, 4), count=1, skip=r.randrange(12)),
    "the firewall refuses": lambda r: _on(POST, kind="forbidden"),
    "redirects": lambda r: _on([*POST, GET], kind="redirect"),
    "questions fail": lambda r: _on([GET, *LISTS], kind="http_5xx", when="before"),
    "lists drop": lambda r: _on(LISTS, kind="drop", when="after"),
    "orders visible late": lambda r: {"kind": "late_memory", "lag_ms": r.randrange(200, 1200)},
    "lists late": lambda r: {"kind": "late_database", "lag_ms": r.randrange(200, 1200)},
    "events doubled": lambda r: _told(kind="duplicate_reports"),
    "events overtaken": lambda r: _told(kind="reorder_reports", hold_ms=r.randrange(100, 1500)),
    "events dropped": lambda r: _told(kind="stream_silence"),
    "stream cut": lambda r: _told(kind=r.choice(("stream_close", "stream_abort")), at="frame"),
    "maintenance": lambda r: {"kind": "maintenance"},
    "clock off": lambda r: {"kind": "clock_skew", "skew_ms": r.choice((-700, 500))},
    "market halted": lambda r: {"kind": "halt", "where": {"symbol": "BTCUSDT"}},
}
#: Kinds of weather that come together: nothing is told, and who asks is shown the past.
STORMS: Mapping[str, tuple[str, ...]] = {
    "nothing told, all shown late": (
        "answers lost after accepting", "events dropped", "orders visible late", "lists late",
    ),
    "requests late, answers lost": ("late before the engine", "answers lost after accepting"),
}  # fmt: skip
#: These are a state of the exchange: they take no chance.
STATES = ("maintenance", "clock off", "market halted", "429", "418")
#: What must be going on at the exchange for the worker to come past a point.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "rejected": ("the firewall refuses",),
    "outcome_unknown": ("answers lost after accepting",),
    "query": ("answers lost after accepting",),
    "trades_of": ("answers lost after accepting", "events dropped"),
    "orders_since": ("requests lost",),
    "expired": ("requests lost",),
}

#: Points that a round with its few seconds may see once or twice.
RARE = ("place_oco", "orders_from", "trades_from", "balances", "cancel_requested", "plan ")

PROCESSES = (
    "worker killed", "worker killed twice", "worker stopped", "two workers", "exchange killed", "exchange stopped",
    "worker and exchange killed", "connections cut", "connections cut again and again", "database stopped",
    "postmaster stopped", "database crashes", "everything killed", "web killed", "plumbline stopped and started",
)  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """A round. `kind` is a nemesis of PROCESSES, or "at <point>", or "the exchange: <weather>"."""

    number: int
    kind: str
    at_s: float  # when, after the load began
    lasts_s: float  # of what is stopped
    skip: int  # passes of the point that are spared
    stops: bool  # SIGSTOP at the point in place of SIGKILL
    weather: tuple[Fault, ...]
    weather_words: str
    keeps: bool  # running strategies are stopped with their positions protected, not sold
    real_bound: bool
    people: int = field(repr=False)  # seed of what people do

    @property
    def point(self) -> str:
        """The crash point; "" when this round has none."""
        return self.kind.removeprefix("at ") if self.kind.startswith("at ") else ""

    def words(self) -> str:
        """One line."""
        point = f", {'SIGSTOP' if self.stops else 'SIGKILL'} after {self.skip} passes" if self.point else ""
        weather = f"; weather: {self.weather_words}" if self.weather_words else ""
        return f"{self.kind} at {self.at_s:.2f} s{point}{weather}{' (real bound)' if self.real_bound else ''}"


def deck(seed: int) -> list[str]:
    """Every nemesis once, shuffled, in such an order that each ten have some of each class."""
    rng = random.Random(f"deck {seed}")
    classes = [
        list(PROCESSES),
        [f"at {point}" for point in POINTS],
        [f"the exchange: {name}" for name in (*WEATHER, *STORMS)],
    ]
    for one in classes:
        rng.shuffle(one)
    placed = [((i + rng.random()) / len(one), name) for one in classes for i, name in enumerate(one)]
    return [name for _, name in sorted(placed)]


def draw(seed: int, number: int) -> Draw:
    """Round `number` (from 1) of the campaign with this seed."""
    rng = random.Random(f"round {seed} {number}")
    names = deck(seed)
    kind = names[(number - 1 - number // REAL_BOUND_EVERY) % len(names)]
    real_bound = number % REAL_BOUND_EVERY == 0
    if real_bound:  # an order that never arrives, and a worker that dies over it
        kind = rng.choice(("at outcome_unknown committed", "at query answered", "worker killed"))
    wanted = _needed(kind, rng)
    if not wanted and not kind.startswith("the exchange") and rng.random() < 0.4:
        wanted = rng.sample(sorted(WEATHER.keys() - {"market halted"}), rng.choice((1, 1, 2)))
    if real_bound:
        wanted = ["requests lost"]
    return Draw(
        number=number,
        kind=kind,
        at_s=round(rng.uniform(0.2, LOAD_S - 1), 2),
        lasts_s=round(rng.choice((rng.uniform(0.3, 2), rng.uniform(2, 4))), 2),
        skip=rng.choice((0, 0, 1, 2, 4)) * (not _is_rare(kind)),
        stops=rng.random() < 0.2,
        weather=tuple(_often(name, WEATHER[name](rng), rng) for name in wanted),
        weather_words=", ".join(wanted),
        keeps=rng.random() < 0.3,
        real_bound=real_bound,
        people=rng.getrandbits(32),
    )


def _needed(kind: str, rng: Rng) -> list[str]:
    if kind.startswith("the exchange: "):
        name = kind.removeprefix("the exchange: ")
        return list(STORMS.get(name, (name,)))
    point = kind.removeprefix("at ")
    return next((list(names) for what, names in NEEDED.items() if point.startswith(f"{what} ")), [])


def _is_rare(kind: str) -> bool:
    """Whether a worker comes past this point so seldom that no pass of it is spared."""
    point = kind.removeprefix("at ")
    return point in OF_RECOVERY or point.startswith(RARE)


def _often(name: str, fault: Fault, rng: Rng) -> Fault:
    if name in STATES:
        return fault
    return fault | {"probability": rng.choice((0.2, 0.4, 0.7)), "seed": rng.getrandbits(32)}
