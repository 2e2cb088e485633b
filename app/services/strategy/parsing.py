"""The sections of a strategy document from JSON: market, params, series, order, sizing, protect, limits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from app.services.strategy.candles import TIMEFRAMES
from app.services.strategy.function import Arg
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.problems import at, show
from app.services.strategy.reader import Reader, is_number
from app.services.strategy.rules import (
    COLUMNS,
    Distance,
    EquityPct,
    FixedQuote,
    Limits,
    Number,
    OrderStyle,
    Param,
    PctDistance,
    Protect,
    RDistance,
    RiskPct,
    Series,
    SeriesDistance,
    Sizing,
    TakeProfit,
)

MAX_SYMBOLS = 20
MAX_PARAMS = 12
MAX_SERIES = 24
MAX_QUOTE = "999999999.99999999"


def read_market(reader: Reader, value: object) -> tuple[tuple[str, ...], str] | None:
    """Symbols and base timeframe."""
    market = reader.fields(value, "market", "the market", ["symbols", "timeframe"])
    if market is None:
        return None
    symbols = reader.listing(market["symbols"], "market.symbols", "the list of symbols", 1, MAX_SYMBOLS)
    timeframe = reader.choice(market["timeframe"], "market.timeframe", TIMEFRAMES, "a timeframe")
    good: list[str] = []
    for place, symbol in enumerate(symbols or []):
        path = at("market.symbols", place)
        if not (isinstance(symbol, str) and 5 <= len(symbol) <= 20 and symbol.isascii() and symbol.isalnum()):
            reader.error(path, f"a symbol is 5 to 20 capital letters and digits like BTCUSDT, not {show(symbol)}")
        elif symbol != symbol.upper():
            reader.error(path, f"write the symbol in capitals: {symbol.upper()}")
        elif symbol in good:
            reader.error(path, f"{symbol} stands twice")
        else:
            good.append(symbol)
    return (tuple(good), timeframe) if good and timeframe and len(good) == len(symbols or []) else None


def _named_objects(reader: Reader, value: object, path: str, what: str, most: int) -> dict[str, Any]:
    """An object of named things; names that cannot be are dropped after noting them."""
    if not isinstance(value, dict):
        reader.error(path, f"{what} must be an object of name and definition, not {show(value)}")
        return {}
    if len(value) > most:
        reader.error(path, f"there may be at most {most} {what}, not {len(value)}")
        return {}
    return {name: item for name, item in value.items() if reader.name(name, at(path, name), "the name")}


def read_params(reader: Reader, value: object) -> dict[str, Param | None]:
    """Name → parameter; None for one that is named but wrong, so that its uses are not called unknown."""
    return {
        name: _param(reader, name, item, at("params", name))
        for name, item in _named_objects(reader, value, "params", "params", MAX_PARAMS).items()
    }


def _param(reader: Reader, name: str, value: object, path: str) -> Param | None:
    given = reader.fields(value, path, "a parameter", ["default", "min", "max", "step"], ["label"])
    if given is None:
        return None
    default, least, most, step = (reader.number(given[key], at(path, key)) for key in ("default", "min", "max", "step"))
    label = reader.text(given["label"], at(path, "label"), 0, 80) if "label" in given else name
    if default is None or least is None or most is None or step is None or label is None:
        return None
    if step <= 0:
        reader.error(at(path, "step"), "the step must be above 0")
    elif least > most:
        reader.error(at(path, "min"), f"min ({least}) is above max ({most})")
    elif not least <= default <= most:
        reader.error(at(path, "default"), f"{default} is not between min ({least}) and max ({most})")
    else:
        if (Decimal(str(default)) - Decimal(str(least))) % Decimal(str(step)) != 0:
            reader.warn(at(path, "default"), f"{default} is not min plus a number of steps, so a search never tries it")
        return Param(name, default, least, most, step, label)
    return None


class SeriesReader:
    """Reads the definitions of series against the parameters."""

    def __init__(self, reader: Reader, params: Mapping[str, Param | None], base_tf: str | None) -> None:
        self._reader = reader
        self._params = params
        self._base_tf = base_tf
        self.used_params: set[str] = set()

    def read(self, value: object) -> dict[str, Series | None]:
        """Name → series; None for one that is named but wrong."""
        found = _named_objects(self._reader, value, "series", "series", MAX_SERIES)
        for name in found:
            if name in COLUMNS:
                self._reader.error(at("series", name), f"{name!r} is a candle column; choose another name")
        return {name: self._one(name, item, at("series", name), found) for name, item in found.items()}

    def _one(self, name: str, value: object, path: str, known: Mapping[str, object]) -> Series | None:
        if not isinstance(value, dict) or "fn" not in value:
            self._reader.error(path, 'a series is an object like {"fn": "ema", "src": "close", "len": 12}')
            return None
        fn = self._reader.choice(value["fn"], at(path, "fn"), FUNCTIONS, "an indicator")
        if fn is None:
            return None
        function = FUNCTIONS[fn]
        takes = (["src"] if function.source else []) + list(function.args)
        before = len(self._reader.errors)
        if "src" in value and function.source is None:
            self._reader.error(at(path, "src"), f"{fn} is computed from whole candles, so it takes no src")
        needed = [key for key, arg in function.args.items() if arg.default is None and not arg.optional]
        without_src = {key: item for key, item in value.items() if key != "src" or function.source}
        optional = [key for key in takes if key not in needed]
        self._reader.fields(without_src, path, fn, ["fn", *needed], [*optional, "tf"])
        tf = self._base_tf
        if "tf" in value:
            tf = self._reader.choice(value["tf"], at(path, "tf"), TIMEFRAMES, "a timeframe")
        src = self._source(value["src"], at(path, "src"), known) if "src" in value else function.source
        args: dict[str, Number] = {}
        for key, arg in function.args.items():
            number = self._argument(value[key], at(path, key), arg, fn) if key in value else arg.default
            if number is not None:
                args[key] = number
        return Series(name, fn, src, args, tf) if tf and len(self._reader.errors) == before else None

    def _source(self, value: object, path: str, known: Mapping[str, object]) -> str | None:
        names = [*COLUMNS, *known]
        if isinstance(value, str) and value in names:
            return value
        hint = self._reader.hint(value, names)
        self._reader.error(path, f"no candle column or series is called {show(value)}{hint}")
        return None

    def _argument(self, value: object, path: str, arg: Arg, fn: str) -> Number | None:
        if is_number(value):
            return value if self._fits(value, path, arg, fn, show(value)) else None
        if not isinstance(value, str) or not value.startswith("$"):
            self._reader.error(path, f'this must be a number or a parameter like "$fast", not {show(value)}')
            return None
        name = value[1:]
        if name not in self._params:
            self._reader.error(path, f"no parameter is called {show(name)}{self._reader.hint(name, self._params)}")
            return None
        self.used_params.add(name)
        param = self._params[name]
        if param is None:
            return None
        ends = {"default": param.value, "min": param.least, "max": param.most}
        if arg.whole and not float(param.step).is_integer():
            message = f"{fn} takes whole numbers only, so the step must be whole, not {param.step}"
            self._reader.error(at(at("params", name), "step"), message)
        fits = [self._fits(number, path, arg, fn, f"{value} ({key} {number})") for key, number in ends.items()]
        return param.value if all(fits) else None

    def _fits(self, number: Number, path: str, arg: Arg, fn: str, shown: str) -> bool:
        fits = arg.least <= number <= arg.most and (float(number).is_integer() or not arg.whole)
        if not fits:
            kind = "a whole number" if arg.whole else "a number"
            self._reader.error(path, f"{fn} needs {kind} from {arg.least} to {arg.most} here, not {shown}")
        return fits


def read_order(reader: Reader, value: object) -> OrderStyle | None:
    """How entries are sent; a market order unless said otherwise."""
    given = reader.fields(value, "order", "the order", [], ["type", "limit_offset_pct", "expire_bars"])
    if given is None:
        return None
    kind: Literal["market", "limit"] = "market"
    if "type" in given:
        chosen = reader.choice(given["type"], "order.type", ["market", "limit"], "an order type")
        kind = "limit" if chosen == "limit" else "market"
    offset = reader.number(given.get("limit_offset_pct", 0), "order.limit_offset_pct")
    if offset is not None and not 0 <= offset <= 50:
        reader.error("order.limit_offset_pct", f"this must be from 0 to 50 per cent, not {offset}")
    expire = reader.whole(given["expire_bars"], "order.expire_bars", 1, 50) if "expire_bars" in given else None
    if kind == "market" and ("limit_offset_pct" in given or "expire_bars" in given):
        reader.warn("order", "a market order has no offset and does not expire; these are ignored")
    return OrderStyle(kind, Decimal(str(offset or 0)), expire)


def read_sizing(reader: Reader, value: object) -> Sizing | None:
    """How much an entry spends. Dispatches on `mode`."""
    if not isinstance(value, dict) or "mode" not in value:
        reader.error("sizing", 'sizing is an object like {"mode": "equity_pct", "pct": "10"}')
        return None
    mode = reader.choice(value["mode"], "sizing.mode", ["fixed_quote", "equity_pct", "risk_pct"], "a sizing mode")
    if mode is None:
        return None
    keys = {"fixed_quote": ["quote"], "equity_pct": ["pct"], "risk_pct": ["pct", "max_equity_pct"]}[mode]
    if reader.fields(value, "sizing", f"{mode!r} sizing", ["mode", *keys]) is None:
        return None
    most = MAX_QUOTE if mode == "fixed_quote" else "100"
    amounts = [amount for key in keys if (amount := reader.amount(value[key], at("sizing", key), most))]
    if len(amounts) != len(keys):
        return None
    if mode == "fixed_quote":
        return FixedQuote(amounts[0])
    return EquityPct(amounts[0]) if mode == "equity_pct" else RiskPct(amounts[0], amounts[1])


def _distance(reader: Reader, value: object, path: str, series: Mapping[str, object], most_pct: str) -> Distance | None:
    """A distance from the entry price. Dispatches on its key."""
    kinds = [key for key in ("pct", "series", "r") if isinstance(value, dict) and key in value]
    if not isinstance(value, dict) or len(kinds) != 1:
        reader.error(path, 'this is a distance: {"pct": "2"}, {"series": "atr", "mult": "2"} or {"r": "2"}')
        return None
    kind = kinds[0]
    keys = [kind, "mult"] if kind == "series" else [kind]
    if reader.fields(value, path, "the distance", keys) is None:
        return None
    if kind == "pct":
        pct = reader.amount(value["pct"], at(path, "pct"), most_pct)
        return None if pct is None else PctDistance(pct)
    if kind == "r":
        r = reader.amount(value["r"], at(path, "r"), "100")
        return None if r is None else RDistance(r)
    name, mult = value["series"], reader.amount(value["mult"], at(path, "mult"), "100")
    if not isinstance(name, str) or name not in series:
        hint = reader.hint(name, series)
        reader.error(at(path, "series"), f"no series is called {show(name)}{hint}")
        return None
    return None if mult is None else SeriesDistance(name, mult)


def read_protect(reader: Reader, value: object, series: Mapping[str, object]) -> Protect | None:
    """What ends a position besides the exit rule. A stop must be said, even if it is "none"."""
    before = len(reader.errors)
    optional = ["trail", "trail_after_r", "take_profit", "time_stop_bars"]
    given = reader.fields(value, "protect", "protect", ["stop"], optional)
    if given is None:
        return None
    stop: Distance | None = None
    if given["stop"] != "none":
        stop = _distance(reader, given["stop"], "protect.stop", series, "99")
    if isinstance(stop, RDistance):
        reader.error("protect.stop.r", "a stop cannot be in R, because R is the distance to the stop")
        return None
    trail = _distance(reader, given["trail"], "protect.trail", series, "99") if "trail" in given else None
    after = reader.amount(given["trail_after_r"], "protect.trail_after_r", "100") if "trail_after_r" in given else None
    targets = _targets(reader, given["take_profit"], series) if "take_profit" in given else ()
    time_stop = None
    if "time_stop_bars" in given:
        time_stop = reader.whole(given["time_stop_bars"], "protect.time_stop_bars", 1, 5000)
    protect = Protect(stop, targets, trail, after, time_stop)
    if given["stop"] == "none":
        _refuse_r_without_stop(reader, protect)
    if after is not None and "trail" not in given:
        reader.error("protect.trail_after_r", "this says when to trail, but there is no trail")
    return protect if len(reader.errors) == before else None


def _targets(reader: Reader, value: object, series: Mapping[str, object]) -> tuple[TakeProfit, ...]:
    path = "protect.take_profit"
    targets: list[TakeProfit] = []
    for place, item in enumerate(reader.listing(value, path, "the list of targets", 0, 4) or []):
        given = reader.fields(item, at(path, place), "a target", ["at", "close_pct"])
        if given is None:
            continue
        distance = _distance(reader, given["at"], at(at(path, place), "at"), series, "10000")
        share = reader.whole(given["close_pct"], at(at(path, place), "close_pct"), 1, 100)
        if distance is not None and share is not None:
            targets.append(TakeProfit(distance, share))
    total = sum(target.close_pct for target in targets)
    if total > 100:
        reader.error(path, f"the targets close {total} % together; they can close 100 % at most")
    return tuple(targets)


def _refuse_r_without_stop(reader: Reader, protect: Protect) -> None:
    uses = [(at("protect.take_profit", place), target.at) for place, target in enumerate(protect.take_profit)]
    uses.append(("protect.trail", protect.trail or PctDistance(Decimal(1))))
    for path, distance in uses:
        if isinstance(distance, RDistance):
            reader.error(path, "R is the distance to the stop, and there is no stop")
    if protect.trail_after_r is not None:
        reader.error("protect.trail_after_r", "R is the distance to the stop, and there is no stop")


def read_limits(reader: Reader, value: object) -> Limits | None:
    """Brakes on entries."""
    bounds = {"cooldown_bars": (0, 500), "max_entries_per_day": (1, 100), "max_open": (1, 20)}
    given = reader.fields(value, "limits", "limits", [], list(bounds))
    if given is None:
        return None
    read = {key: reader.whole(given[key], at("limits", key), *bounds[key]) for key in bounds if key in given}
    return Limits(read.get("cooldown_bars") or 0, read.get("max_entries_per_day"), read.get("max_open") or 1)

