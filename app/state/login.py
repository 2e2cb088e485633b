"""The pages outside: sign-in and first-run set-up. The forms themselves go to the gateway."""

from __future__ import annotations

from collections.abc import Mapping

import reflex as rx

from app.domain.errors import PlumblineError
from app.services.container import get_services
from app.services.identity import setup, users
from app.services.identity.words import form_error
from app.state.auth import public
from app.state.base import DATABASE_AWAY, handler
from app.state.words import sentence

_AWAY = "The database cannot be reached. Check that Plumbline is running (`plumbline doctor`) and try again."


class LoginState(rx.State):
    """What the sign-in page says."""

    wrong: str = ""
    first_run: bool = False

    @handler
    @public
    async def load(self) -> None:
        """Show the gateway's words after a refused sign-in, and what to do on a new installation."""
        self.wrong = _form_error(self)
        try:
            async with get_services().sessions.begin() as session:
                self.first_run = not await users.has_users(session)
        except DATABASE_AWAY:
            self.wrong = _AWAY


class SetupState(rx.State):
    """What the set-up page says about the link it was opened with."""

    token: str = ""
    purpose: str = ""
    email: str = ""
    link_problem: str = ""
    wrong: str = ""

    @handler
    @public
    async def load(self) -> None:
        """Look the link up without using it."""
        asked = _asked(self)
        self.token, self.wrong = asked.get("token", "")[:200], _form_error(self)
        services = get_services()
        try:
            async with services.sessions.begin() as session:
                link = await setup.look_up(session, self.token, clock=services.clock)
        except DATABASE_AWAY:
            self.link_problem, self.purpose = _AWAY, ""
            return
        except PlumblineError as error:
            self.link_problem, self.purpose = sentence(error.message), ""
            return
        self.purpose, self.email, self.link_problem = link.purpose, link.email, ""


def _asked(state: rx.State) -> Mapping[str, str]:
    parameters: Mapping[str, str] = state.router.url.query_parameters
    return parameters


def _form_error(state: rx.State) -> str:
    asked = _asked(state)
    return form_error(asked.get("error", ""), asked.get("wait_s", ""))
