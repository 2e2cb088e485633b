"""What a comparison found, and how far a kill switch has come, in words."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.execution import ProgressView
from app.state.kill import _summary, _waiting_words
from app.state.reconciliation import difference_line


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            {"what": "order", "order_id": 12, "was": "SUBMITTED", "is": "FILLED", "filled": "0.5", "repaired": True},
            "order 12 was SUBMITTED, is FILLED 0.5",
        ),
        (
            {"what": "order", "order_id": 12, "was": "OPEN", "is": "CANCELED", "filled": "0", "repaired": True},
            "order 12 was OPEN, is CANCELED",
        ),
        (
            {"what": "foreign order", "symbol": "BTCUSDT", "exchange_order_id": 77, "repaired": False},
            "an order made elsewhere (BTCUSDT, number 77) is open",
        ),
        (
            {"what": "balance", "asset": "BTC", "ours": "1", "exchange": "1.5", "repaired": True},
            "the exchange holds 1.5 BTC, our books said 1, now booked",
        ),
        ({"what": "something new", "symbol": "BTCUSDT", "repaired": False}, "something new: symbol BTCUSDT"),
    ],
)
def test_a_difference_is_told_in_words(difference: dict[str, Any], words: str) -> None:
    assert difference_line(difference) == words


def test_what_waits_is_told_and_the_rest_is_counted() -> None:
    progress = ProgressView("", 6, 0, 0, 0, [f"order {n} is being cancelled" for n in range(6)], is_done=False)

    told = _waiting_words(progress)
    assert told.startswith("Order 0 is being cancelled. Order 1")
    assert told.endswith("And 2 more.")


def test_a_drill_is_summed_up_without_what_does_not_happen() -> None:
    rows = [{"kind": "Cancel"}, {"kind": "Cancel"}, {"kind": "Sell"}]

    assert _summary(rows) == "New entries are refused; 2 orders are cancelled, 1 position is sold."
    assert "only new entries are refused" in _summary([])
