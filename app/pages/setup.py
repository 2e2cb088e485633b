"""First-run set-up and password reset, from a one-time link."""

from __future__ import annotations

import reflex as rx

from app.components.fields import submit, text_field
from app.components.html import link, p, pick, when
from app.components.native_form import native_form
from app.components.shell import gate, hidden
from app.state.login import SetupState


@rx.page(route="/setup", title="Set-up · Plumbline", on_load=SetupState.load)
def setup() -> rx.Component:
    """Choose e-mail and password of the first admin, or a new password."""
    return gate(
        "Set up Plumbline",
        when(
            SetupState.link_problem != "",
            p(SetupState.link_problem, class_name="note bad", role="alert", data_testid="setup-link-problem"),
        ),
        when(
            SetupState.wrong != "",
            p(SetupState.wrong, class_name="note bad", role="alert", data_testid="setup-error"),
        ),
        when(SetupState.purpose != "", _form()),
        footer=p(link("Go to sign-in", href="/login"), class_name="small"),
    )


def _form() -> rx.Component:
    first = SetupState.purpose == "first_admin"
    return native_form(
        p(
            pick(
                first,
                "You are the first admin. There is no default password: choose one now.",
                "Choose a new password. Every other session of this user will end.",
            ),
            class_name="muted",
        ),
        when(
            first,
            text_field("E-mail", "email", type="email", required=True, auto_complete="username"),
            p(SetupState.email, class_name="strong"),
        ),
        text_field(
            "Password",
            "password",
            type="password",
            required=True,
            min_length=12,
            auto_complete="new-password",
            hint="At least 12 characters. A few unrelated words are good.",
        ),
        text_field("Password again", "password_again", type="password", required=True, auto_complete="new-password"),
        hidden("token", SetupState.token),
        submit(
            pick(first, "Create the first admin", "Set the new password"),
            testid="setup-submit",
            style="btn primary wide",
        ),
        action="/api/v1/auth/setup",
    )
