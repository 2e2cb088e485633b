"""The first page."""

from __future__ import annotations

import reflex as rx

from app.state.base import PageState, Unit, live


@live("order", "fill", "position", "price", "run", "account", "notice")
class DashboardState(PageState, rx.State):
    """What is going on now."""

    async def _reload(self, unit: Unit) -> None:
        return None
