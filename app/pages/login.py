"""Sign in."""

from __future__ import annotations

import reflex as rx

from app.components.fields import submit, text_field
from app.components.html import code, p, when
from app.components.native_form import native_form
from app.components.shell import gate
from app.state.login import LoginState


@rx.page(route="/login", title="Sign in · Plumbline", on_load=LoginState.load)
def login() -> rx.Component:
    """E-mail and password; the gateway sets the cookie and sends the browser on."""
    return gate(
        "Sign in",
        when(
            LoginState.wrong != "",
            p(LoginState.wrong, class_name="note bad", role="alert", data_testid="login-error"),
        ),
        when(
            LoginState.first_run,
            p(
                "Nobody can sign in yet. Open the set-up link that ",
                code("make run", class_name="mono"),
                " printed in the terminal: it makes the first admin.",
                class_name="note info",
                data_testid="first-run",
            ),
        ),
        native_form(
            text_field("E-mail", "email", type="email", required=True, auto_complete="username", auto_focus=True),
            text_field("Password", "password", type="password", required=True, auto_complete="current-password"),
            submit("Sign in", testid="sign-in", style="btn primary wide"),
            action="/api/v1/auth/login",
        ),
    )
