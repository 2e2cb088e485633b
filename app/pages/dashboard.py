"""The first page."""

from __future__ import annotations

import reflex as rx

from app.components.shell import shell
from app.state.dashboard import DashboardState


@rx.page(route="/", title="Dashboard · Plumbline", on_load=DashboardState.load)
def dashboard() -> rx.Component:
    """Everything that matters now."""
    return shell("Dashboard", here="/", ready=DashboardState.ready)
