"""Tables that stand on several pages: positions, open orders, fills."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge, signed
from app.components.html import Row, link, span, td, tr
from app.components.tables import data_table, empty


def positions_table(rows: Any, *, testid: str = "positions") -> rx.Component:
    """Open positions at the newest prices, each with the time of its price."""
    return data_table(
        ["Symbol", "Strategy", ">Quantity", ">Average cost", ">Price", ">Value", ">Unrealised", ">%", ">Realised"],
        rows,
        _position,
        label="Open positions",
        testid=testid,
        nothing=empty("No open position", "A position opens with the first fill of a buy.", testid=f"{testid}-empty"),
    )


def _position(row: Row) -> rx.Component:
    return tr(
        td(row["symbol"], " ", badge(row["account_kind"], row["account_kind"]), class_name="strong nowrap"),
        td(link(row["owner"], href=row["href"])),
        td(row["quantity"], class_name="num", data_testid="position-quantity"),
        td(row["average"], class_name="num"),
        td(row["price"], class_name="num", title=rx.Var.create("as of ") + row["priced"]),
        td(row["value"], class_name="num"),
        td(signed(row["unrealised"], data_testid="position-unrealised"), class_name="num"),
        td(signed(row["unrealised_pct"]), class_name="num"),
        td(signed(row["realised"]), class_name="num"),
    )


def fills_table(rows: Any, *, testid: str = "fills") -> rx.Component:
    """Fills, newest first."""
    return data_table(
        ["Time", "Symbol", "Side", ">Quantity", ">Price", ">Value", ">Fee", "Liquidity", "Order", "From"],
        rows,
        _fill,
        label="Fills",
        testid=testid,
        nothing=empty("No fills yet", "Each trade appears here, with its fee, the moment it is known."),
    )


def _fill(row: Row) -> rx.Component:
    return tr(
        td(row["time"], class_name="nowrap muted"),
        td(row["symbol"], " ", badge(row["account_kind"], row["account_kind"]), class_name="strong nowrap"),
        td(row["side"], class_name=row["side_class"]),
        td(row["quantity"], class_name="num"),
        td(row["price"], class_name="num"),
        td(row["value"], class_name="num"),
        td(row["fee"], class_name="num"),
        td(row["liquidity"]),
        td(link(row["order_id"], href=row["order_href"])),
        td(row["owner"], class_name="muted nowrap"),
        data_fill=row["trade_id"],
    )


def open_orders_table(rows: Any, *, testid: str = "open-orders") -> rx.Component:
    """Orders that still work."""
    return data_table(
        ["Order", "Symbol", "Side", "Type", ">Quantity", ">Price", ">Filled", "Status"],
        rows,
        lambda row: tr(
            td(link(row["id"], href=row["href"])),
            td(row["symbol"], " ", badge(row["account_kind"], row["account_kind"]), class_name="strong nowrap"),
            td(row["side"], class_name=row["side_class"]),
            td(row["type"], class_name="nowrap"),
            td(row["quantity"], class_name="num"),
            td(row["price"], class_name="num"),
            td(row["filled"], class_name="num"),
            td(span(badge(row["status"], row["tone"], "order-status"))),
        ),
        label="Open orders",
        testid=testid,
        nothing=empty("No open orders", "Resting and protective orders stand here while they work."),
    )
