"""What goes wrong, drawn from the seed: with each request, with each event of a stream, and for a while with all.

Each seed has a mood: some fault classes are frequent in it, some rare, some absent. So a seed can draw every class,
and no class drowns the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from app.services.exchange.classification import Failure
from tests.simulation.wire import Fate, StreamFate

UNKNOWN_5XX = Failure(503, -1007, "Timeout waiting for response from backend server. execution status unknown.")
SERVER_ERROR = Failure(502, 0, "Bad Gateway")
MAINTENANCE = Failure(503, 0, "Service Unavailable")
BUSY = Failure(429, -1003, "Too much request weight used.", 30.0)
KEY_REFUSED = Failure(401, -2015, "Invalid API-key, IP, or permissions for action.")
PLACE_REFUSALS = (
    Failure(400, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    Failure(400, -2010, "Account has insufficient balance for requested action."),
    Failure(429, -1015, "Too many new orders."),
    Failure(400, -1021, "Timestamp for this request is outside of the recvWindow."),
)
OTHER_REFUSALS = (
    Failure(400, -1021, "Timestamp for this request is outside of the recvWindow."),
    Failure(403, 0, ""),
    Failure(429, -1003, "Too much request weight used.", 5.0),
)
#: An order becomes visible at most this long after it was accepted; the death bound allows for it.
MOST_INVISIBLE_MS = 55_000

Rng = random.Random
Draw = Callable[[Rng], Fate]

#: Fault classes of one request, and to which calls they apply ("" = all).
REQUEST_FAULTS: dict[str, tuple[str, Draw]] = {
    "request lost": ("", lambda r: Fate(request_lost=True)),
    "request late": ("", lambda r: Fate(travels_s=r.uniform(0.5, 9), answer_lost=r.random() < 0.5)),
    "answer lost": ("", lambda r: Fate(answer_lost=True)),
    "answer late": ("", lambda r: Fate(returns_s=r.uniform(0.5, 11.5))),
    "5xx, carried out": ("", lambda r: Fate(instead=UNKNOWN_5XX)),
    "5xx, not carried out": ("", lambda r: Fate(instead=r.choice((UNKNOWN_5XX, SERVER_ERROR)), refuses=True)),
    "not sent": ("", lambda r: Fate(not_sent=True)),
    "refused": ("", lambda r: Fate(instead=r.choice(OTHER_REFUSALS), refuses=True)),
    "order refused": ("place", lambda r: Fate(instead=r.choice(PLACE_REFUSALS), refuses=True)),
    "visible late": (
        "place",
        lambda r: Fate(visible_after_ms=r.randrange(500, MOST_INVISIBLE_MS), answer_lost=r.random() < 0.7),
    ),
    "surfaces after the bound": (
        "place",
        lambda r: Fate(visible_after_ms=r.randrange(90_000, 150_000), answer_lost=True),
    ),
}
STREAM_FAULTS: dict[str, Callable[[Rng], StreamFate]] = {
    "event lost": lambda r: StreamFate(()),
    "event late": lambda r: StreamFate((r.uniform(0.1, 20),)),
    "event twice": lambda r: StreamFate((0.03, r.uniform(0.03, 5))),
}
#: Everything that ends again: how long it lasts, in seconds.
WINDOWS: dict[str, tuple[float, float]] = {
    "no connection": (2, 90),
    "maintenance": (2, 120),
    "too many requests": (5, 40),
    "database away": (0.5, 40),
    "key refused": (1, 30),
    "stream down": (1, 60),
    "stream silent": (1, 120),
    "halt": (1, 60),
    "clock set": (5, 90),
}
PROCESS_FAULTS = ("crash", "stopped process", "sigterm", "commit unanswered", "restored dump")
MARKET_FAULTS = ("ended by the exchange", "late fill", "foreign activity", "filters changed")
#: Every class that a seed can draw.
CLASSES = (*REQUEST_FAULTS, *STREAM_FAULTS, *WINDOWS, *PROCESS_FAULTS, *MARKET_FAULTS)
RARE = {"surfaces after the bound": 0.15, "restored dump": 0.2, "key refused": 0.5}


@dataclass
class Nemesis:
    """The mood of a seed and the windows that are open. `used` says which classes came to pass."""

    rng: Rng
    now_s: Callable[[], float]
    rates: dict[str, float] = field(default_factory=dict)
    open_until_s: dict[tuple[str, int | str], float] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    calm: bool = False

    def __post_init__(self) -> None:
        for name in CLASSES:
            mood = self.rng.random()
            often = 0.12 if name in REQUEST_FAULTS or name in STREAM_FAULTS else 0.07
            rate = 0.0 if mood < 0.35 else 0.03 if mood < 0.8 else often
            self.rates[name] = rate * RARE.get(name, 1.0)
        self._by_call = {call: self._table(call) for call in ("place", "cancel", "query", "list")}
        self._stream_table = [(n, self.rates[n], d) for n, d in STREAM_FAULTS.items() if self.rates[n]]

    def _table(self, call: str) -> list[tuple[str, float, Draw]]:
        # Lists are many, and a pass with one failed list is a failed pass: they are disturbed less often.
        scale = 0.3 if call == "list" else 1.5 if call == "place" else 1.0
        rows = ((n, self.rates[n] * scale, draw) for n, (only, draw) in REQUEST_FAULTS.items() if only in ("", call))
        return [row for row in rows if row[1]]

    def count(self, name: str) -> None:
        """One more of this class came to pass."""
        self.used[name] = self.used.get(name, 0) + 1

    # --- windows ---------------------------------------------------------------------------------------

    def open(self, name: str, where: int | str = "") -> float:
        """A window begins; returns how long it lasts."""
        lasts_s = self.rng.uniform(*WINDOWS[name])
        self.open_until_s[(name, where)] = self.now_s() + lasts_s
        self.count(name)
        return lasts_s

    def is_open(self, name: str, where: int | str = "") -> bool:
        """Whether this window is open now."""
        until_s = self.open_until_s.get((name, where))
        return until_s is not None and until_s > self.now_s()

    def cuts_off(self) -> bool:
        """Whether nobody can reach the exchange now."""
        return any(self.is_open(name) for name in ("no connection", "maintenance", "too many requests"))

    # --- fates -----------------------------------------------------------------------------------------

    def fate(self, account_id: int, call: str) -> Fate:
        """What happens to the next request."""
        rng = self.rng
        if self.open_until_s:
            if self.is_open("no connection"):
                return Fate(not_sent=True)
            if self.is_open("maintenance"):
                return Fate(instead=MAINTENANCE, refuses=True)
            if self.is_open("too many requests"):
                return Fate(instead=BUSY, refuses=True)
            if self.is_open("key refused", account_id):
                return Fate(instead=KEY_REFUSED, refuses=True)
        drawn = rng.random()
        if not self.calm:
            for name, rate, draw in self._by_call[call]:
                drawn -= rate
                if drawn < 0:
                    self.count(name)
                    return draw(rng)
        return Fate(travels_s=0.005 + 0.1 * rng.random(), returns_s=0.005 + 0.1 * rng.random())

    def stream_fate(self, account_id: int) -> StreamFate:
        """What happens to the next event. Delays differ, so events overtake each other."""
        drawn = self.rng.random()
        if self.is_open("stream silent", account_id):
            return StreamFate(())
        if not self.calm:
            for name, rate, draw in self._stream_table:
                drawn -= rate
                if drawn < 0:
                    self.count(name)
                    return draw(self.rng)
        return StreamFate((0.005 + 0.2 * self.rng.random(),))

    def wants(self, name: str) -> bool:
        """Whether this fault, of those that are drawn once a step, comes now."""
        return self.rng.random() < self.rates[name] * 0.3
