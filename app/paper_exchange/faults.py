"""Faults on demand: which there are, and the pure decision when one strikes.

A fault waits for opportunities: a request, a query, a frame. Each opportunity that fits its filter is struck or
spared by its timing alone (a count, a chance drawn from a seed, spells drawn from a seed), so the same
opportunities meet the same fate in every run. What a struck opportunity suffers is in `faulty`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Any

from app.domain.errors import InvalidInput, NotFound

MAX_FAULTS = 100
BEFORE, AFTER = "before", "after"
Params = dict[str, Any]
Check = Callable[[Any], bool]


def _int(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _one_of(*words: Any) -> Check:
    return lambda value: value in words


def _text(most: int) -> Check:
    return lambda value: isinstance(value, str) and 0 < len(value) <= most


_WHEN: dict[str, tuple[Any, Check]] = {"when": (AFTER, _one_of(BEFORE, AFTER))}
_AT: dict[str, tuple[Any, Check]] = {"at": ("now", _one_of("now", "frame"))}
_LAG: dict[str, tuple[Any, Check]] = {"lag_ms": (2_000, _int(1, 3_600_000))}

#: What each kind may be told: name -> (default, check).
KINDS: dict[str, dict[str, tuple[Any, Check]]] = {
    "http_5xx": {**_WHEN, "status": (503, _int(500, 599)), "body": ("html", _one_of("html", "json"))},
    "unknown_outcome": {**_WHEN, "code": (-1007, _one_of(-1006, -1007)), "status": (500, _int(500, 599))},
    "timeout": {**_WHEN, "hold_ms": (15_000, _int(0, 600_000))},
    "drop": _WHEN,
    "truncated": {},
    "rate_limited": {"retry_after_s": (30, _int(0, 86_400))},
    "banned": {"retry_after_s": (120, _int(0, 259_200))},
    "forbidden": {},
    "redirect": {"status": (307, _one_of(301, 302, 303, 307, 308)), "location": ("/redirected", _text(500))},
    "maintenance": {},
    "engine_delay": {"delay_ms": (1_000, _int(1, 600_000))},
    "late_memory": _LAG,
    "late_database": _LAG,
    "clock_skew": {"skew_ms": (1_500, _int(-86_400_000, 86_400_000))},
    "halt": {},
    "delisting": {},
    "stream_close": {**_AT, "code": (1001, _int(1000, 4999))},
    "stream_abort": _AT,
    "stream_silence": {"pings": (True, _one_of(True, False))},
    "duplicate_reports": {},
    "reorder_reports": {"hold_ms": (1_000, _int(1, 60_000))},
}
#: Struck by a request as such; the first that strikes is the one it suffers.
REQUEST_KINDS = (
    "maintenance", "http_5xx", "unknown_outcome", "timeout", "drop", "truncated", "rate_limited", "banned",
    "forbidden", "redirect",
)  # fmt: skip
#: These are a state of the exchange while they last: they take no count and no chance.
STATE_KINDS = frozenset({"clock_skew", "halt", "delisting"})
SYMBOL_KINDS = frozenset({"halt", "delisting"})
FRAME_KINDS = ("maintenance", "stream_close", "stream_abort", "stream_silence")


@dataclass(frozen=True, slots=True)
class Point:
    """An opportunity. `endpoint` is like "POST /api/v3/order" or "order.place", `stream` a stream's name or "user"."""

    endpoint: str = ""
    stream: str = ""
    account_id: int | None = None
    symbol: str = ""
    is_handshake: bool = False  # opening a WebSocket: struck only by maintenance, or when named by its endpoint


@dataclass(frozen=True, slots=True)
class Where:
    """Filter; what is empty fits everything. Endpoints and streams may have wildcards."""

    endpoints: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    account_id: int | None = None
    symbol: str = ""

    def fits(self, point: Point, kind: str) -> bool:
        """Whether the opportunity is meant."""
        if point.is_handshake and not self.endpoints and kind != "maintenance":
            return False
        path = point.endpoint.rpartition(" ")[2]
        return (
            (not self.endpoints or any(_is_like(point.endpoint, e) or _is_like(path, e) for e in self.endpoints))
            and (not self.streams or any(_is_like(point.stream, s) for s in self.streams))
            and self.account_id in (None, point.account_id)
            and self.symbol in ("", point.symbol)
        )


def _is_like(text: str, pattern: str) -> bool:
    return bool(text) and fnmatchcase(text, pattern)


@dataclass(frozen=True, slots=True)
class Timing:
    """When opportunities are struck. Without anything: all of them, until the fault is taken away.

    `skip` lets the first ones pass, `count` ends the fault after so many, `probability` strikes some.
    `every_s` and `for_s` make spells: it strikes only inside spells of about `for_s`, about `every_s` apart.
    """

    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    every_s: float = 0.0
    for_s: float = 0.0
    seed: int = 0


class Spells:
    """On and off in time, from a seed: the gaps are exponential, the spells between half and one and a half long."""

    def __init__(self, every_s: float, for_s: float, seed: int) -> None:
        self._random = Random(f"spells {seed}")  # noqa: S311 - a drill, not a secret
        self._every_ms, self._for_ms = every_s * 1000, for_s * 1000
        self._from_ms = self._to_ms = 0.0
        self._next()

    def is_on(self, elapsed_ms: float) -> bool:
        """Whether a spell is on so long after the start. Times asked for must not go back."""
        while elapsed_ms >= self._to_ms:
            self._next()
        return elapsed_ms >= self._from_ms

    def _next(self) -> None:
        self._from_ms = self._to_ms + self._random.expovariate(1 / self._every_ms)
        self._to_ms = self._from_ms + self._for_ms * self._random.uniform(0.5, 1.5)


@dataclass(slots=True)
class Fault:
    """One fault that was asked for, and what became of it."""

    id: int
    kind: str
    where: Where
    timing: Timing
    params: Params
    since_ms: int
    seen: int = 0
    hits: int = 0
    is_over: bool = False  # it struck at once and is done
    _random: Random = field(init=False)
    _spells: Spells | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        timing = self.timing
        self._random = Random(f"chances {timing.seed}")  # noqa: S311 - a drill, not a secret
        if timing.every_s:
            self._spells = Spells(timing.every_s, timing.for_s, timing.seed)

    @property
    def executes(self) -> bool:
        """Whether a request is carried out although its answer is lost or wrong."""
        return self.kind == "truncated" or self.params.get("when") == AFTER

    @property
    def is_spent(self) -> bool:
        """Whether it has struck as often as it was to."""
        return self.is_over or (self.timing.count is not None and self.hits >= self.timing.count)

    def is_on(self, now_ms: int) -> bool:
        """Whether a spell is on (always, without spells)."""
        return not self.is_spent and (self._spells is None or self._spells.is_on(max(0, now_ms - self.since_ms)))

    def strikes(self, point: Point, now_ms: int) -> bool:
        """Decide one opportunity, and count it."""
        if not self.where.fits(point, self.kind) or not self.is_on(now_ms):
            return False
        self.seen += 1
        if self.seen <= self.timing.skip:
            return False
        if self.timing.probability < 1 and self._random.random() >= self.timing.probability:
            return False
        self.hits += 1
        return True

    def view(self) -> dict[str, Any]:
        """As JSON."""
        where: dict[str, Any] = {
            "endpoint": list(self.where.endpoints), "stream": list(self.where.streams),
            "account": self.where.account_id, "symbol": self.where.symbol,
        }  # fmt: skip
        timing = self.timing
        when: dict[str, Any] = {"count": timing.count, "skip": timing.skip, "seed": timing.seed}
        if timing.probability < 1:
            when["probability"] = timing.probability
        if timing.every_s:
            when["schedule"] = {"every_s": timing.every_s, "for_s": timing.for_s}
        return {
            "id": self.id, "kind": self.kind, "where": {k: v for k, v in where.items() if v},
            **{k: v for k, v in when.items() if v is not None}, **self.params,
            "since_ms": self.since_ms, "seen": self.seen, "hits": self.hits, "spent": self.is_spent,
        }  # fmt: skip


class FaultPlan:
    """The faults that were asked for, in the order of their ids."""

    def __init__(self) -> None:
        self.faults: dict[int, Fault] = {}
        self._next_id = 1

    def add(self, body: Mapping[str, Any], now_ms: int) -> Fault:
        """Take up a fault from its JSON. Raises InvalidInput."""
        if len(self.faults) >= MAX_FAULTS:
            raise InvalidInput(f"there are {MAX_FAULTS} faults already; take some away first")
        fault = read_fault(self._next_id, body, now_ms)
        self._next_id += 1
        self.faults[fault.id] = fault
        return fault

    def remove(self, fault_id: int) -> Fault:
        """Take one away. Raises NotFound."""
        if fault_id not in self.faults:
            raise NotFound(f"there is no fault {fault_id}")
        return self.faults.pop(fault_id)

    def clear(self) -> None:
        """Take all away."""
        self.faults.clear()

    def decide(self, kinds: Collection[str], point: Point, now_ms: int) -> Fault | None:
        """The first fault of these kinds that strikes. Later ones do not see the opportunity."""
        for fault in self.faults.values():
            if fault.kind in kinds and fault.strikes(point, now_ms):
                return fault
        return None

    def lasting(self, kind: str, now_ms: int) -> list[Fault]:
        """Faults of a kind that is a state, as far as they are on."""
        return [f for f in self.faults.values() if f.kind == kind and f.is_on(now_ms)]

    def view(self) -> list[dict[str, Any]]:
        """All of them, as JSON."""
        return [fault.view() for fault in self.faults.values()]


# -- reading ---------------------------------------------------------------------------------------------


def read_fault(fault_id: int, body: Mapping[str, Any], now_ms: int) -> Fault:
    """A fault from its JSON. Raises InvalidInput with a sentence that names what is wrong."""
    kind = body.get("kind")
    if kind not in KINDS:
        raise InvalidInput(f"kind must be one of {', '.join(KINDS)}", field="kind")
    allowed = {"kind", "where", "count", "skip", "probability", "schedule", "seed", *KINDS[kind]}
    unknown = sorted(set(body) - allowed)
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} means nothing to {kind}; it takes {', '.join(sorted(allowed))}")
    where, timing = _read_where(body.get("where", {})), _read_timing(body)
    if kind in SYMBOL_KINDS and not where.symbol:
        raise InvalidInput(f"{kind} needs to know where: a symbol", field="where")
    if kind in STATE_KINDS and (timing.count is not None or timing.skip or timing.probability < 1):
        raise InvalidInput(f"{kind} lasts until it is taken away, or in spells; it cannot be counted", field="count")
    return Fault(fault_id, kind, where, timing, _read_params(kind, body), now_ms)


def _read_params(kind: str, body: Mapping[str, Any]) -> Params:
    params: Params = {}
    for name, (default, is_valid) in KINDS[kind].items():
        params[name] = body.get(name, default)
        if not is_valid(params[name]):
            raise InvalidInput(f"{name} of {kind} cannot be {params[name]!r}", field=name)
    return params


def _read_where(raw: Any) -> Where:
    if not isinstance(raw, dict) or set(raw) - {"endpoint", "stream", "account", "symbol"}:
        raise InvalidInput("where may name endpoint, stream, account and symbol", field="where")
    account, symbol = raw.get("account"), raw.get("symbol", "")
    if account is not None and type(account) is not int:
        raise InvalidInput("account must be an account's number", field="where")
    if not isinstance(symbol, str):
        raise InvalidInput("symbol must be text", field="where")
    return Where(_patterns(raw, "endpoint"), _patterns(raw, "stream"), account, symbol)


def _patterns(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    given = raw.get(name, [])
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, list) or not all(isinstance(p, str) and p for p in patterns):
        raise InvalidInput(f"{name} must be a name or a list of names", field="where")
    return tuple(patterns)


def _read_timing(body: Mapping[str, Any]) -> Timing:
    count, skip, seed = body.get("count"), body.get("skip", 0), body.get("seed", 0)
    if count is not None and not _int(1, 1_000_000)(count):
        raise InvalidInput("count must be a whole number from 1", field="count")
    if not _int(0, 1_000_000)(skip):
        raise InvalidInput("skip must be a whole number from 0", field="skip")
    if not _int(0, 2**63 - 1)(seed):
        raise InvalidInput("seed must be a whole number from 0", field="seed")
    probability = body.get("probability", 1.0)
    if not _is_number(probability) or not 0 < probability <= 1:
        raise InvalidInput("probability must be above 0 and at most 1", field="probability")
    schedule = body.get("schedule")
    if schedule is None:
        return Timing(count, skip, float(probability), seed=seed)
    if not isinstance(schedule, dict) or set(schedule) != {"every_s", "for_s"}:
        raise InvalidInput('schedule must be like {"every_s": 60, "for_s": 5}', field="schedule")
    every_s, for_s = schedule["every_s"], schedule["for_s"]
    if not all(_is_number(n) and 0.01 <= n <= 1_000_000 for n in (every_s, for_s)):
        raise InvalidInput("every_s and for_s must be seconds, from 0.01", field="schedule")
    return Timing(count, skip, float(probability), float(every_s), float(for_s), seed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
