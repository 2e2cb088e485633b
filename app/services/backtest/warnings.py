"""What makes a result worth less than it looks, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.services.backtest import kernel as k
from app.services.backtest.metrics import Metrics
from app.services.strategy import Strategy

#: Fewer closed trades say little about a rule.
FEW_TRADES = 30
#: One trade that makes this share of all profit makes the result.
ONE_TRADE_SHARE = 0.5
#: Fees above this share of the profit before fees eat the edge.
FEES_SHARE = 0.5
#: More ambiguous exits than this share, and the candles are too coarse for the stop.
AMBIGUOUS_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Warning_:  # noqa: N801 - the builtin is something else
    """One warning: a stable code for programs, a sentence for people."""

    code: str
    message: str


def warn(strategy: Strategy, metrics: Metrics, closed: k.Floats, told: k.Ints) -> tuple[Warning_, ...]:
    """All that apply. `closed`: rows of the closed trades."""
    found = [
        *_about_trades(metrics, told),
        *_about_profit(metrics, closed),
        *_about_exits(metrics),
        *_about_params(strategy),
    ]
    return tuple(found)


def _about_trades(metrics: Metrics, told: k.Ints) -> Iterator[Warning_]:
    trades, refused = metrics["trades"] or 0, metrics["refused_entries"] or 0
    if trades == 0 and not metrics["open_trades"]:
        happened = dict(zip(k.TOLD, told.tolist(), strict=True))
        why = "the entry rule was never true"
        if happened["refused_size"]:
            why = "every entry was too small for the balance or the lot"
        elif refused or metrics["unfilled_limits"]:
            why = "no entry was let through or filled"
        yield Warning_("no_trades", f"Nothing was traded: {why}.")
    elif trades < FEW_TRADES:
        yield Warning_("few_trades", f"Only {trades} closed trades: too few to tell skill from luck.")


def _about_profit(metrics: Metrics, closed: k.Floats) -> Iterator[Warning_]:
    names = {name: place for place, name in enumerate(k.TRADE_COLUMNS)}
    pnl = (closed[:, names["proceeds"]] - closed[:, names["cost"]]).tolist()
    total, fees = math.fsum(pnl), float(metrics["fees"] or 0)
    best = max(pnl, default=0.0)
    if len(pnl) > 1 and total > 0 and best > ONE_TRADE_SHARE * total:
        words = "without it the rest lost" if best >= total else "without it little is left"
        yield Warning_("one_trade", f"One trade made {100 * best / total:.0f} % of all profit; {words}.")
    before = total + math.fsum(closed[:, names["fees"]].tolist())
    if fees > 0 and before > 0 and fees > FEES_SHARE * before:
        share = f"{100 * fees / before:.0f} % of the profit before fees"
        yield Warning_("fees", f"Fees of {fees:,.2f} are {share}: the edge is mostly paid away.")


def _about_exits(metrics: Metrics) -> Iterator[Warning_]:
    ambiguous, trades = metrics["ambiguous_exits"] or 0, metrics["trades"] or 0
    if ambiguous and ambiguous > AMBIGUOUS_SHARE * trades:
        text = f"Ambiguous exits: {ambiguous} of {trades}. Their candle touched stop and target; the stop was counted."
        yield Warning_("ambiguous_exits", text + " Finer candles can settle them.")


def _about_params(strategy: Strategy) -> Iterator[Warning_]:
    for param in strategy.param_specs:
        if param.least < param.most and param.value in (param.least, param.most):
            which = "lowest" if param.value == param.least else "highest"
            text = f"The parameter {param.name} is at its {which} allowed value ({param.value}): better may lie beyond."
            yield Warning_("param_at_bound", text)
