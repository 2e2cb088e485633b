"""Real HTML tables, dense, with an honest empty state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import reflex as rx

from app.components.html import Row, div, each, p, some, span, strong, table, tbody, th, thead, tr, when

#: A heading; one that starts with ">" belongs to a column of numbers and stands right.
Heading = str


def data_table(
    headings: Sequence[Heading],
    rows: Any,
    make_row: Callable[[Row], rx.Component],
    *,
    label: str,
    testid: str,
    nothing: rx.Component,
    scroll: bool = False,
) -> rx.Component:
    """A table of `rows`, or `nothing` while there are none. `label` names it to a screen reader."""
    head = tr(*[_heading(text) for text in headings])
    body = table(thead(head), tbody(each(rows, make_row)), class_name="table", aria_label=label, data_testid=testid)
    wrap = "table-wrap scroll" if scroll else "table-wrap"
    return when(some(rows), div(body, class_name=wrap, tab_index=0 if scroll else None), nothing)


def _heading(text: Heading) -> rx.Component:
    if not text:
        return th(span("Actions", class_name="visually-hidden"), scope="col")
    return th(text.lstrip(">"), scope="col", class_name="num" if text[0] == ">" else "")


def empty(title: str, text: Any, *actions: rx.Component, testid: str = "") -> rx.Component:
    """What stands where nothing is yet: what is missing, and what to do about it."""
    tag = {"data_testid": testid} if testid else {}
    return div(strong(title), p(text), *actions, class_name="empty", **tag)
