"""Gives the focus back to what opened a dialog."""

from __future__ import annotations

import reflex as rx

_path = rx.asset("focus_return.jsx", shared=True)


class FocusReturn(rx.NoSSRComponent):
    """See the .jsx beside this file."""

    library = f"$/public{_path}"
    tag = "FocusReturn"


def focus_return() -> rx.Component:
    """Stands once in the shell."""
    made: rx.Component = FocusReturn.create()
    return made
