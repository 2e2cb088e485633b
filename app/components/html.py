"""HTML elements and Reflex's few functions with types, so that pages are checked like other code.

Reflex's own components come without type information; a page says `div(...)` and gets an `rx.Component`.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import reflex as rx

#: One row of a table inside `each`: a Var that is indexed by column.
Row: TypeAlias = Any


class Tag(Protocol):
    """Anything that makes a component of children and props."""

    def __call__(self, *children: Any, **props: Any) -> rx.Component:
        """Make the component."""


a: Tag = rx.el.a
article: Tag = rx.el.article
aside: Tag = rx.el.aside
b: Tag = rx.el.b
button: Tag = rx.el.button
code: Tag = rx.el.code
dd: Tag = rx.el.dd
details: Tag = rx.el.details
div: Tag = rx.el.div
dl: Tag = rx.el.dl
dt: Tag = rx.el.dt
footer: Tag = rx.el.footer
form: Tag = rx.el.form
fragment: Tag = rx.fragment
h1: Tag = rx.el.h1
h2: Tag = rx.el.h2
header: Tag = rx.el.header
icon: Tag = rx.icon
input_: Tag = rx.el.input
label: Tag = rx.el.label
li: Tag = rx.el.li
main: Tag = rx.el.main
nav: Tag = rx.el.nav
ol: Tag = rx.el.ol
option: Tag = rx.el.option
p: Tag = rx.el.p
pre: Tag = rx.el.pre
section: Tag = rx.el.section
select: Tag = rx.el.select
span: Tag = rx.el.span
strong: Tag = rx.el.strong
summary: Tag = rx.el.summary
table: Tag = rx.el.table
tbody: Tag = rx.el.tbody
td: Tag = rx.el.td
textarea: Tag = rx.el.textarea
th: Tag = rx.el.th
thead: Tag = rx.el.thead
time: Tag = rx.el.time
tr: Tag = rx.el.tr
ul: Tag = rx.el.ul


def when(condition: Any, yes: Any, no: Any = None) -> rx.Component:
    """`yes` while `condition` holds, else `no` (nothing unless given). A column of a row holds unless it is empty."""
    chosen: rx.Component = rx.cond(condition, yes, fragment() if no is None else no)
    return chosen


def count(rows: Any) -> Any:
    """How many rows there are."""
    return rows.length()


def some(rows: Any) -> Any:
    """Whether there are any rows."""
    return count(rows) > 0


def pick(condition: Any, yes: Any, no: Any) -> Any:
    """One of two plain values (text, class names) by `condition`."""
    return rx.cond(condition, yes, no)


def each(rows: Any, make: Any) -> rx.Component:
    """`make(row)` for every row."""
    made: rx.Component = rx.foreach(rows, make)
    return made


def link(*children: Any, href: Any, **props: Any) -> rx.Component:
    """A link inside the app: no page load."""
    return a(*children, href=href, **props)
