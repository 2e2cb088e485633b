"""The sentence for each event of an order's timeline."""

from __future__ import annotations

from typing import Any

_SOURCES = {
    "user": "by you",
    "strategy": "by the strategy",
    "plan": "by the position's protection",
    "executor": "from the exchange's answer",
    "exchange": "from the exchange's stream",
    "reconciler": "by reconciliation",
    "operator": "by an operator",
}


def event_words(kind: str, source: str, from_status: str | None, to_status: str, payload: dict[str, Any]) -> str:
    """What happened, in one sentence for the person who owns the order. Pure; unknown kinds are named as they are."""
    who = _SOURCES.get(source, f"by {source}")
    match kind:
        case "created":
            return f"Created {who}; nothing sent yet"
        case "attempt_sent":
            return "Sent to the exchange, once"
        case "acknowledged":
            return f"Confirmed as exchange order {payload.get('exchange_order_id')}, learned {who}"
        case "rejected":
            refuser = "Refused before sending" if from_status == "NEW" else "Refused by the exchange"
            return f"{refuser}: {_reason(payload)}"
        case "outcome_unknown":
            return f"No usable answer ({payload.get('reason', '')}); asking the exchange, never sending again"
        case "fill_applied" | "late_fill":
            late = " after the order had ended" if kind == "late_fill" else ""
            fee = f"fee {payload.get('commission')} {payload.get('commission_asset')}"
            trade = f"trade {payload.get('trade_id')}"
            return f"Filled {payload.get('quantity')} at {payload.get('price')}{late}, {fee}, {trade}, learned {who}"
        case "cancel_requested":
            why = f" ({payload['reason']})" if payload.get("reason") else ""
            return f"Cancel decided {who}{why}"
        case "cancel_refused":
            return f"The exchange refused the cancel: {_reason(payload)}; the order lives on"
        case "canceled":
            return "Cancelled before anything was sent" if from_status == "NEW" else f"Cancelled, learned {who}"
        case "expired":
            return f"Expired: {_reason(payload) or payload.get('status', '')}"
        case "resurrected":
            return f"Surfaced after it had been given up as never arrived, found {who}"
        case "reconciled":
            return f"{to_status.replace('_', ' ').capitalize()}, established {who}"
        case "note":
            return str(payload.get("words", ""))
    return f"{kind.replace('_', ' ').capitalize()} {who}"


def _reason(payload: dict[str, Any]) -> str:
    reason = str(payload.get("reason") or "")
    code = str(payload.get("code") or "")
    return f"{reason} ({code})" if reason and code else reason or code
