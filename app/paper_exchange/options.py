"""The options of the command: what can be said when a paper exchange is started."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.domain.errors import InvalidInput
from app.domain.intrabar import Preset
from app.domain.money import parse_amount
from app.paper_exchange.mirror import BINANCE, Upstream
from app.paper_exchange.settings import DEFAULT_HISTORY_DAYS, DEFAULT_PORT, DEFAULT_SYMBOLS, NO_LIMITS, PaperSettings

SOURCES = ("synthetic", "mirror", "replay")
TOKEN_VARIABLE = "PAPER_CONTROL_TOKEN"  # noqa: S105 - the name of a variable


def _amount(text: str) -> Decimal:
    try:
        return parse_amount(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _rate(text: str) -> Decimal:
    rate = _amount(text)
    if rate >= 1:
        raise argparse.ArgumentTypeError("a fee is a share of the trade, like 0.001")
    return rate


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError("days of history: a whole number from 1 to 3650")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(parse_amount(text, positive=True))
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _parser(prog: str, given: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="A Binance Spot server on this machine, for practice and tests.",
    )
    parser.add_argument(
        "--data", type=Path, required="data" not in given, metavar="FILE", help="where the exchange keeps its books"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"0 lets the system choose ({DEFAULT_PORT})")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the port here once it is listened on")
    parser.add_argument(
        "--control-token-file", type=Path, metavar="FILE", help=f"or {TOKEN_VARIABLE} in the environment"
    )
    parser.add_argument("--symbols", default=",".join(DEFAULT_SYMBOLS), help="synthetic markets of the first start")
    parser.add_argument(
        "--history-days", type=_days, default=DEFAULT_HISTORY_DAYS, help="of synthetic markets before they start"
    )
    parser.add_argument("--source", choices=SOURCES, default=SOURCES[0], help="of the markets of the first start")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="candles (CSV, also .gz or .zip) to replay")
    parser.add_argument("--upstream", default=BINANCE.rest, metavar="URL", help="REST address that mirrors follow")
    parser.add_argument("--upstream-stream", default=BINANCE.stream, metavar="URL", help="and its stream address")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic markets made at the first start")
    parser.add_argument("--preset", type=Preset, choices=list(Preset), default=Preset.REALISTIC, metavar="NAME",
                        help="optimistic, realistic or harsh")  # fmt: skip
    parser.add_argument("--half-spread-bps", type=_amount, help="instead of the preset's own, in 1/10,000 of the price")
    parser.add_argument("--maker-fee", type=_rate, default=Decimal("0.001"))
    parser.add_argument("--taker-fee", type=_rate, default=Decimal("0.001"))
    parser.add_argument("--weight-limit", type=int, default=6000, help="request weight a minute; 0: none")
    parser.add_argument("--order-limit", type=int, default=50, help="unfilled orders in ten seconds; 0: none")
    parser.add_argument("--limits", choices=("on", "off"), default="on", help="off: no rate limits of any kind")
    parser.add_argument("--first-ban", type=_seconds, default=120.0, help="seconds; each further one is twice as long")
    parser.add_argument("--connection-life", type=_seconds, default=86_400.0, help="seconds, of a WebSocket")
    parser.add_argument("--faults", action="store_true", help="let faults be asked for at /paper/faults")
    parser.set_defaults(**given)
    return parser


def read_options(arguments: Sequence[str] | None, prog: str, **given: Any) -> PaperSettings:
    """Settings from a command line (None: the process's own). `given` are other defaults, by the options' names.

    What makes no sense ends the process with status 2 and a sentence, as `--help` ends it with 0.
    """
    parser = _parser(prog, given)
    options = parser.parse_args(arguments)
    if (options.source == "replay") != (options.replay is not None):
        parser.error("--source replay and --replay FILE go together")
    settings = PaperSettings(
        source=options.source,
        replay_file=options.replay,
        upstream=Upstream(options.upstream.rstrip("/"), options.upstream_stream.rstrip("/")),
        data_file=options.data,
        host=options.host,
        port=options.port,
        control_token=os.environ.get(TOKEN_VARIABLE) or None,
        control_token_file=options.control_token_file,
        symbols=tuple(s for s in options.symbols.split(",") if s),
        history_days=options.history_days,
        seed=options.seed,
        preset=options.preset,
        half_spread_bps=options.half_spread_bps,
        maker_fee=options.maker_fee,
        taker_fee=options.taker_fee,
        weight_limit_per_minute=options.weight_limit,
        order_limit_per_10_s=options.order_limit,
        first_ban_s=options.first_ban,
        connection_life_s=options.connection_life,
        port_file=options.port_file,
        faults=options.faults,
    )
    return replace(settings, **NO_LIMITS) if options.limits == "off" else settings
