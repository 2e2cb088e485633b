"""A row of buttons of which one is pressed."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.html import button, div, pick


def tabs(*choices: tuple[str, Any, Any, str]) -> rx.Component:
    """Each choice: text, whether it is pressed, what pressing does, testid."""
    buttons = [
        button(text, type="button", on_click=act, aria_pressed=pick(pressed, "true", "false"), data_testid=testid)
        for text, pressed, act, testid in choices
    ]
    return div(*buttons, class_name="tabs", role="group")
