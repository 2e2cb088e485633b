"""A real HTML form, sent by the browser itself.

Reflex's own forms always prevent the default action, so a POST to the gateway would silently do nothing. Sign-in
must be a real POST: the answer's cookie is HttpOnly, and the page load after it opens a websocket that carries it.
"""

from __future__ import annotations

from typing import Any

import reflex as rx
from reflex_components_core.el.elements.base import BaseHTML  # type: ignore[import-untyped]


class NativeForm(BaseHTML):
    """`<form>` without any handler."""

    tag = "form"

    action: rx.Var[str]
    method: rx.Var[str]


def native_form(*children: Any, action: str, **props: Any) -> rx.Component:
    """A form that POSTs to `action`."""
    made: rx.Component = NativeForm.create(*children, action=action, method="post", **props)
    return made
