"""Messages that a handler shows without sending code to the browser."""

from __future__ import annotations

from typing import Any

import reflex as rx

_path = rx.asset("toast_bridge.jsx", shared=True)


class ToastBridge(rx.NoSSRComponent):
    """Shows each new `message` once."""

    library = f"$/public{_path}"
    tag = "ToastBridge"
    lib_dependencies: list[str] = ["@fontsource-variable/inter@5.3.0"]  # noqa: RUF012

    message: rx.Var[dict[str, Any]]


def toast_bridge(message: Any) -> rx.Component:
    """Shows the messages of `message`; stands once on a page."""
    made: rx.Component = ToastBridge.create(message=message)
    return made
