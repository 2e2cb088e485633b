"""A kill switch as a card, and the dialog that rehearses it before it is used."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, dialog
from app.components.fields import submit, text_field
from app.components.html import Row, button, div, each, form, li, link, p, pick, some, span, ul, when
from app.components.tabs import tabs
from app.state.kill import ACTION_WORDS, KillState

_MEANS = {
    "halt": "From this moment every new entry is refused, by hand or by strategy, and what is not sent yet never is."
    " Everything that works goes on: orders, stops, targets, exits.",
    "cancel_all": "As halt, and every working order is cancelled but those that protect what is held."
    " Nothing that is held is sold.",
    "flatten": "As cancel all, and every position is sold at the market price, with or without a known price. A stop is"
    " cancelled only as its sale replaces it. Strategies within are stopped. Coins that came by deposit are no position"
    " and stay.",
}
_RELEASE = "New entries are allowed again. Strategies that were stopped stay stopped until somebody starts them."


def switch_card(row: Any, *, testid: str, engage: Any, release: Any) -> rx.Component:
    """Whether it is engaged, by whom and why, how far it has come; and the buttons. `engage` opens the drill."""
    name = rx.Var.create("switch-") + row["scope"] + "-" + row["scope_id"]
    engaged = div(
        div(
            badge(rx.Var.create("ENGAGED: ") + row["engaged"], "bad", testid),
            span(row["words"], ": “", row["reason"], "”"),
            class_name="row",
        ),
        p(row["progress"], data_testid=f"{testid}-progress"),
        when(row["waiting"], p(row["waiting"], class_name="note warn", data_testid=f"{testid}-waiting")),
        div(
            when(row["can_grow"], button("Drill, or make it stronger …", class_name="btn danger", type="button",
                                         on_click=engage, data_testid=name)),
            button("Release …", class_name="btn", type="button", on_click=release,
                   data_testid=rx.Var.create("release-") + row["scope"] + "-" + row["scope_id"]),
            class_name="row",
        ),
        class_name="stack",
    )  # fmt: skip
    idle = div(
        badge("Not engaged", "ok", testid),
        span("It refuses nothing.", class_name="muted"),
        button("Drill, or engage …", class_name="btn danger push", type="button", on_click=engage, data_testid=name),
        class_name="row",
    )
    return when(row["engaged"], engaged, idle)


def ask_about(row: Any, *, release: bool) -> Any:
    """The handler that opens the dialog for the switch of a row."""
    return KillState.ask(row["scope"], row["scope_id"], row["covers"], release)


def kill_dialog() -> rx.Component:
    """What it would do now, then the reason. A page with a switch has it once."""
    state: Any = KillState
    asked = state.asked
    engages = asked["act"] == "engage"
    return dialog(
        when(engages, _drill()),
        form(
            when(engages, span(), p(_RELEASE, class_name="note warn")),
            text_field("Reason", "reason", required=True, min_length=3, max_length=300, wrong=state.errors["reason"],
                       hint="It stands in the audit log, with your name and address."),
            p(state.errors["form"], class_name="wrong", role="alert"),
            div(
                close_button("Do nothing"),
                submit(pick(engages, _engage_words(), "Release the kill switch"), testid="confirm-switch",
                       style="btn danger solid"),
                class_name="actions",
            ),
            on_submit=state.engage,
            reset_on_submit=False,
        ),
        title=pick(engages, "Kill switch for ", "Release the kill switch for ") + asked["name"],
        text="Looking does nothing. A kill switch stays as it is until a person changes it.",
        is_open=asked["scope"].bool(),
        on_open_change=state.set_open,
        testid="switch-dialog",
        width="680px",
    )  # fmt: skip


def _drill() -> rx.Component:
    state = KillState
    choices = [(text, state.action == action, state.choose(action), f"action-{action}")
               for action, text in ACTION_WORDS.items()]  # fmt: skip
    means = pick(state.action == "halt", _MEANS["halt"],
                 pick(state.action == "cancel_all", _MEANS["cancel_all"], _MEANS["flatten"]))  # fmt: skip
    again = button("Look again", class_name="btn tiny quiet", type="button", on_click=state.look_again)
    return div(
        tabs(*choices),
        p(means, class_name="note warn"),
        div(span("What it would do now, as of ", state.as_of, class_name="strong"), again, class_name="row between"),
        p(state.summary, data_testid="drill-summary"),
        when(some(state.lines), div(ul(each(state.lines, _line), class_name="trace", data_testid="drill"),
                                    class_name="scroll", tab_index=0)),
        class_name="stack",
        style={"margin-bottom": "14px"},
    )  # fmt: skip


def _line(row: Row) -> rx.Component:
    said = when(row["href"], link(row["words"], href=row["href"]), span(row["words"]))
    return li(badge(row["kind"], row["tone"]), said)


def _engage_words() -> Any:
    action = KillState.action
    return pick(action == "halt", "Halt now", pick(action == "cancel_all", "Cancel all now", "Flatten now"))
