"""The first page: what matters now."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.html import Row, div, each, li, link, ol, p, some, span, strong, time, ul, when
from app.components.panels import as_of, body, panel
from app.components.shell import shell
from app.components.tables import empty
from app.components.trades import fills_table, open_orders_table, positions_table
from app.pages.portfolio import figures
from app.pages.runs import runs_table
from app.state.dashboard import DashboardState


@rx.page(route="/", title="Dashboard · Plumbline", on_load=DashboardState.load)
def dashboard() -> rx.Component:
    """Equity and PnL, what runs, what is held, what works, what happened."""
    state = DashboardState
    return shell(
        "Dashboard",
        when(state.figures["equity"], figures(state.figures)),
        when(some(state.steps), panel("First steps", body(ol(each(state.steps, _step), class_name="stack")))),
        panel("Running strategies", runs_table(state.runs, "runs-active")),
        div(
            div(
                panel("Open positions", positions_table(state.positions)),
                panel("Open orders", open_orders_table(state.orders),
                      actions=[span(state.more_orders, class_name="muted", data_testid="more-orders"),
                               link("All orders", href="/orders")]),
                class_name="stack",
            ),
            panel("Notices", body(_notices())),
            class_name="grid two",
        ),
        panel("Recent fills", fills_table(state.fills), actions=[link("Portfolio", href="/portfolio")]),
        here="/",
        ready=state.ready,
        beside=span(badge(state.kind, state.kind, "figures-kind"), " ", as_of(state.as_of)),
    )


def _step(row: Row) -> rx.Component:
    mark = when(row["done"], span("✓", class_name="up strong"), span(row["number"], class_name="faint strong"))
    return li(
        div(
            mark, link(strong(row["title"]), href=row["href"]), span(row["text"], class_name="muted"), class_name="row"
        ),
    )


def _notices() -> rx.Component:
    return when(
        some(DashboardState.notices),
        ul(each(DashboardState.notices, _notice), class_name="feed", data_testid="notices"),
        empty("Nothing to report", "Recoveries, incidents and refusals are told here."),
    )


def _notice(row: Row) -> rx.Component:
    return li(time(row["time"]), p(row["message"]))
