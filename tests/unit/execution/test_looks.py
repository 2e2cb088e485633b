"""What reconciliation asks: cheaply, within the budget, and nothing starves."""

from __future__ import annotations

import pytest

from app.services.execution.looks import NEVER_S, Look, Needs, cheapest_way, plan_minute

LIMIT = 6_000
#: 80 % of the limit, less what market data, unknown orders and cancels may use.
BUDGET = int(LIMIT * 0.8) - 200


@pytest.mark.parametrize(
    ("working", "all_open", "by_list", "weight"),
    [
        ({}, False, set(), 0),
        ({"A": 1}, False, set(), 4),
        ({"A": 2}, False, {"A"}, 6),
        ({"A": 5, "B": 1}, False, {"A"}, 10),
        ({f"S{n}": 1 for n in range(20)}, False, set(), 80),
        ({f"S{n}": 1 for n in range(21)}, True, set(), 80),
        ({f"S{n}": 9 for n in range(14)}, True, set(), 80),
    ],
)
def test_orders_are_asked_about_in_the_cheapest_way(
    working: dict[str, int], all_open: bool, by_list: set[str], weight: int
) -> None:
    assert cheapest_way(working) == (all_open, frozenset(by_list), weight)


def test_one_account_is_looked_at_whole_every_minute() -> None:
    needs = Needs(1, {"A": 1}, balances_s=60, foreign_s=60, trades_s={"A": 60}, orders_s=60)
    assert plan_minute([needs], BUDGET) == [Look(1, balances=True, weight=24)]


def test_an_account_never_looked_at_gets_everything() -> None:
    look = plan_minute([Needs(1, {"A": 1}, trades_s={"A": NEVER_S})], BUDGET)[0]
    assert (look.all_open, look.balances, look.trades, look.weight) == (True, True, frozenset("A"), 80 + 20 + 20)


def test_an_account_with_nothing_due_is_left_out() -> None:
    assert plan_minute([Needs(1, {}, balances_s=10, foreign_s=10)], BUDGET) == []


def test_an_urgent_account_comes_before_the_most_overdue() -> None:
    late = Needs(1, balances_s=5_000, foreign_s=0)
    urgent = Needs(2, balances_s=1, foreign_s=0, is_urgent=True)
    assert [look.account_id for look in plan_minute([late, urgent], 20) if look.balances] == [2]


def test_orders_that_do_not_fit_come_first_in_the_next_minute() -> None:
    fresh, stale = Needs(1, {"A": 1}, orders_s=60, foreign_s=0), Needs(2, {"A": 1}, orders_s=120, foreign_s=0)
    assert [look.account_id for look in plan_minute([fresh, stale], 5)] == [2]


@pytest.mark.parametrize(("accounts", "minutes"), [(200, 30), (20, 24 * 60)])
def test_200_accounts_with_5_orders_each_stay_within_80_percent_and_nothing_starves(
    accounts: int, minutes: int
) -> None:
    """F57. Five symbols each, the dearest case: 4,000 a minute for orders alone. A tenth of all shows a whole day."""
    symbols = [f"S{n}" for n in range(5)]
    budget = BUDGET * accounts // 200
    ages = {(n, what): 0.0 for n in range(accounts) for what in ["balances", "foreign", *symbols]}
    worst = {"balances": 0.0, "foreign": 0.0, "trades": 0.0}
    for minute in range(minutes):
        for key in ages:
            ages[key] += 60
        needs = [
            Needs(
                n,
                dict.fromkeys(symbols, 1),
                orders_s=60,
                balances_s=ages[n, "balances"],
                foreign_s=ages[n, "foreign"],
                trades_s={s: ages[n, s] for s in symbols},
            )
            for n in range(accounts)
        ]
        looks = plan_minute(needs, budget)
        assert sum(look.weight for look in looks) <= budget
        assert len(looks) == accounts
        if minute > 12 * 60:
            worst["balances"] = max(worst["balances"], *(ages[n, "balances"] for n in range(accounts)))
            worst["foreign"] = max(worst["foreign"], *(ages[n, "foreign"] for n in range(accounts)))
            worst["trades"] = max(worst["trades"], *(ages[n, s] for n in range(accounts) for s in symbols))
        for look in looks:
            done = [*look.trades, *(["balances"] if look.balances else []), *(["foreign"] if look.all_open else [])]
            for what in done:
                ages[look.account_id, what] = 0.0
    assert worst["balances"] <= 15 * 60
    assert worst["foreign"] <= 3 * 3600
    assert worst["trades"] <= 14 * 3600
