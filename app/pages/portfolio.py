"""Balances, positions, PnL and fills of an account."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge, sign_class, signed
from app.components.html import Row, count, div, each, link, option, select, some, span, td, tr, when
from app.components.lw_chart import lw_chart
from app.components.panels import as_of, body, panel, stat, stats
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.components.trades import fills_table, positions_table
from app.state.portfolio import PortfolioState


@rx.page(route="/portfolio", title="Portfolio · Plumbline", on_load=PortfolioState.load)
def portfolio() -> rx.Component:
    """One account at a time."""
    state = PortfolioState
    chooser = select(
        each(state.accounts, lambda row: option(row["label"], value=row["value"])),
        value=state.account,
        on_change=state.set_account,
        class_name="select",
        aria_label="Account",
        data_testid="account",
    )
    return shell(
        "Portfolio",
        when(state.account != "", _account(), _no_account()),
        here="/portfolio",
        ready=state.ready,
        beside=span(badge(state.kind, state.kind, "account-kind"), " ", as_of(state.as_of)),
        actions=[when(count(state.accounts) > 1, chooser)],
    )


def _no_account() -> rx.Component:
    return panel(
        "No account",
        empty(
            "There is no exchange account yet",
            "Add a paper account: its balances, positions and PnL appear here.",
            link("Open settings", href="/settings", class_name="btn primary"),
            testid="portfolio-empty",
        ),
    )


def _account() -> rx.Component:
    state = PortfolioState
    curve = when(
        count(state.curve) > 1,
        lw_chart("equity-chart", label="Equity by the hour", kind="area", data=state.curve, height=220),
        empty("No curve yet", "A snapshot is taken each hour; the curve needs two. Missed hours are never invented."),
    )
    return div(
        figures(state.figures),
        panel("Open positions", positions_table(state.positions)),
        div(
            panel("Balances", _balances(), actions=[_books()]),
            panel("Equity, hourly", body(curve)),
            class_name="grid half",
        ),
        when(some(state.closed), panel("Closed positions", _closed())),
        panel("Fills", fills_table(state.fills)),
        class_name="stack",
        style={"gap": "14px"},
    )


def figures(row: Row) -> rx.Component:
    """Equity and PnL, with the time of the oldest price that went in."""
    quote, priced = row["quote"], "priced as of " + row["priced"]
    return stats(
        stat("Equity", row["equity"], quote + ", " + priced, testid="equity"),
        stat("Cash", row["cash"], quote, testid="cash"),
        stat("Unrealised PnL", row["unrealised"], quote, testid="unrealised", tone=sign_class(row["unrealised"])),
        stat("Realised PnL", row["realised"], quote, testid="realised", tone=sign_class(row["realised"])),
        stat("Fees", row["fees"], quote, testid="fees"),
    )


def _books() -> rx.Component:
    agreed = badge("books agree as of " + PortfolioState.books, "ok", "books-agree")
    return when(PortfolioState.books != "", agreed, badge("not yet compared", "wait", "books-agree"))


def _balances() -> rx.Component:
    return data_table(
        ["Asset", ">Total", ">Reserved", ">Free", ">Value", ">Exchange, when compared"],
        PortfolioState.balances,
        _balance,
        label="Balances",
        testid="balances",
        nothing=empty("No balances yet", "They arrive with the account's opening balance."),
    )


def _balance(row: Row) -> rx.Component:
    return tr(
        td(row["asset"], class_name="strong"),
        td(row["total"], class_name="num", title=row["exact"], data_testid="balance-total"),
        td(row["reserved"], class_name="num"),
        td(row["free"], class_name="num"),
        td(row["value"], class_name="num"),
        td(row["exchange"], class_name="num"),
    )


def _closed() -> rx.Component:
    return data_table(
        ["Symbol", "Strategy", ">Realised", ">Fees"],
        PortfolioState.closed,
        lambda row: tr(
            td(row["symbol"], class_name="strong"),
            td(link(row["owner"], href=row["href"])),
            td(signed(row["realised"]), class_name="num"),
            td(row["fees"], class_name="num"),
        ),
        label="Closed positions",
        testid="closed-positions",
        nothing=empty("None", "Nothing was closed yet."),
    )
