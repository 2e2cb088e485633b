"""Nothing with real money leaves a form before it was ticked and asked about once more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from state_kit import FakeServices, new_tab

from app.services.execution import AccountView
from app.services.execution.accounts import KeyWantedView
from app.state.account_rows import account_row
from app.state.order_form import OrderFormState
from app.state.start_run import StartRunState

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIVE = {"value": "3", "label": "Main · LIVE", "kind": "LIVE"}


async def start_form() -> Any:
    root = new_tab("plumbline=ada")
    state = await root.get_state(StartRunState)
    state.accounts, state.account, state.is_live = [LIVE], "3", True
    state.strategies, state.strategy = [{"value": "5", "label": "Trend · v2"}], "5"
    return state


async def test_a_live_run_is_ticked_first(services: FakeServices) -> None:
    state = await start_form()
    await StartRunState.start.fn(state, {"symbol": "BTCUSDT"})
    assert state.errors == {"confirm_live": "Say that you mean real money."}
    assert state.asked == ""


async def test_a_live_run_is_asked_about_in_the_words_of_what_it_will_do(services: FakeServices) -> None:
    state = await start_form()
    await StartRunState.start.fn(state, {"symbol": "BTCUSDT", "confirm_live": True})
    assert state.asked.startswith("Main · LIVE: “Trend · v2” buys and sells BTCUSDT by itself")
    await StartRunState.go_back.fn(state)
    assert state.asked == ""


@pytest.mark.parametrize(("kind", "send"), [(StartRunState, "start_live"), (OrderFormState, "send")])
async def test_a_yes_without_a_question_does_nothing(services: FakeServices, kind: Any, send: str) -> None:
    state = await new_tab("plumbline=ada").get_state(kind)
    await getattr(kind, send).fn(state)
    assert "form" in state.errors


async def test_a_live_order_is_ticked_first(services: FakeServices) -> None:
    state = await new_tab("plumbline=ada").get_state(OrderFormState)
    state.accounts, state.account, state.is_live, state.kind = [LIVE], "3", True, "MARKET"
    await OrderFormState.place.fn(state, {"symbol": "BTCUSDT", "quantity": "0.01"})
    assert state.errors == {"confirm_live": "Say that you mean real money."}
    assert state.asked == ""


# --- accounts in words -------------------------------------------------------------------------------------

ACCOUNT = AccountView(
    id=3,
    label="Main",
    kind="LIVE",
    state="ACTIVE",
    state_reason="",
    public_key_pem="",
    api_key_hint="wxyz",
    books_agree_at=None,
    stream_up=True,
    created_at=NOW,
    key_kind="HMAC",
    permissions=("reading", "spot trading"),
    key_checked_at=NOW,
)
PEM = "-----BEGIN PUBLIC KEY-----"


def test_a_working_account_shows_its_key_and_can_be_switched_off() -> None:
    row = account_row(ACCOUNT)
    assert (row["key"], row["may"], row["state"]) == ("HMAC …wxyz", "reading, spot trading", "Active")
    assert (row["can_off"], row["can_on"], row["can_key"]) == ("yes", "", "yes")


def test_an_account_waits_for_its_api_key_with_the_public_key_to_paste() -> None:
    waits = KeyWantedView("ED25519", PEM, waits_for_api_key=True, message="")
    row = account_row(replace(ACCOUNT, state="REQUESTED", api_key_hint="", key_kind="", key_wanted=waits))
    assert (row["state"], row["tone"], row["public_key"], row["waits"]) == (
        "Waiting for your API key",
        "wait",
        PEM,
        "yes",
    )
    assert (row["key"], row["can_off"]) == ("none yet", "")


def test_a_refused_key_says_why_and_a_key_under_check_that_it_is() -> None:
    refused = KeyWantedView("HMAC", "", waits_for_api_key=False, message="the signature is wrong")
    row = account_row(replace(ACCOUNT, key_wanted=refused))
    assert (row["refused"], row["checking"], row["public_key"]) == ("The signature is wrong.", "", "")
    row = account_row(replace(ACCOUNT, key_wanted=replace(refused, message="")))
    assert (row["refused"], row["checking"]) == ("", "yes")


def test_an_account_that_is_being_switched_off_says_so_until_it_is() -> None:
    assert account_row(replace(ACCOUNT, wanted="DISABLED"))["state"] == "Being switched off"
    off = account_row(replace(ACCOUNT, wanted="DISABLED", state="DISABLED"))
    assert (off["state"], off["can_off"], off["can_on"]) == ("Switched off", "", "yes")


def test_a_paper_account_has_no_key_to_change() -> None:
    assert account_row(replace(ACCOUNT, kind="PAPER"))["can_key"] == ""
