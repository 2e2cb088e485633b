"""Small coloured words. A state gives the word and its tone; colour never carries meaning alone."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.html import pick, span


def badge(text: Any, tone: Any = "", testid: Any = "") -> rx.Component:
    """A word in a tone: ok, bad, wait, info, or PAPER, TESTNET, LIVE."""
    tag: dict[str, Any] = {"data_testid": testid} if not isinstance(testid, str) or testid else {}
    shown = span(text, class_name=_join("badge", tone), **tag)
    return shown if isinstance(text, str) else rx.cond(text, shown, rx.fragment())


def account_name(row: Any) -> rx.Component:
    """An account in a row with `account` and `account_kind`: never without saying whether it is real money."""
    return span(row["account"], " ", badge(row["account_kind"], row["account_kind"], "account-kind"))


def signed(text: Any, **props: Any) -> rx.Component:
    """A number that carries its sign, green above zero and red below."""
    return span(text, class_name=sign_class(text), **props)


def sign_class(text: Any) -> Any:
    """The class for a signed number written as text."""
    # A row that has not been read yet has no columns at all.
    return pick(text, pick(text.startswith("-"), "down", pick(text.startswith("+"), "up", "")), "")


def _join(first: str, tone: Any) -> Any:
    return f"{first} {tone}" if isinstance(tone, str) else rx.Var.create(first + " ") + tone
