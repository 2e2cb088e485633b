"""For admins: health, jobs, reconciliation, incidents, users, audit log."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import confirm
from app.components.html import Row, button, dd, div, dl, dt, each, fragment, link, span, td, tr, when
from app.components.panels import as_of, body, panel
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.state.admin import AdminState


@rx.page(route="/admin", title="Admin · Plumbline", on_load=AdminState.load)
def admin() -> rx.Component:
    """How the installation is."""
    state = AdminState
    return shell(
        "Admin",
        div(panel("Execution service", body(dl(each(state.health, _fact), class_name="facts", data_testid="health"))),
            panel("Incidents", _incidents(), actions=[link("All incidents", href="/incidents")]),
            class_name="grid half"),
        div(panel("Jobs", _jobs()),
            panel("Reconciliation", _passes(),
                  actions=[link("All comparisons", href="/reconciliation"), _reconcile()]),
            class_name="grid half"),
        panel("Users", _users()),
        panel("Audit log", _audit(), actions=[badge(state.chain, state.chain_tone, "chain"), _verify()]),
        here="/admin",
        ready=state.ready,
        missing=state.missing,
        beside=as_of(state.as_of),
    )  # fmt: skip


def _fact(row: Row) -> rx.Component:
    return fragment(dt(row["name"]), dd(row["value"]))


def _reconcile() -> rx.Component:
    return button("Compare now", class_name="btn tiny", type="button", on_click=AdminState.reconcile,
                  data_testid="reconcile-now")  # fmt: skip


def _verify() -> rx.Component:
    return button("Verify the chain", class_name="btn tiny", type="button", on_click=AdminState.verify,
                  data_testid="verify-chain")  # fmt: skip


def _jobs() -> rx.Component:
    return data_table(
        ["Job", "Last", ">Took", ">Runs", ">Failures", "State"],
        AdminState.jobs,
        lambda row: tr(
            td(row["name"], class_name="strong"),
            td(row["last"], class_name="nowrap muted"),
            td(row["took"], class_name="num"),
            td(row["runs"], class_name="num"),
            td(row["failures"], class_name="num"),
            td(span(badge(row["state"], row["tone"]), title=row["error"])),
        ),
        label="Jobs",
        testid="jobs",
        nothing=empty("No job has run yet", "The worker runs them; look at the execution service above."),
    )


def _passes() -> rx.Component:
    return data_table(
        ["Time", "Account", "Why", ">Checked", ">Repaired", ">Unresolved", "Result"],
        AdminState.passes,
        lambda row: tr(
            td(row["time"], class_name="nowrap muted"),
            td(row["account"]),
            td(row["trigger"]),
            td(row["checked"], class_name="num"),
            td(row["repaired"], class_name="num"),
            td(row["unresolved"], class_name="num"),
            td(span(badge(row["state"], row["tone"]), title=row["why"])),
        ),
        label="Reconciliation passes",
        testid="passes",
        nothing=empty("No comparison yet", "Each account is compared with its exchange every 60 s."),
        scroll=True,
    )


def _incidents() -> rx.Component:
    return data_table(
        ["Time", "Kind", "What happened", "Order"],
        AdminState.incidents,
        lambda row: tr(
            td(row["time"], class_name="nowrap muted"),
            td(row["title"], class_name="strong"),
            td(row["message"]),
            td(when(row["order"], link(row["order"], href=rx.Var.create("/orders/") + row["order"]))),
        ),
        label="Open incidents",
        testid="incidents",
        nothing=empty("No open incident", "Whatever a person has to look at appears here."),
        scroll=True,
    )


def _users() -> rx.Component:
    return data_table(
        ["E-mail", "Role", "Since", "State", ""],
        AdminState.users,
        _user,
        label="Users",
        testid="users",
        nothing=empty("No users", "There is always one."),
    )


def _user(row: Row) -> rx.Component:
    disable = confirm(
        button("Disable", class_name="btn quiet tiny", type="button", data_testid="disable-user"),
        title=rx.Var.create("Disable ") + row["email"] + "?",
        text="Every session and token of this user ends at once. Running strategies go on.",
        action="Disable the user",
        on_confirm=AdminState.set_disabled(row["id"], True),
        testid="confirm-disable",
    )
    enable = button("Enable", class_name="btn tiny", type="button", on_click=AdminState.set_disabled(row["id"], False))
    return tr(
        td(row["email"], class_name="strong"),
        td(row["role"]),
        td(row["created"], class_name="nowrap muted"),
        td(when(row["disabled"], badge("disabled", "bad"), badge("active", "ok"))),
        td(when(row["is_me"], span(), when(row["disabled"], enable, disable)), class_name="end"),
    )


def _audit() -> rx.Component:
    return data_table(
        [">No.", "Time", "Who", "Did", "To", "Details", "From"],
        AdminState.audit,
        lambda row: tr(
            td(row["seq"], class_name="num"),
            td(row["time"], class_name="nowrap muted"),
            td(row["actor"]),
            td(row["action"], class_name="strong"),
            td(row["object"]),
            td(row["details"], class_name="muted mono break"),
            td(row["ip"], class_name="mono muted"),
        ),
        label="Audit log, newest first",
        testid="audit",
        nothing=empty("Nothing yet", "Every act is written down here."),
        scroll=True,
    )
