"""Which keys may be used: those that read and trade Spot, and do nothing else."""

from __future__ import annotations

import itertools

import pytest

from app.services.exchange.key_check import judge_account, judge_rights, why_not_checked
from app.services.exchange.protocol import AccountStatus, AskingFailed

GOOD = {"ipRestrict": True, "enableReading": True, "enableSpotAndMarginTrading": True}
DANGEROUS = (
    "enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer", "enableMargin", "enableFutures",
    "enableVanillaOptions", "enablePortfolioMarginTrading",
)  # fmt: skip


def test_a_key_that_reads_and_trades_from_its_addresses_is_taken_without_a_word() -> None:
    verdict = judge_rights(GOOD | dict.fromkeys(DANGEROUS, False))
    assert (verdict.refusals, verdict.advice) == ((), ())
    assert verdict.permissions == ("reading", "spot trading", "bound to addresses")


@pytest.mark.parametrize("right", [*DANGEROUS, "enableTeleport", "permitsEverything"])
def test_any_right_beyond_trading_is_refused_by_name_those_not_yet_known_included(right: str) -> None:
    refusals = judge_rights(GOOD | {right: True}).refusals
    assert len(refusals) == 1
    assert "Switch off" in refusals[0]


@pytest.mark.parametrize("right", ["enableFixApiTrade", "enableFixReadOnly"])
def test_the_fix_interface_moves_nothing_more(right: str) -> None:
    assert judge_rights(GOOD | {right: True}).refusals == ()


def test_a_key_from_anywhere_is_taken_with_advice() -> None:
    verdict = judge_rights(GOOD | {"ipRestrict": False})
    assert verdict.refusals == ()
    assert "address" in verdict.advice[0]
    assert "usable from anywhere" in verdict.permissions


def test_over_all_combinations_only_the_harmless_ones_are_taken() -> None:
    names = ("enableReading", "enableSpotAndMarginTrading", "enableWithdrawals", "enableMargin", "ipRestrict")
    for values in itertools.product((False, True), repeat=len(names)):
        rights = dict(zip(names, values, strict=True))
        reads, trades, withdraws, margin, _ = values
        assert (judge_rights(rights).refusals == ()) == (reads and trades and not withdraws and not margin), rights


def test_nothing_told_is_refused() -> None:
    assert len(judge_rights({}).refusals) == 2


@pytest.mark.parametrize(
    ("may_trade", "permissions", "refused"),
    [(True, ("SPOT",), 0), (True, (), 0), (False, ("SPOT",), 1), (True, ("MARGIN",), 1), (False, ("MARGIN",), 2)],
)
def test_an_account_must_be_allowed_to_trade_spot(may_trade: bool, permissions: tuple[str, ...], refused: int) -> None:
    assert len(judge_account(AccountStatus("1", may_trade, permissions, {})).refusals) == refused


@pytest.mark.parametrize(
    ("code", "word"), [(-2015, "addresses"), (-2014, "Copy it again"), (-1022, "does not belong"), (-1021, "clock")]
)
def test_what_the_exchange_refuses_is_explained_and_quoted(code: int, word: str) -> None:
    words = why_not_checked(AskingFailed(f"{code} its words", code=code))
    assert word in words
    assert f"{code} its words" in words


def test_a_check_that_did_not_reach_the_exchange_blames_no_key() -> None:
    assert why_not_checked(AskingFailed("no answer within 5 s")) == "The key could not be checked: no answer within 5 s"
