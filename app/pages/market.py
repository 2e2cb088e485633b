"""Candles: what the paper market shows now, and the imported data sets."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.dataset_upload import dataset_upload
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import number_field, select_field, submit
from app.components.html import (
    Row,
    button,
    div,
    each,
    form,
    input_,
    label,
    li,
    option,
    p,
    pick,
    select,
    some,
    span,
    strong,
    td,
    tr,
    ul,
    when,
)
from app.components.lw_chart import lw_chart
from app.components.panels import as_of, body, facts, panel
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.components.tabs import tabs
from app.services.strategy import TIMEFRAMES as ALL_TIMEFRAMES
from app.state.market import MarketState
from app.state.paper_market import TIMEFRAMES, PaperMarketState


@rx.page(route="/market", title="Market · Plumbline", on_load=MarketState.load)
def market() -> rx.Component:
    """The paper market above, data sets below."""
    state = MarketState
    return shell(
        "Market",
        div(_live_chart(), _paper_market(), class_name="grid two"),
        div(
            div(panel("Data sets", _datasets()), when(state.chart_url != "", _chosen()), class_name="stack"),
            panel("Import candles", body(_upload())),
            class_name="grid two",
        ),
        _change_dialog(),
        here="/market",
        ready=state.ready,
        beside=as_of(state.as_of),
    )


# --- the paper market ------------------------------------------------------------------------------------


def _live_chart() -> rx.Component:
    state = PaperMarketState
    chart = div(
        lw_chart("live-chart", label="Live candles of the paper market", data_url=state.chart_url, fresh=state.fresh),
        class_name="panel-body",
    )
    frames = tabs(*[(tf, state.timeframe == tf, state.set_timeframe(tf), f"tf-{tf}") for tf in TIMEFRAMES])
    nothing = empty(
        "No candles of the paper market yet",
        "The worker stores them as they close. If none arrive, look at the execution state in the strip above.",
    )
    chooser = select(
        each(state.symbols, lambda name: option(name, value=name)),
        value=state.symbol,
        on_change=state.set_symbol,
        class_name="select tiny",
        aria_label="Symbol",
    )
    return panel("Paper market, live", when(state.chart_url != "", chart, nothing), actions=[chooser, frames])


def _paper_market() -> rx.Component:
    state, row = PaperMarketState, PaperMarketState.market
    bar = div(div(style={"width": row["progress_pct"]}), class_name="progress", role="progressbar",
              aria_label="Progress of the replay", aria_valuetext=row["progress"])  # fmt: skip
    shown = body(
        div(
            badge("PAPER", "PAPER"),
            badge(row["what"], "info", "market-source"),
            strong(row["label"], data_testid="market-label", class_name="break"),
            badge(row["halted"], "bad", "market-halted"),
            class_name="row",
        ),
        when(row["trouble"], p(row["trouble"], class_name="note warn", role="status", data_testid="market-trouble")),
        when(row["progress"], div(p(row["progress"], class_name="small muted", data_testid="market-progress"), bar)),
        facts(
            ("Gaps", row["gaps"]),
            ("At its end", row["at_end"]),
            ("Fills", row["preset"]),
            ("Seen", row["seen"]),
        ),
        p("Exchange time is true time: every candle played becomes a one-second candle of now.", class_name="note"),
        when(
            state.request["words"],
            p(state.request["words"], class_name="note warn", role="status", data_testid="market-request"),
        ),
    )
    nothing = empty(
        "The paper exchange has not been seen yet",
        "It starts with Plumbline and shows a synthetic market until you choose a replay.",
    )
    change = button("Change …", class_name="btn", type="button", on_click=state.set_changing(True),
                    data_testid="change-market", disabled=~some(state.symbols))  # fmt: skip
    return panel("What it shows", when(row["symbol"], shown, nothing), actions=[change])


def _change_dialog() -> rx.Component:
    state = PaperMarketState
    replay = div(
        when(
            some(state.replayable),
            select_field("Data set", "dataset_id", state.replayable, wrong=state.errors["dataset_id"]),
            p("No data set of this symbol yet: import one on this page first.", class_name="note warn"),
        ),
        number_field("Start at candle (optional)", "start", wrong=state.errors["start"],
                     hint="Candles before it become history to warm up on."),
        label(input_(type="checkbox", name="loop", id="loop"), "Begin again at the end instead of halting",
              html_for="loop", class_name="check"),
        class_name="stack",
    )  # fmt: skip
    synthetic = number_field("Seed (optional)", "seed", wrong=state.errors["seed"],
                             hint="The same seed makes the same market.")  # fmt: skip
    mirror = p("The symbol follows Binance's public prices, one to two seconds late, where this machine can reach "
               "them. While they fall silent it halts.", class_name="note")  # fmt: skip
    return dialog(
        form(
            div(
                tabs(("Replay a data set", state.source == "replay", state.set_source("replay"), "source-replay"),
                     ("Synthetic", state.source == "synthetic", state.set_source("synthetic"), "source-synthetic"),
                     ("Mirror Binance", state.source == "mirror", state.set_source("mirror"), "source-mirror")),
                when(state.source == "replay", replay, when(state.source == "mirror", mirror, synthetic)),
                p("What happens: every open order of this symbol on the paper exchange expires, protective stops "
                  "included. Balances stay. The candles begin a new history, so stop running strategies first.",
                  class_name="note warn"),
                class_name="stack",
            ),
            p(state.errors["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("Change the market now", testid="apply-market"), class_name="actions"),
            on_submit=state.apply,
            reset_on_submit=False,
        ),
        title=rx.Var.create("What should the paper market of ") + state.symbol + " show?",
        text="One candle of the source is played each second.",
        is_open=state.changing,
        on_open_change=state.set_changing,
        testid="market-dialog",
    )  # fmt: skip


# --- data sets -------------------------------------------------------------------------------------------


def _upload() -> rx.Component:
    return div(
        p("An imported file is a venue of its own: its candles never mix with others.", class_name="muted"),
        dataset_upload(list(ALL_TIMEFRAMES), limit_mb=MarketState.upload_limit_mb, on_done=MarketState.imported),
        class_name="stack",
    )


def _datasets() -> rx.Component:
    return data_table(
        ["Name", "Symbol", "Timeframe", ">Candles", "Range", "Gaps", ""],
        MarketState.datasets,
        _dataset,
        label="Data sets",
        testid="datasets",
        nothing=empty(
            "No candles imported yet",
            "Import a file of candles: then you can look at it, and let the paper market replay it.",
            testid="datasets-empty",
        ),
    )


def _dataset(row: Row) -> rx.Component:
    return tr(
        td(button(row["name"], class_name="btn quiet tiny", type="button", on_click=MarketState.choose(row["id"]),
                  data_testid="show-dataset")),
        td(row["symbol"], class_name="strong"),
        td(row["timeframe"]),
        td(row["rows"], class_name="num", data_testid="dataset-rows"),
        td(row["range"], class_name="nowrap muted", title=row["from"] + " to " + row["to"]),
        td(span(row["gaps"], class_name=row["gaps_class"]), class_name="nowrap", data_testid="dataset-gaps"),
        td(when(row["is_own"], _remove(row)), class_name="end"),
    )  # fmt: skip


def _remove(row: Row) -> rx.Component:
    return confirm(
        button("Remove", class_name="btn quiet tiny", type="button", data_testid="remove-dataset"),
        title=rx.Var.create("Remove “") + row["name"] + "”?",
        text=rx.Var.create("All ") + row["rows"] + " candles of this data set are deleted. This cannot be undone.",
        action="Remove the data set",
        on_confirm=MarketState.remove(row["id"]),
        testid="confirm-remove",
    )


def _chosen() -> rx.Component:
    state, row = MarketState, MarketState.chosen
    title = row["name"] + " · " + row["symbol"] + " · " + row["timeframe"]
    return panel(
        title,
        body(
            facts(
                ("Candles", row["rows"]),
                ("Range", row["from"] + " to " + row["to"]),
                ("Gaps", span(row["gaps"], class_name=row["gaps_class"])),
                ("Fingerprint", span(row["fingerprint"], class_name="mono")),
            ),
            when(some(state.warnings), ul(each(state.warnings, lambda text: li(text, class_name="note warn")))),
            lw_chart("dataset-chart", label="Candles of the data set", data_url=state.chart_url, height=320),
        ),
        when(some(state.gaps), _gaps()),
        data_testid="dataset",
    )


def _gaps() -> rx.Component:
    return data_table(
        ["First missing", "Last missing", ">Candles missing"],
        MarketState.gaps,
        lambda row: tr(td(row["from"]), td(row["to"]), td(row["missing"], class_name="num")),
        label="Gaps",
        testid="gaps",
        nothing=p(pick(MarketState.ready, "No gaps.", "")),
        scroll=True,
    )
