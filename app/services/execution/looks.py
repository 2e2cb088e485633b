"""What reconciliation asks in a minute: every working order, in the cheapest way, and the rest in rotation. Pure.

The exchange counts request weight by address, so the looks at all accounts share one budget. Orders come first:
each is asked about every minute. What is left goes to what is most overdue, measured by how often it is aimed at:
balances (they are the checksum of everything that was booked), the list of all open orders (foreign ones among
them), trades by cursor. Nothing is skipped for something cheaper, so nothing starves.

With 200 accounts on one address, five open orders each in five symbols, and 80 % of 6,000 a minute less what the
market data needs: orders every minute, balances within 15 minutes, foreign orders within 3 hours, trades within 14.
With fewer accounts each comes as often as it is aimed at. A difference of balances, a stream that was interrupted
or an order told by the stream makes an account urgent: then its turn comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.services.exchange.weight import (
    WEIGHT_ACCOUNT,
    WEIGHT_ALL_OPEN,
    WEIGHT_OPEN,
    WEIGHT_QUERY,
    WEIGHT_TRADES,
)

#: How often each is aimed at, in seconds.
BALANCES_EVERY_S, FOREIGN_EVERY_S, TRADES_EVERY_S = 60.0, 600.0, 3_600.0
#: A job that runs every 60 s finds what is due every 60 s, although no two starts are exactly so far apart.
EARLY_S = 5.0
NEVER_S = float("inf")


@dataclass(frozen=True, slots=True)
class Needs:
    """One account: its working orders by symbol, and how long ago each thing was looked at, in seconds."""

    account_id: int
    working: Mapping[str, int] = field(default_factory=dict)
    orders_s: float = NEVER_S
    balances_s: float = NEVER_S
    foreign_s: float = NEVER_S
    trades_s: Mapping[str, float] = field(default_factory=dict)  # symbols that have been traded
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What is asked about one account. Orders of symbols in `by_list` are listed, the others asked one by one."""

    account_id: int
    orders: bool = True
    all_open: bool = False  # one list of all symbols, foreign orders included
    by_list: frozenset[str] = frozenset()
    balances: bool = False
    trades: frozenset[str] = frozenset()
    weight: int = 0


class Way(NamedTuple):
    """How to ask about an account's working orders, and what it weighs."""

    all_open: bool
    by_list: frozenset[str]
    weight: int


def cheapest_way(working: Mapping[str, int]) -> Way:
    """One by one (4 each), a list a symbol (6), or the list of all (80): whatever weighs least."""
    by_list = frozenset(symbol for symbol, count in working.items() if count * WEIGHT_QUERY > WEIGHT_OPEN)
    singles = sum(count for symbol, count in working.items() if symbol not in by_list)
    weight = len(by_list) * WEIGHT_OPEN + singles * WEIGHT_QUERY
    return Way(False, by_list, weight) if weight <= WEIGHT_ALL_OPEN else Way(True, frozenset(), WEIGHT_ALL_OPEN)


def plan_minute(accounts: Sequence[Needs], budget: int) -> list[Look]:
    """The looks of one minute, weighing at most `budget` together; accounts with nothing due are left out.

    Where even the orders do not fit, those asked about longest ago come first, and the others in the next minute.
    """
    plans: dict[int, _Plan] = {}
    left = budget
    for needs in sorted(accounts, key=lambda n: (-n.orders_s, n.account_id)):
        way = cheapest_way(needs.working)
        if way.weight <= left:
            plans[needs.account_id] = _Plan(needs, way)
            left -= way.weight
    for _, account_id, what in sorted(_due(accounts), key=lambda due: (-due.late, due.account_id, due.what)):
        plan = plans.get(account_id)
        if plan is None:
            continue
        weight = plan.weight_of(what)
        if weight > left:
            break
        left -= weight
        plan.take(what)
    looks = (plan.look() for plan in plans.values())
    return [look for look in looks if look.weight or look.balances]


_BALANCES, _FOREIGN, _TRADES = "1 balances", "2 foreign", "3 trades "


class _Due(NamedTuple):
    late: float  # age by aim
    account_id: int
    what: str


def _due(accounts: Sequence[Needs]) -> list[_Due]:
    found = []
    for needs in accounts:
        ages = [(_BALANCES, needs.balances_s, BALANCES_EVERY_S), (_FOREIGN, needs.foreign_s, FOREIGN_EVERY_S)]
        ages += [(_TRADES + symbol, age_s, TRADES_EVERY_S) for symbol, age_s in needs.trades_s.items()]
        for what, age_s, every_s in ages:
            if needs.is_urgent and what == _BALANCES:
                found.append(_Due(NEVER_S, needs.account_id, what))
            elif age_s >= every_s - EARLY_S:
                found.append(_Due(age_s / every_s, needs.account_id, what))
    return found


class _Plan:
    """A look in the making."""

    def __init__(self, needs: Needs, way: Way) -> None:
        self._needs = needs
        self._way = way
        self._balances = False
        self._trades: set[str] = set()
        self._weight = way.weight

    def weight_of(self, what: str) -> int:
        if what == _FOREIGN:  # the list of all also answers about our orders
            return 0 if self._way.all_open else WEIGHT_ALL_OPEN - self._way.weight
        return WEIGHT_ACCOUNT if what == _BALANCES else WEIGHT_TRADES

    def take(self, what: str) -> None:
        self._weight += self.weight_of(what)
        if what == _FOREIGN:
            self._way = Way(True, frozenset(), WEIGHT_ALL_OPEN)
        elif what == _BALANCES:
            self._balances = True
        else:
            self._trades.add(what.removeprefix(_TRADES))

    def look(self) -> Look:
        return Look(
            account_id=self._needs.account_id,
            all_open=self._way.all_open,
            by_list=self._way.by_list,
            balances=self._balances,
            trades=frozenset(self._trades),
            weight=self._weight,
        )
