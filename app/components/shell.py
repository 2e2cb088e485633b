"""The frame around every page: navigation on the left, the status strip above, messages."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.focus_return import focus_return
from app.components.html import (
    a,
    aside,
    b,
    button,
    div,
    each,
    fragment,
    h1,
    header,
    icon,
    input_,
    li,
    link,
    main,
    nav,
    pick,
    some,
    span,
    ul,
    when,
)
from app.components.native_form import native_form
from app.components.tables import empty
from app.components.toast_bridge import toast_bridge
from app.state.auth import AuthState
from app.state.notify import NotifyState
from app.state.shell import ShellState

PAGES = (
    ("/", "Dashboard", "layout-dashboard"),
    ("/market", "Market", "chart-candlestick"),
    ("/strategies", "Strategies", "blocks"),
    ("/runs", "Live runs", "activity"),
    ("/orders", "Orders", "list-ordered"),
    ("/portfolio", "Portfolio", "wallet"),
    ("/risk", "Risk", "shield-alert"),
    ("/reconciliation", "Reconciliation", "scale"),
    ("/incidents", "Incidents", "triangle-alert"),
    ("/settings", "Settings", "settings"),
)


def shell(
    title: Any,
    *children: Any,
    here: str,
    ready: Any,
    actions: list[rx.Component] | None = None,
    beside: Any = None,
    missing: Any = None,
) -> rx.Component:
    """A page. `here` is its place in the navigation. Its content waits for `ready`, so that nothing is shown as empty
    before it has been read. `beside` stands next to the title, `actions` on the right; `missing` is a sentence that
    takes the place of everything when the address names something that is not there."""
    head = div(h1(title), beside or span(), div(*(actions or []), class_name="push"), class_name="page-head")
    page = fragment(head, *children)
    if missing is not None:
        page = when(missing == "", page, empty("Not here", missing, link("Back", href=here, class_name="btn")))
    waiting = div(span("Loading", class_name="visually-hidden"), class_name="skeleton", role="status")
    return div(
        a("Skip to content", href="#content", class_name="skip"),
        _side(here),
        div(
            _strip(),
            _banners(),
            main(div(when(ready, page, waiting), class_name="content"), id="content"),
            class_name="main",
        ),
        toast_bridge(NotifyState.message),
        focus_return(),
        class_name="pl frame",
        data_testid="shell",
        data_hydrated=pick(rx.State.is_hydrated, "true", "false"),
        data_ready=pick(ready, "true", "false"),
    )


def logo() -> rx.Component:
    """A plumb line."""
    return rx.el.svg(
        rx.el.svg.path(d="M5 3h14M12 3v9"),
        rx.el.svg.path(d="M12 21l-4-6 4-3 4 3z", fill="currentColor"),
        width="20",
        height="20",
        view_box="0 0 24 24",
        fill="none",
        stroke="currentColor",
        stroke_width="2",
        stroke_linecap="round",
        stroke_linejoin="round",
        aria_hidden="true",
    )


def _side(here: str) -> rx.Component:
    items = [li(_nav_link(path, name, picture, here)) for path, name, picture in PAGES]
    admin = when(AuthState.role == "admin", li(_nav_link("/admin", "Admin", "users", here)))
    return aside(
        link(logo(), span("Plumbline"), href="/", class_name="brand"),
        nav(ul(*items, admin), aria_label="Pages"),
        div(
            div(span(AuthState.email, class_name="small muted", data_testid="who"), _theme_button(), class_name="who"),
            native_form(
                button("Sign out", type="submit", class_name="btn quiet tiny", data_testid="sign-out"),
                action="/api/v1/auth/logout",
            ),
            class_name="side-foot",
        ),
        class_name="side",
    )


def _nav_link(path: str, name: str, picture: str, here: str) -> rx.Component:
    current = {"aria_current": "page"} if path == here else {}
    testid = "nav-" + (path.strip("/") or "dashboard")
    return link(
        icon(picture, size=16, aria_hidden="true"),
        name,
        href=path,
        class_name="nav-link",
        data_testid=testid,
        **current,
    )


def _theme_button() -> rx.Component:
    return button(
        rx.color_mode_cond(icon("moon", size=15), icon("sun", size=15)),
        on_click=rx.toggle_color_mode,
        class_name="icon-btn",
        type="button",
        aria_label="Switch between dark and light",
        data_testid="theme",
    )


def _strip() -> rx.Component:
    state = ShellState
    return header(
        _item("Execution", state.service, state.service_tone, "strip-service"),
        div(
            when(
                some(state.exchanges),
                each(state.exchanges, lambda kind: badge(kind, kind, "strip-exchange")),
                badge("NO ACCOUNT", "", "strip-exchange"),
            ),
            class_name="item",
        ),
        _item("Clock offset", state.clock, state.clock_tone, "strip-clock"),
        link(_item("Books agree with exchange as of", state.books, state.books_tone, "strip-books"),
             href="/reconciliation", class_name="item"),
        when(state.incidents, link(_item("Incidents", state.incidents, "bad", "strip-incidents"), href="/incidents",
                                   class_name="item")),
        link(_item("Kill switch", state.kill, state.kill_tone, "strip-kill"), href="/risk", class_name="item"),
        span("all times UTC", class_name="faint push"),
        class_name=pick(state.is_live, "strip live", "strip"),
        role="banner",
        aria_label="Status",
        data_testid="strip",
    )  # fmt: skip


def _item(name: str, value: Any, dot: Any, testid: str) -> rx.Component:
    colour = rx.Var.create("dot ") + dot
    shown = pick(value == "", "…", value)
    return span(span(class_name=colour, aria_hidden="true"), name, b(shown, data_testid=testid), class_name="item")


def _banners() -> rx.Component:
    state = ShellState
    return div(
        when(
            state.signed_out,
            div(
                "You have been signed out. ",
                a("Sign in again", href="/login"),
                class_name="banner warn",
                role="alert",
                data_testid="banner-signed-out",
            ),
        ),
        when(state.away != "", div(state.away, class_name="banner bad", role="alert", data_testid="banner-database")),
        when(
            (state.trouble != "") & (state.away == ""),
            div(state.trouble, class_name="banner warn", role="status", data_testid="banner-service"),
        ),
    )


def gate(title: str, *children: Any, footer: Any = None) -> rx.Component:
    """The frame of the pages outside: sign-in and set-up."""
    return div(
        main(
            div(logo(), span("Plumbline"), class_name="brand"),
            div(h1(title), *children, class_name="panel"),
            footer or span(),
            class_name="gate-card",
        ),
        toast_bridge(NotifyState.message),
        class_name="pl gate",
        data_testid="gate",
        data_hydrated=pick(rx.State.is_hydrated, "true", "false"),
    )


def hidden(name: str, value: Any) -> rx.Component:
    """A value that a native form sends along."""
    return input_(type="hidden", name=name, value=value, read_only=True)
