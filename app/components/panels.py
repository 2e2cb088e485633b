"""Panels, figures and facts."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.html import dd, div, dl, dt, h2, pick, section, span


def panel(title: Any, *children: Any, actions: list[rx.Component] | None = None, **props: Any) -> rx.Component:
    """A titled box. Tables go to its edge; wrap other content in `body`."""
    head = div(h2(title), div(*(actions or []), class_name="push"), class_name="panel-head")
    return section(head, *children, class_name="panel", **props)


def body(*children: Any) -> rx.Component:
    """Padded content of a panel, stacked."""
    return div(*children, class_name="panel-body stack")


def stats(*items: rx.Component, **props: Any) -> rx.Component:
    """A row of figures."""
    return dl(*items, class_name="stats", **props)


def stat(label: str, value: Any, sub: Any = "", *, testid: str = "", tone: Any = "") -> rx.Component:
    """One figure with its name and, below, what it is made of or when it was true."""
    tag = {"data_testid": testid} if testid else {}
    return div(dt(label), dd(value, class_name=tone, title=value, **tag), dd_sub(sub), class_name="stat")


def dd_sub(text: Any) -> rx.Component:
    """The line below a figure."""
    return dd(text, class_name="sub")


def facts(*pairs: tuple[str, Any]) -> rx.Component:
    """Names and values, one pair a line."""
    return dl(*[item for name, value in pairs for item in (dt(name), dd(value))], class_name="facts")


def as_of(moment: Any, testid: str = "as-of") -> rx.Component:
    """When the figures beside it were true."""
    return span(pick(moment == "", "", "as of "), moment, class_name="faint small nowrap", data_testid=testid)
