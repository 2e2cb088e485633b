"""Why, or why not: a decision's trace as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.services.strategy.runs import DecisionView
from app.state import words
from app.state.rows import Row

_ACTIONS = {"none": "Waited", "enter": "Entered", "exit": "Left", "refused": "Refused"}
_TONES = {"enter": "ok", "exit": "info", "refused": "bad"}
_TRUTHS = {"true": ("True", "ok"), "false": ("False", ""), "unknown": ("Unknown", "wait")}


def decision_row(decision: DecisionView) -> Row:
    """A decision in the list."""
    return {
        "key": str(decision.open_time_ms),
        "time": words.clock_time(words.at_ms(decision.open_time_ms)),
        "close": decision.close,
        "action": _ACTIONS.get(decision.action, decision.action),
        "tone": _TONES.get(decision.action, ""),
        "reason": words.sentence(words.short_numbers(decision.reason)) if decision.reason else "",
        "order": str(decision.order_id or ""),
        "order_href": f"/orders/{decision.order_id}" if decision.order_id else "",
    }


def trace_rows(decision: DecisionView) -> list[Row]:
    """Each condition with its truth and the values it looked at, parts indented under their group."""
    trace = decision.trace
    rows = [_line("Entry rule", "", "", 0, heading=True), *_conditions(trace.get("entry"), 1)]
    if trace.get("exit"):
        rows += [_line("Exit rule", "", "", 0, heading=True), *_conditions(trace["exit"], 1)]
    stop = trace.get("stop")
    if stop:
        told = stop.get("problem") or f"at this close: {_value(stop.get('at_close'))}"
        rows.append(_line(f"Stop {stop.get('text', '')}", "", str(told), 0, heading=True))
    return rows


def _conditions(node: Any, depth: int) -> Iterator[Row]:
    if not isinstance(node, dict):
        return
    parts = node.get("parts") or []
    if len(parts) == 1 and node.get("kind") in ("all", "any"):
        yield from _conditions(parts[0], depth)
        return
    values = ", ".join(f"{one['text']} = {_operand(one)}" for one in node.get("operands", []))
    yield _line(str(node.get("text", "")), str(node.get("truth", "")), values, depth)
    for part in parts:
        yield from _conditions(part, depth + 1)


def _operand(operand: dict[str, Any]) -> str:
    before = [_value(value) for value in operand.get("before") or []]
    return f"{_value(operand.get('value'))}{f' (before: {before[0]})' if before else ''}"


def _line(text: str, truth: str, values: str, depth: int, *, heading: bool = False) -> Row:
    word, tone = _TRUTHS.get(truth, ("", ""))
    return {
        "text": text,
        "truth": word,
        "tone": tone,
        "values": values,
        "indent": f"{depth * 12}px",
        "class": "strong" if heading else "",
    }


def _value(value: Any) -> str:
    if value is None:
        return "not known yet"
    number = float(value)
    return f"{number:,.2f}" if abs(number) >= 1000 else f"{number:,.6g}"
