"""The status strip: what stands on every page."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import reflex as rx

from app.services import execution
from app.services.execution import AccountView, KillSwitchView, ServiceHealth
from app.state.base import Unit, put
from app.state.words import clock_time, sentence, status_words, tone

#: Reconciliation runs every 60 s; books not compared for this long are worth a colour.
BOOKS_OLD_AFTER = timedelta(minutes=3)
#: Kinds of account, what can lose money first.
RISKIEST_FIRST = ("LIVE", "TESTNET", "PAPER")


class ShellState(rx.State):
    """Service, exchange, clock, books and kill switch, each in words with a tone."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"service", "account", "kill", "incident"})

    away: str = ""
    signed_out: bool = False
    service: str = ""
    service_tone: str = ""
    trouble: str = ""
    exchanges: list[str] = []  # noqa: RUF012 - Reflex copies it per state
    is_live: bool = False
    clock: str = ""
    clock_tone: str = ""
    books: str = ""
    books_tone: str = ""
    kill: str = ""
    kill_tone: str = ""
    incidents: str = ""

    def _database_is(self, *, away: bool) -> None:
        words = "The database cannot be reached. Nothing is lost: what you typed stays here, figures below may be old."
        put(self, away=words if away else "")
        if away:  # a green light that nobody has looked at would be a lie
            put(self, service="unknown", service_tone="bad", clock_tone="", books_tone="", kill_tone="")

    async def _reload(self, unit: Unit) -> None:
        health = await execution.service_health(unit.session, now=unit.now)
        accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        switches = await execution.kill_switches(unit.session, user_id=unit.user_id)
        whose = None if unit.viewer.is_admin else unit.user_id
        open_now = len(await execution.incidents(unit.session, user_id=whose))
        self._database_is(away=False)
        put(self, incidents=f"{open_now} open" if open_now else "")
        put(self, **_service(health), **_clock(health), **_books(accounts, unit), **_kill(switches))
        kinds = [kind for kind in RISKIEST_FIRST if any(a.kind == kind for a in accounts)]
        put(self, exchanges=kinds, is_live="LIVE" in kinds)


def _service(health: ServiceHealth) -> dict[str, str]:
    trouble = (
        "" if health.ok else f"No new orders are accepted now: {health.reason or status_words(health.state).lower()}"
    )
    return {
        "service": status_words(health.state),
        "service_tone": tone(health.state) or "bad",
        "trouble": _said(trouble),
    }


_CLOCK_TONES = {"FINE": "ok", "WARN": "wait", "BLOCK": "bad"}


def _clock(health: ServiceHealth) -> dict[str, str]:
    offset = health.clock_offset_ms
    if offset is None:
        return {"clock": "not measured", "clock_tone": "wait"}
    return {"clock": f"{offset:+d} ms", "clock_tone": _CLOCK_TONES[health.clock.value]}


def _books(accounts: list[AccountView], unit: Unit) -> dict[str, str]:
    if not accounts:
        return {"books": "no account yet", "books_tone": ""}
    moments = [account.books_agree_at for account in accounts if account.state == "ACTIVE"]
    compared = [moment for moment in moments if moment is not None]
    if not compared or len(compared) < len(moments):
        return {"books": "not yet compared", "books_tone": "wait"}
    oldest = min(compared)
    return {"books": clock_time(oldest), "books_tone": "wait" if unit.now - oldest > BOOKS_OLD_AFTER else "ok"}


def _kill(switches: list[KillSwitchView]) -> dict[str, str]:
    if not switches:
        return {"kill": "not engaged", "kill_tone": "ok"}
    everything = next((switch for switch in switches if switch.scope == "global"), None)
    shown = everything or switches[0]
    more = f" and {len(switches) - 1} more" if len(switches) > 1 and not everything else ""
    return {"kill": f"{shown.action.replace('_', ' ')} for {shown.covers}{more}", "kill_tone": "bad"}


def _said(text: str) -> str:
    return sentence(text) if text else ""
