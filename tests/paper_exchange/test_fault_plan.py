"""When a fault strikes: decided without a server, and the same in every run."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import InvalidInput, NotFound
from app.paper_exchange.faults import MAX_FAULTS, FaultPlan, Point, Spells

ORDER = Point(endpoint="POST /api/v3/order", account_id=1, symbol="BTCUSDT")


def plan_of(*bodies: dict[str, Any]) -> FaultPlan:
    plan = FaultPlan()
    for body in bodies:
        plan.add(body, 1_000)
    return plan


def hits(plan: FaultPlan, point: Point = ORDER, times: int = 10, kind: str = "drop") -> list[bool]:
    return [plan.decide((kind,), point, 1_000) is not None for _ in range(times)]


def test_without_timing_every_opportunity_is_struck_until_the_fault_is_taken_away() -> None:
    plan = plan_of({"kind": "drop"})
    assert hits(plan) == [True] * 10
    plan.remove(1)
    assert hits(plan) == [False] * 10


def test_a_count_ends_it_and_skip_lets_the_first_ones_pass() -> None:
    plan = plan_of({"kind": "drop", "count": 2, "skip": 3})
    assert hits(plan, times=7) == [False] * 3 + [True] * 2 + [False] * 2
    view = plan.view()[0]
    assert (view["seen"], view["hits"], view["spent"]) == (5, 2, True)


def test_chances_come_from_the_seed_alone() -> None:
    body = {"kind": "drop", "probability": 0.3, "seed": 7}
    first = hits(plan_of(body), times=400)
    assert hits(plan_of(body), times=400) == first
    assert hits(plan_of({**body, "seed": 8}), times=400) != first
    assert 0.2 < sum(first) / 400 < 0.4


def test_chances_of_one_fault_do_not_depend_on_requests_it_does_not_fit() -> None:
    body = {"kind": "drop", "probability": 0.5, "seed": 1, "where": {"account": 1}}
    alone = hits(plan_of(body), times=50)
    plan = plan_of(body)
    mixed = []
    for _ in range(50):
        assert plan.decide(("drop",), Point(endpoint=ORDER.endpoint, account_id=2), 1_000) is None
        mixed.append(plan.decide(("drop",), ORDER, 1_000) is not None)
    assert mixed == alone


def test_spells_come_and_go_by_the_seed() -> None:
    first, again = Spells(60, 5, seed=3), Spells(60, 5, seed=3)
    course = [first.is_on(ms) for ms in range(0, 6_000_000, 250)]
    assert [again.is_on(ms) for ms in range(0, 6_000_000, 250)] == course
    lengths = "".join("x" if on else " " for on in course).split()
    assert len(lengths) > 30
    assert all(2_000 <= len(spell) * 250 <= 8_000 for spell in lengths)


def test_a_schedule_strikes_only_inside_its_spells() -> None:
    schedule = {"every_s": 10, "for_s": 2}
    plan = plan_of({"kind": "drop", "schedule": schedule, "seed": 5})
    spells = Spells(10, 2, seed=5)
    for now_ms in range(1_000, 200_000, 100):
        assert (plan.decide(("drop",), ORDER, now_ms) is not None) == spells.is_on(now_ms - 1_000)


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ({}, True),
        ({"endpoint": "POST /api/v3/order"}, True),
        ({"endpoint": "/api/v3/order"}, True),
        ({"endpoint": ["order.place", "POST *"]}, True),
        ({"endpoint": "/api/v3/orderList"}, False),
        ({"endpoint": "GET /api/v3/order"}, False),
        ({"account": 1}, True),
        ({"account": 2}, False),
        ({"symbol": "BTCUSDT"}, True),
        ({"symbol": "ETHUSDT"}, False),
        ({"stream": "user"}, False),
        ({"endpoint": "/api/*", "symbol": "BTCUSDT", "account": 2}, False),
    ],
)
def test_a_filter_says_what_is_meant(where: dict[str, Any], fits: bool) -> None:
    assert hits(plan_of({"kind": "drop", "where": where}), times=1) == [fits]


def test_streams_are_named_with_wildcards() -> None:
    plan = plan_of({"kind": "stream_silence", "where": {"stream": "btcusdt@kline_*"}})
    assert hits(plan, Point(stream="btcusdt@kline_1m"), 1, "stream_silence") == [True]
    assert hits(plan, Point(stream="ethusdt@kline_1m"), 1, "stream_silence") == [False]


def test_opening_a_socket_is_struck_only_when_named_or_in_maintenance() -> None:
    opening = Point(endpoint="GET /ws-api/v3", is_handshake=True)
    assert hits(plan_of({"kind": "drop"}), opening, 1) == [False]
    assert hits(plan_of({"kind": "drop", "where": {"endpoint": "/ws-api/v3"}}), opening, 1) == [True]
    assert hits(plan_of({"kind": "maintenance"}), opening, 1, "maintenance") == [True]


def test_the_first_fault_that_strikes_leaves_the_opportunity_to_no_other() -> None:
    plan = plan_of({"kind": "drop", "count": 1}, {"kind": "timeout", "count": 1})
    kinds = [fault.kind if fault else None for fault in (plan.decide(("drop", "timeout"), ORDER, 0) for _ in range(3))]
    assert kinds == ["drop", "timeout", None]


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({}, "kind must be one of"),
        ({"kind": "gremlins"}, "kind must be one of"),
        ({"kind": "drop", "colour": "red"}, "'colour' means nothing to drop"),
        ({"kind": "drop", "when": "later"}, "when of drop cannot be 'later'"),
        ({"kind": "drop", "count": 0}, "count must be"),
        ({"kind": "drop", "count": True}, "count must be"),
        ({"kind": "drop", "skip": -1}, "skip must be"),
        ({"kind": "drop", "seed": "x"}, "seed must be"),
        ({"kind": "drop", "probability": 0}, "probability must be"),
        ({"kind": "drop", "probability": "0.5"}, "probability must be"),
        ({"kind": "drop", "schedule": {"every_s": 1}}, "schedule must be"),
        ({"kind": "drop", "schedule": {"every_s": 0, "for_s": 1}}, "every_s and for_s"),
        ({"kind": "drop", "where": "everywhere"}, "where may name"),
        ({"kind": "drop", "where": {"planet": "Mars"}}, "where may name"),
        ({"kind": "drop", "where": {"account": "1"}}, "account must be"),
        ({"kind": "drop", "where": {"symbol": 1}}, "symbol must be"),
        ({"kind": "drop", "where": {"endpoint": [1]}}, "endpoint must be"),
        ({"kind": "http_5xx", "status": 404}, "status of http_5xx cannot be 404"),
        ({"kind": "halt"}, "halt needs to know where"),
        ({"kind": "clock_skew", "count": 1}, "it cannot be counted"),
        ({"kind": "halt", "where": {"symbol": "BTCUSDT"}, "probability": 0.5}, "it cannot be counted"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_a_reason(body: dict[str, Any], about: str) -> None:
    with pytest.raises(InvalidInput, match=about):
        plan_of(body)


def test_there_are_not_endlessly_many_and_a_missing_one_cannot_be_removed() -> None:
    plan = plan_of(*[{"kind": "drop"}] * MAX_FAULTS)
    with pytest.raises(InvalidInput, match="faults already"):
        plan.add({"kind": "drop"}, 0)
    with pytest.raises(NotFound, match="there is no fault 999"):
        plan.remove(999)
    plan.clear()
    assert plan.view() == []
    assert plan.add({"kind": "drop"}, 0).id == MAX_FAULTS + 1
