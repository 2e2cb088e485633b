"""Messages to the person in front of this tab."""

from __future__ import annotations

import secrets

import reflex as rx


class NotifyState(rx.State):
    """The newest message of this tab."""

    message: dict[str, str] = {}  # noqa: RUF012 - Reflex copies it per state

    def _push(self, level: str, title: str, text: str = "") -> None:
        self.message = {"id": secrets.token_hex(8), "level": level, "title": title, "text": text}

    @rx.event
    async def something_broke(self) -> None:
        """Shown when a handler failed in a way nobody foresaw."""
        self._push("error", "Something went wrong on our side.", "Nothing was changed. The details are in the log.")
