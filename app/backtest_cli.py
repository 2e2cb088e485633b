"""`plumbline backtest …`: a strategy file over a candle file, without server or database."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.domain.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.services.backtest import Result, Settings
    from app.services.market.candle_files import ParsedCandles
    from app.services.strategy import Strategy

backtest = typer.Typer(help="Run a strategy over candles; the same again gives the same.", no_args_is_help=True)

_SHOWN = (
    "final_equity", "return_pct", "cagr_pct", "buy_hold_pct", "max_drawdown_pct", "max_drawdown_days", "sharpe",
    "sortino", "calmar", "volatility_pct", "exposure_pct", "trades", "open_trades", "win_rate_pct", "profit_factor",
    "expectancy_pct", "best_trade_pct", "worst_trade_pct", "avg_bars", "fees",
)  # fmt: skip

#: Smaller files are read before numba is loaded.
_LARGE_BYTES = 500_000


@backtest.command("run")
def run_backtest(
    strategy: Annotated[Path, typer.Option(help="The strategy, a JSON file.", show_default=False)],
    candles: Annotated[Path, typer.Option(help="A CSV of klines, plain, .gz or .zip.", show_default=False)],
    symbol: Annotated[str, typer.Option(help="The symbol, for example BTCUSDT.", show_default=False)],
    timeframe: Annotated[str, typer.Option(help="Of the candles: 1s, 1m, 5m, 1h …", show_default=False)],
    balance: Annotated[str, typer.Option(help="Starting balance in quote.")] = "10000",
    fee_pct: Annotated[str, typer.Option(help="Fee in per cent of each side.")] = "0.1",
    fee_in: Annotated[
        str, typer.Option(help="received: as Binance takes it, a buy's fee in base; quote: both sides in quote.")
    ] = "received",
    preset: Annotated[str, typer.Option(help="optimistic, realistic or harsh: spread and touch fills.")] = "optimistic",
    slippage_bps: Annotated[str, typer.Option(help="Slippage of market orders and stops in bps.")] = "",
    param: Annotated[list[str] | None, typer.Option(help="A parameter's value, like fast=10; may stand often.")] = None,
    lot: Annotated[str, typer.Option(help="Round quantities down to this step (0: not at all).")] = "0",
    tick: Annotated[str, typer.Option(help="Round prices to this step (0: not at all).")] = "0",
    min_notional: Annotated[str, typer.Option(help="Least value of an order in quote.")] = "0",
    detail: Annotated[
        Path | None, typer.Option(help="Finer candles that tell whether stop or target came first.")
    ] = None,
    detail_timeframe: Annotated[str, typer.Option(help="Timeframe of the finer candles.")] = "1m",
    start: Annotated[str, typer.Option(help="First UTC day to trade, like 2024-01-01; before, candles warm up.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    trades: Annotated[bool, typer.Option("--trades", help="List every trade as well.")] = False,
) -> None:
    """Backtest a strategy file over a candle file. The same arguments print the same numbers on every machine."""
    from app.services.backtest import run

    settings = _settings(balance, fee_pct, fee_in, preset, slippage_bps, (lot, tick, min_notional), start)
    rules = _strategy(strategy, param or [])
    parsed = _candles(candles, symbol, timeframe, "candles")
    finer = _candles(detail, symbol, detail_timeframe, "detail").candles if detail else None
    result = run(rules, parsed.candles, settings, symbol=parsed.symbol, venue="file", detail=finer)
    text = _as_json(result, parsed, trades) if as_json else _as_text(result, parsed, trades)
    sys.stdout.write(text + "\n")


def _settings(
    balance: str, fee_pct: str, fee_in: str, preset: str, slippage_bps: str, steps: tuple[str, str, str], start: str
) -> Settings:
    from app.domain.intrabar import Preset
    from app.domain.money import parse_amount
    from app.services.backtest import Rounding, Settings

    def amount(text: str, option: str) -> Decimal:
        return parse_amount(text, field=f"--{option}")

    names = [one.value for one in Preset]
    if preset not in names:
        raise InvalidInput(f"--preset must be {', '.join(names[:-1])} or {names[-1]}, not {preset!r}", field="preset")
    lot, tick, least = (amount(text, name) for text, name in zip(steps, ("lot", "tick", "min-notional"), strict=True))
    return Settings(
        balance=amount(balance, "balance"),
        fee_pct=amount(fee_pct, "fee-pct"),
        fee_in=fee_in,
        preset=Preset(preset),
        slippage_bps=amount(slippage_bps, "slippage-bps") if slippage_bps else None,
        rounding=Rounding(lot=lot, tick=tick, min_notional=least),
        start_ms=_day(start) if start else None,
    )


def _day(text: str) -> int:
    from datetime import UTC, datetime

    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        raise InvalidInput(f"--start must be a day like 2024-01-01, not {text[:40]!r}", field="start") from None


def _strategy(path: Path, overrides: Iterable[str]) -> Strategy:
    from app.services.strategy import parse_text, with_params

    try:
        validation = parse_text(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field="strategy") from None
    values = dict(_override(text) for text in overrides)
    if validation.strategy is not None and values:
        changed = with_params(validation.strategy.document, values)
        validation = parse_text(json.dumps(changed))
    if validation.strategy is None:
        first, *rest = validation.errors
        where = f"{first.path}: " if first.path else ""
        more = f" (and {len(rest)} more)" if rest else ""
        raise InvalidInput(f"{path.name} is not a valid strategy: {where}{first.message}{more}.", field="strategy")
    return validation.strategy


def _override(text: str) -> tuple[str, int | float]:
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        equals = ""
    if not equals or number != number or abs(number) > 10**15:
        raise InvalidInput(f"--param is like fast=10, not {text[:40]!r}", field="param")
    return name.strip(), int(number) if number.is_integer() else number


def _candles(path: Path, symbol: str, timeframe: str, option: str) -> ParsedCandles:
    from app.services.market.candle_files import parse_candles

    try:
        is_large = path.stat().st_size > _LARGE_BYTES
        with path.open("rb") as stream:
            return parse_candles(stream, filename=path.name, symbol=symbol, timeframe=timeframe, compiled=is_large)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field=option) from None


def report(result: Result, *, with_trades: bool = False) -> dict[str, Any]:
    """A result as plain JSON: what was run, every metric, warnings and hashes; trades where asked for."""
    from dataclasses import asdict

    found: dict[str, Any] = {
        "inputs": result.frozen(),
        "metrics": result.metrics,
        "trades_count": result.trades_count,
        "final_equity": result.final_equity,
        "candle_data_version": result.candle_data_version,
        "result_hash": result.result_hash,
        "warnings": [asdict(warning) for warning in result.warnings],
    }
    if with_trades:
        found["trades"] = [asdict(trade) for trade in result.trades]
    return found


def _as_json(result: Result, parsed: ParsedCandles, with_trades: bool) -> str:
    gaps = {"gaps": len(parsed.gaps), "missing_candles": sum(gap.missing for gap in parsed.gaps)}
    return json.dumps({**report(result, with_trades=with_trades), **gaps}, indent=2, allow_nan=False)


def _as_text(result: Result, parsed: ParsedCandles, with_trades: bool) -> str:
    from app.domain.clock import to_datetime
    from app.services.backtest import DEFINITIONS

    metrics, settings, candles = result.metrics, result.settings, result.candles
    first, last = (to_datetime(int(ms)) for ms in (candles.open_time_ms[0], candles.close_time_ms[-1]))
    lines = [
        result.strategy.name,
        f"{result.symbol} {candles.timeframe}, {len(candles):,} candles, {first:%Y-%m-%d %H:%M} to "
        f"{last:%Y-%m-%d %H:%M} UTC",
        *parsed.warnings,
        f"Fee {settings.fee_pct} % of each side, in {_fee_words(settings)}; {settings.preset.value}, "
        f"slippage {settings.slippage} bps",
        "",
    ]
    for name in _SHOWN:
        label, unit, _text = DEFINITIONS[name]
        lines.append(_line(label, _number(metrics[name]), unit))
    ambiguous, resolved = metrics["ambiguous_exits"], metrics["resolved_exits"]
    lines.append(_line("Ambiguous exits", f"{ambiguous} of {metrics['trades']}"))
    if resolved:
        lines.append(_line("settled by detail", str(resolved)))
    lines += ["", *(f"! {warning.message}" for warning in result.warnings)]
    if with_trades:
        lines += ["", *(_trade_lines(result))]
    lines += ["", f"candle data  {result.candle_data_version}", f"result       {result.result_hash}"]
    return "\n".join(lines)


def _line(label: str, value: str, unit: str = "") -> str:
    return f"  {label:<22} {value:>14} {unit}".rstrip()


def _fee_words(settings: Settings) -> str:
    return "quote" if settings.fee_in == "quote" else "what is received"


def _number(value: float | int | None) -> str:
    if value is None:
        return "not defined"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _trade_lines(result: Result) -> Iterable[str]:
    from app.domain.clock import to_datetime

    yield f"  {'entered (UTC)':<17} {'at':>12} {'left':<17} {'at':>12} {'profit':>12} {'%':>8} why"
    for trade in result.trades:
        left = "" if trade.exit_ms is None else f"{to_datetime(trade.exit_ms):%Y-%m-%d %H:%M}"
        at = "" if trade.exit_price is None else f"{trade.exit_price:.8g}"
        yield (
            f"  {to_datetime(trade.entry_ms):%Y-%m-%d %H:%M}  {trade.entry_price:>12.8g} {left:<17} {at:>12} "
            f"{trade.pnl:>12,.2f} {trade.pnl_pct:>8.2f} {trade.reason}{' (ambiguous)' if trade.ambiguous else ''}"
        )
