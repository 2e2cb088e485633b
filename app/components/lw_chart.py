"""TradingView's lightweight-charts as a component: history by URL, the newest candle by a small var."""

from __future__ import annotations

from typing import Any

import reflex as rx

_path = rx.asset("lw_chart.jsx", shared=True)


class LwChart(rx.NoSSRComponent):
    """A chart of candles, or of one line. Its JavaScript is loaded only on pages that have one."""

    library = f"$/public{_path}"
    tag = "LwChart"
    lib_dependencies: list[str] = ["lightweight-charts@5.2.1"]  # noqa: RUF012

    kind: rx.Var[str]  # candles | area
    data: rx.Var[list[dict[str, Any]]]  # short series through the state
    data_url: rx.Var[str]  # or fetched from the gateway
    fresh: rx.Var[list[dict[str, Any]]]  # candles that closed since: one small change at a time
    markers: rx.Var[list[dict[str, Any]]]
    height: rx.Var[int]
    aria_label: rx.Var[str]


def lw_chart(testid: str, *, label: str, **props: Any) -> rx.Component:
    """A chart with id and testid `testid`; `label` names it to a screen reader."""
    made: rx.Component = LwChart.create(id=testid, aria_label=label, **props)
    return made
