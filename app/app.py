"""The web process put together: pages and, mounted beside them, the gateway."""

from __future__ import annotations

import reflex as rx


@rx.page(route="/", title="Plumbline")
def index() -> rx.Component:
    """The first page."""
    return rx.center(rx.heading("Plumbline"), height="100vh")


app = rx.App()
