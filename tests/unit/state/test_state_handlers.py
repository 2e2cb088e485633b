"""What handlers have in common: errors in words, forms as browsers send them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from state_kit import FakeServices, new_tab

from app.domain.errors import Conflict, InvalidInput, NotFound, PlumblineError
from app.state.base import PAGES, amount_of, handler, put, text_of, whole
from app.state.notify import NotifyState
from app.state.orders import OrdersState
from app.state.shell import ShellState
from app.state.ws_guard import BURST, Buckets, is_wanted


async def run_failing(root: Any, error: Exception) -> Any:
    async def fail(self: Any) -> None:
        raise error

    state = await root.get_state(OrdersState)
    await handler(fail)(state)
    return state


async def test_a_wrong_field_is_told_beside_the_field(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    state = await run_failing(root, InvalidInput("quantity 0 is below the lot minimum", field="quantity"))
    assert state.errors == {"quantity": "Quantity 0 is below the lot minimum."}


@pytest.mark.parametrize("error", [Conflict("the order is already filled"), NotFound("there is no order 7")])
async def test_a_refusal_is_told_as_a_message(services: FakeServices, error: PlumblineError) -> None:
    root = new_tab("plumbline=ada")
    await run_failing(root, error)
    message = (await root.get_state(NotifyState)).message
    assert message["level"] == "error"
    assert message["title"].startswith("The" if isinstance(error, Conflict) else "There")


async def test_a_lost_database_is_a_banner(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    await run_failing(root, OperationalError("SELECT 1", {}, Exception("refused")))
    assert "database" in (await root.get_state(ShellState)).away


async def test_our_own_mistakes_are_not_hidden(services: FakeServices) -> None:
    with pytest.raises(ZeroDivisionError):
        await run_failing(new_tab("plumbline=ada"), ZeroDivisionError())


async def test_what_is_equal_is_not_sent_again(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    state = await root.get_state(OrdersState)
    put(state, rows=[{"id": "7"}])
    root._clean()
    put(state, rows=[{"id": "7"}], older=False)
    assert OrdersState.get_full_name() not in root.get_delta()
    put(state, older=True)
    assert set(root.get_delta()[OrdersState.get_full_name()]) == {"older_rx_state_"}


def test_a_field_that_is_not_on_the_page_counts_as_empty() -> None:
    assert text_of({"seed": None}, "seed") == ""
    assert amount_of({"price": None}, "price") is None


@pytest.mark.parametrize("form", [{"note": 7}, {"note": ["x"]}, {"note": "x" * 301}])
def test_a_text_must_be_a_text_of_bounded_length(form: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        text_of(form, "note")


def test_amounts_may_have_thousands_separators() -> None:
    assert amount_of({"price": "90,000.50"}, "price") == Decimal("90000.50")


@pytest.mark.parametrize("odd", [True, 1.5, "x", None, -1, 2**63, "1; drop table"])
def test_an_id_must_be_a_whole_number(odd: Any) -> None:
    with pytest.raises(InvalidInput):
        whole(odd, "order")


def test_every_live_page_knows_what_concerns_it() -> None:
    known = {"order", "fill", "position", "price", "run", "decision", "account", "service", "notice", "market", "kill"}
    known |= {"incident"}
    assert len(PAGES) == 14
    assert all(kinds <= known for _, kinds in PAGES.values())


def test_a_flood_is_cut_and_others_go_on() -> None:
    buckets = Buckets()
    taken = sum(buckets.take("flooder", 0.0) for _ in range(200))
    assert taken == BURST
    assert buckets.take("other", 0.0)
    assert buckets.take("flooder", 1.0)


@pytest.mark.parametrize("frame", [None, [], {}, {"name": 7}, {"name": "no.such"}, {"name": ["x"]}])
def test_odd_frames_are_dropped_before_anything_is_logged(frame: Any) -> None:
    assert not is_wanted(frame)


def test_setvar_is_dropped_and_a_handler_of_ours_passes() -> None:
    assert not is_wanted({"name": f"{OrdersState.get_full_name()}.setvar"})
    assert is_wanted({"name": f"{OrdersState.get_full_name()}.cancel"})
