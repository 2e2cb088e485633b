"""Form fields: a label, a control, a hint, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.html import button, div, each, input_, label, option, pick, select, span, textarea, when


def field(
    text: str, control: rx.Component, *, control_id: Any, hint: Any = "", wrong: Any = "", full: bool = False
) -> rx.Component:
    """`control` under its label; `wrong` is a sentence, read out when it appears."""
    return div(
        label(text, html_for=control_id),
        control,
        when(hint != "", span(hint, class_name="hint")) if not isinstance(hint, str) or hint else None,
        span(wrong, class_name="wrong", role="alert") if not isinstance(wrong, str) or wrong else None,
        class_name="field full" if full else "field",
    )


def text_field(
    text: str, name: str, *, hint: Any = "", wrong: Any = "", full: bool = False, **props: Any
) -> rx.Component:
    """A labelled line of text. `name` is also its id and, with dashes, its testid."""
    props.setdefault("type", "text")
    props.setdefault("data_testid", name.replace("_", "-"))
    invalid = {} if isinstance(wrong, str) else {"aria_invalid": pick(wrong, "true", "false")}
    control_id = props.pop("id", name)
    control = input_(id=control_id, name=name, class_name="input", **invalid, **props)
    return field(text, control, control_id=control_id, hint=hint, wrong=wrong, full=full)


def number_field(text: str, name: str, **props: Any) -> rx.Component:
    """A labelled amount: text with a number keyboard, because amounts are never floats."""
    return text_field(text, name, input_mode="decimal", auto_complete="off", **props)


def area(name: str, **props: Any) -> rx.Component:
    """A larger text."""
    return textarea(id=name, name=name, **{"class_name": "textarea", "data_testid": name.replace("_", "-"), **props})


def choose(name: str, choices: Any, **props: Any) -> rx.Component:
    """A native select. `choices`: pairs (value, label), or a state's rows with `value` and `label`."""
    if isinstance(choices, list | tuple):
        options: list[Any] = [option(shown, value=value) for value, shown in choices]
    else:
        options = [each(choices, lambda row: option(row["label"], value=row["value"]))]
    return select(
        *options, id=name, name=name, **{"class_name": "select", "data_testid": name.replace("_", "-"), **props}
    )


def select_field(
    text: str, name: str, choices: Any, *, hint: Any = "", wrong: Any = "", full: bool = False, **props: Any
) -> rx.Component:
    """A labelled native select."""
    return field(text, choose(name, choices, **props), control_id=name, hint=hint, wrong=wrong, full=full)


def live_check(text: str, wrong: Any) -> rx.Component:
    """The tick without which nothing is done with real money."""
    box = input_(type="checkbox", name="confirm_live", id="confirm_live", data_testid="confirm-live")
    return div(
        label(box, badge("LIVE", "LIVE"), text, html_for="confirm_live", class_name="check live"),
        span(wrong, class_name="wrong", role="alert"),
        class_name="field full",
    )


def submit(text: Any, *, testid: str, style: Any = "btn primary", busy: Any = None) -> rx.Component:
    """The button that sends its form; `busy` disables it meanwhile."""
    props = {} if busy is None else {"disabled": busy}
    return button(text, type="submit", class_name=style, data_testid=testid, **props)
