"""Dialogs. A destructive act says what it will do, and asks once."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.html import Tag, button, div, h1, p

_alert_root: Tag = rx.alert_dialog.root
_alert_trigger: Tag = rx.alert_dialog.trigger
_alert_content: Tag = rx.alert_dialog.content
_alert_title: Tag = rx.alert_dialog.title
_alert_text: Tag = rx.alert_dialog.description
_alert_action: Tag = rx.alert_dialog.action
_alert_cancel: Tag = rx.alert_dialog.cancel
_root: Tag = rx.dialog.root
_trigger: Tag = rx.dialog.trigger
_content: Tag = rx.dialog.content
_title: Tag = rx.dialog.title
_text: Tag = rx.dialog.description
_close: Tag = rx.dialog.close


def confirm(
    trigger: rx.Component, *, title: Any, text: Any, action: str, on_confirm: Any, testid: str, danger: bool = True
) -> rx.Component:
    """`trigger` opens a question; only its `action` button does `on_confirm`."""
    style = "btn danger solid" if danger else "btn primary"
    return _alert_root(
        _alert_trigger(trigger),
        _alert_content(
            _alert_title(h1(title), as_child=True),
            _alert_text(p(text, class_name="about"), as_child=True),
            div(
                _alert_cancel(button("Go back", class_name="btn", type="button")),
                _alert_action(
                    button(action, class_name=style, type="button", on_click=on_confirm, data_testid=f"{testid}-yes")
                ),
                class_name="actions",
            ),
            class_name="dialog",
            max_width="460px",
            data_testid=testid,
        ),
    )


def dialog(
    *children: Any, title: Any, text: Any, is_open: Any, on_open_change: Any, testid: str, width: str = "520px"
) -> rx.Component:
    """A dialog whose being open is in a state; Escape and the backdrop close it, focus returns."""
    return _root(
        _content(
            _title(h1(title), as_child=True),
            _text(p(text, class_name="about"), as_child=True),
            *children,
            class_name="dialog",
            max_width=width,
            data_testid=testid,
        ),
        open=is_open,
        on_open_change=on_open_change,
    )


def close_button(text: str = "Cancel") -> rx.Component:
    """The button that closes the dialog it stands in."""
    return _close(button(text, class_name="btn", type="button"))
