"""Hints between processes: what changed, for whom. The rows are the truth; a lost hint only costs a moment."""

from __future__ import annotations

import json
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from app.database.notifications import notify

WORK_CHANNEL = "plumbline_work"
UI_CHANNEL = "plumbline_ui"

Work = Literal["orders", "cancels", "accounts", "runs", "plans", "paper_market", "kill", "reconcile", "rules"]
Kind = Literal[
    "order",
    "fill",
    "position",
    "price",
    "run",
    "decision",
    "account",
    "service",
    "notice",
    "market",
    "kill",
    "incident",
]


async def wake_worker(session: AsyncSession, work: Work) -> None:
    """Tell the worker, at commit, that there is work of this kind."""
    await notify(session, WORK_CHANNEL, work)


async def tell_browsers(
    session: AsyncSession, kind: Kind, what: int | str | None = None, *, user_id: int | None
) -> None:
    """Tell the web processes, at commit, that something of a user (None: of everybody) changed."""
    await notify(session, UI_CHANNEL, json.dumps({"user_id": user_id, "kind": kind, "id": what}))
