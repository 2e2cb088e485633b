"""The upload form for candles: sends straight to the gateway, with progress and the gateway's own words."""

from __future__ import annotations

from typing import Any

import reflex as rx

_path = rx.asset("dataset_upload.jsx", shared=True)


class DatasetUpload(rx.NoSSRComponent):
    """See the .jsx beside this file."""

    library = f"$/public{_path}"
    tag = "DatasetUpload"

    timeframes: rx.Var[list[str]]
    limit_mb: rx.Var[int]
    on_done: rx.EventHandler[rx.event.passthrough_event_spec(str)]  # type: ignore[type-arg, valid-type]


def dataset_upload(timeframes: list[str], *, limit_mb: Any, on_done: Any) -> rx.Component:
    """`on_done` gets the new data set's id."""
    made: rx.Component = DatasetUpload.create(timeframes=timeframes, limit_mb=limit_mb, on_done=on_done)
    return made
