"""The one pass over the candles: entries, stops, targets, trails, time stops, fees, equity.

`simulate` is one plain Python function over arrays, so that numba compiles it as it stands and it gives the same bits
without numba. It knows nothing of strategies: `inputs` turns a strategy and its evaluation into these arrays.

What happens in a candle, in this order (docs/backtest.md has the reasons):

1. at the open: a position whose stop is above the open is sold at the open; targets below the open fill; then what
   the close before decided is done: leave (time, rule) or enter;
2. inside: stop before target, on the candle of the entry too; a resting entry fills at its limit;
3. at the close: the trail moves up, equity is taken, and the next decision is made from this candle and earlier ones.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from app.services.compiled import compiled

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Truths: TypeAlias = npt.NDArray[np.int8]

#: Places in `numbers` (floats) and `counts` (whole numbers): what a run is set to.
(
    BALANCE, FEE_RATE, SLIPPAGE, SIZE_VALUE, SIZE_MOST, STOP_VALUE, TRAIL_VALUE, TRAIL_AFTER_R, LIMIT_OFFSET,
    PER_LOT, PER_TICK, PER_QUOTE, LEAST_QUANTITY, LEAST_NOTIONAL, NUMBERS,
) = range(15)  # fmt: skip
(
    TIMEFRAME_MS, FEE_IN_QUOTE, TOUCH_FILLS, OPEN_FILLS, SIZE_MODE, STOP_MODE, STOP_ROW, TRAIL_MODE, TRAIL_ROW,
    IS_LIMIT, EXPIRE_BARS, TIME_STOP_BARS, COOLDOWN_BARS, ENTRIES_A_DAY, COUNTS,
) = range(15)  # fmt: skip

#: How a distance is given.
NO_DISTANCE, BY_PCT, BY_SERIES, BY_R = range(4)
#: How an entry is sized.
FIXED_QUOTE, EQUITY_PCT, RISK_PCT = range(3)
#: Why something was bought or sold.
BUY_MARKET, BUY_LIMIT, STOP, TRAIL, TARGET, TIME, RULE = range(7)

#: Columns of the trades returned; the last row has exit_bar -1 when a position is still open.
TRADE_COLUMNS = (
    "decision_bar", "entry_bar", "exit_bar", "entry_price", "exit_price", "quantity", "cost", "proceeds", "fees",
    "reason", "stop", "lowest", "highest", "ambiguous", "resolved",
)  # fmt: skip
#: Columns of the fills returned, buys and sells in the order in which they happened.
FILL_COLUMNS = ("trade", "bar", "reason", "price", "quantity", "fee")
#: What is counted along the way.
TOLD = (
    "bars_held", "refused_cooldown", "refused_day", "refused_size", "refused_distance", "limits_expired",
    "limits_cancelled",
)  # fmt: skip

_DAY_MS = 86_400_000
_NEVER_MS = 2**62


@compiled
def simulate(
    time_ms: Ints,
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    entry: Truths,
    leave: Truths,
    distances: Floats,
    target_modes: Ints,
    target_rows: Ints,
    target_values: Floats,
    target_shares: Ints,
    detail_from: Ints,
    detail: Floats,
    numbers: Floats,
    counts: Ints,
) -> tuple[Floats, Floats, Floats, Ints]:
    """Trade every decision over the candles; returns equity at each close, trades, fills and what was counted.

    `entry` and `leave`: 1 where true at the close. `distances`: one row a series used as a distance. Targets: one place
    each, shares in per cent of the quantity bought. `detail`: finer candles as rows open, high, low; those of candle i
    are columns `detail_from[i]` to `detail_from[i + 1]` (`detail_from` is empty when there are none).
    Precondition: prices above 0. Pure.
    """
    size = len(close)
    fee_rate, slip = numbers[FEE_RATE], numbers[SLIPPAGE]
    stop_value, trail_value = numbers[STOP_VALUE], numbers[TRAIL_VALUE]
    per_lot, per_tick, per_quote = numbers[PER_LOT], numbers[PER_TICK], numbers[PER_QUOTE]
    timeframe_ms = counts[TIMEFRAME_MS]
    fee_in_quote = counts[FEE_IN_QUOTE] == 1
    touch_fills, open_fills, is_limit = counts[TOUCH_FILLS] == 1, counts[OPEN_FILLS] == 1, counts[IS_LIMIT] == 1
    stop_mode, stop_row, trail_mode, trail_row = (
        counts[STOP_MODE], counts[STOP_ROW], counts[TRAIL_MODE], counts[TRAIL_ROW],
    )  # fmt: skip
    least_quantity, least_notional = numbers[LEAST_QUANTITY], numbers[LEAST_NOTIONAL]
    targets = len(target_modes)
    is_partial = target_shares.sum() < 100  # whether the targets leave a part to the other exits
    near = 1e-9  # of a step: a multiple of the step that lost its last bit is still that multiple

    equity = np.empty(size, np.float64)
    most = 1  # trades there can be; memory that is not written to is not taken
    for i in range(size):
        most += entry[i] == 1
    trades = np.empty((most, 15), np.float64)
    fills = np.empty((most * (2 + targets), 6), np.float64)
    told = np.zeros(7, np.int64)
    prices = np.zeros(4, np.float64)  # of the targets of the open position
    waiting_for = np.zeros(4, np.bool_)  # targets not yet reached

    cash, base = numbers[BALANCE], 0.0
    closed, filled = 0, 0
    is_waiting = False  # an entry has been decided and not yet filled
    decided, spend, limit, expires_ms = 0, 0.0, 0.0, 0
    is_open = False
    entered, entry_price, bought, cost, proceeds, sold, gross, fees = 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    stop, first_stop, is_trailed, trail_by, trail_from = 0.0, 0.0, False, 0.0, 0.0
    lowest, highest, nearest, time_stop_ms = 0.0, 0.0, 0.0, 0
    is_leaving, is_ambiguous, is_resolved = False, False, False
    left_bar, day, entries_today = -1, -1, 0

    for i in range(size):
        if is_waiting or is_open:
            begin, top, bottom = open_[i], high[i], low[i]
            reached = top  # the highest price certainly seen after the entry
            if is_waiting:
                price = 0.0
                if is_limit:
                    if time_ms[i] >= expires_ms:
                        is_waiting = False
                        told[5] += 1
                    elif begin <= limit and (open_fills or i == decided + 1):
                        price = begin  # the order meets a market that is below its limit already
                    elif bottom < limit or (touch_fills and bottom == limit):
                        price = limit
                        if begin > limit:
                            begin, reached = limit, max(limit, close[i])
                else:
                    price = begin * (1.0 + slip)
                    if per_tick > 0.0:
                        price = np.ceil(price * per_tick - near) / per_tick
                if price > 0.0:
                    is_waiting = False
                    quantity = spend / (limit if is_limit else price)
                    if per_lot > 0.0:
                        quantity = np.floor(quantity * per_lot + near) / per_lot
                    amount = quantity * price if is_limit or per_lot > 0.0 else spend
                    fee = amount * fee_rate
                    too_small = quantity < least_quantity or amount < least_notional
                    if quantity <= 0.0 or too_small:
                        told[3] += 1
                    else:
                        is_open = True
                        if fee_in_quote:
                            if amount + fee > cash:
                                fee = cash - amount  # all of it was meant; only the last bit differs
                            bought, cost = quantity, amount + fee
                        else:
                            bought, cost = quantity * (1.0 - fee_rate), amount
                        cash -= cost
                        base += bought
                        entered, entry_price, fees = i, price, fee
                        proceeds, sold, gross = 0.0, 0.0, 0.0
                        is_leaving, is_ambiguous, is_resolved, is_trailed = False, False, False, False
                        lowest, highest = price, price
                        stop = 0.0
                        if stop_mode == BY_PCT:
                            stop = price * (1.0 - stop_value)
                        elif stop_mode == BY_SERIES:
                            stop = price - distances[stop_row, decided] * stop_value
                        if per_tick > 0.0 and stop > 0.0:
                            stop = np.floor(stop * per_tick + near) / per_tick
                        first_stop = stop
                        trail_by = 0.0
                        if trail_mode == BY_PCT:
                            trail_by = price * trail_value
                        elif trail_mode == BY_SERIES:
                            trail_by = distances[trail_row, decided] * trail_value
                        elif trail_mode == BY_R:
                            trail_by = (price - stop) * trail_value
                        trail_from = price + (price - stop) * numbers[TRAIL_AFTER_R]
                        for k in range(targets):
                            if target_modes[k] == BY_PCT:
                                prices[k] = price * (1.0 + target_values[k])
                            elif target_modes[k] == BY_SERIES:
                                prices[k] = price + distances[target_rows[k], decided] * target_values[k]
                            else:
                                prices[k] = price + (price - stop) * target_values[k]
                            if per_tick > 0.0:
                                prices[k] = np.ceil(prices[k] * per_tick - near) / per_tick
                            waiting_for[k] = True
                            nearest = min(nearest, prices[k]) if k > 0 else prices[k]
                        time_stop_ms = 0
                        if counts[TIME_STOP_BARS] > 0:
                            time_stop_ms = time_ms[decided] + timeframe_ms * (1 + counts[TIME_STOP_BARS])
                        if counts[ENTRIES_A_DAY] > 0:
                            decided_day = (time_ms[decided] + timeframe_ms) // _DAY_MS
                            entries_today = entries_today + 1 if decided_day == day else 1
                            day = decided_day
                        fills[filled, 0], fills[filled, 1] = closed, i
                        fills[filled, 2] = BUY_LIMIT if is_limit else BUY_MARKET
                        fills[filled, 3], fills[filled, 4], fills[filled, 5] = price, quantity, fee
                        filled += 1

            if is_open:
                is_due = is_leaving or (time_stop_ms > 0 and time_ms[i] >= time_stop_ms)
                step, last, first = 0, 0, 0  # finer candles first, if any; the last step is the candle itself
                whole_begin, whole_reached, whole_bottom = begin, reached, bottom
                if targets > 0 and not is_due and begin > stop and bottom <= stop:
                    touched = False
                    for k in range(targets):
                        if waiting_for[k] and (reached > prices[k] or (touch_fills and reached == prices[k])):
                            touched = True
                    if touched:
                        has_detail = len(detail_from) > 0 and detail_from[i + 1] > detail_from[i]
                        if has_detail and begin == open_[i]:
                            first, last = detail_from[i], detail_from[i + 1] - detail_from[i]
                            is_resolved = True
                        else:
                            is_ambiguous = True
                can_happen = is_due or bottom <= stop or (targets > 0 and reached >= nearest)
                while is_open and can_happen and step <= last:
                    begin, reached, bottom = whole_begin, whole_reached, whole_bottom
                    if step < last:
                        place = first + step
                        begin, reached, bottom = detail[0, place], detail[1, place], detail[2, place]
                        if stop > 0.0 and bottom <= stop and begin > stop:
                            for k in range(targets):
                                if waiting_for[k] and (reached > prices[k] or (touch_fills and reached == prices[k])):
                                    is_ambiguous = True
                    step += 1
                    while is_open:
                        # What happens next in this stretch, worst first.
                        reason, price, quantity = 0, 0.0, base
                        if stop > 0.0 and begin <= stop:
                            reason, price = TRAIL if is_trailed else STOP, begin * (1.0 - slip)
                        elif stop > 0.0 and bottom <= stop and not is_due:
                            reason, price = TRAIL if is_trailed else STOP, stop * (1.0 - slip)
                        else:
                            seen = begin if is_due else reached
                            while reason == 0:
                                k = -1  # the lowest target that is reached and still waits
                                others = 0
                                for j in range(targets):
                                    if not waiting_for[j]:
                                        continue
                                    others += 1
                                    is_reached = seen > prices[j] or (touch_fills and seen == prices[j])
                                    if is_reached and (k < 0 or prices[j] < prices[k]):
                                        k = j
                                if k < 0:
                                    break
                                waiting_for[k] = False
                                part = min(bought * (target_shares[k] / 100.0), base)
                                if per_lot > 0.0:
                                    part = np.floor(part * per_lot + near) / per_lot
                                price = begin if open_fills and begin > prices[k] else prices[k]
                                too_small = part <= 0.0 or part < least_quantity or part * price < least_notional
                                if too_small and (others > 1 or is_partial):
                                    continue  # no order of its own: it stays with the rest
                                rest = base - part
                                if others == 1 and (
                                    not is_partial or rest < least_quantity or rest * stop < least_notional
                                ):
                                    part = base  # the last target takes what nothing else could sell
                                reason, quantity = TARGET, part
                            if reason == 0 and is_due:
                                reason, price = RULE if is_leaving else TIME, begin * (1.0 - slip)
                                if time_stop_ms > 0 and time_ms[i] >= time_stop_ms:
                                    reason = TIME
                        if reason == 0:
                            break
                        if per_tick > 0.0 and reason != TARGET:
                            price = np.floor(price * per_tick + near) / per_tick
                        sells_all = quantity == base
                        if per_lot > 0.0:
                            quantity = np.floor(quantity * per_lot + near) / per_lot
                        amount = quantity * price
                        fee = amount * fee_rate
                        cash += amount - fee
                        is_last = sells_all or reason != TARGET
                        base = base - quantity if base > quantity else 0.0
                        proceeds += amount - fee
                        gross += amount
                        sold += quantity
                        fees += fee
                        lowest, highest = min(lowest, price), max(highest, price)
                        fills[filled, 0], fills[filled, 1], fills[filled, 2] = closed, i, reason
                        fills[filled, 3], fills[filled, 4], fills[filled, 5] = price, quantity, fee
                        filled += 1
                        if is_last:
                            is_open = False
                            left_bar = i
                            trades[closed, 0], trades[closed, 1], trades[closed, 2] = decided, entered, i
                            trades[closed, 3] = entry_price
                            trades[closed, 4] = gross / sold if sold > 0.0 else price
                            trades[closed, 5], trades[closed, 6] = bought, cost
                            trades[closed, 7], trades[closed, 8] = proceeds, fees
                            trades[closed, 9], trades[closed, 10] = reason, first_stop
                            trades[closed, 11], trades[closed, 12] = min(lowest, begin), max(highest, begin)
                            trades[closed, 13], trades[closed, 14] = is_ambiguous, is_resolved
                            closed += 1

                if is_open:
                    told[0] += 1
                    if bottom < lowest:
                        lowest = bottom
                    # A limit's own candle is trailed on by its close alone, as a live run does.
                    peak = max(entry_price, close[i]) if is_limit and entered == i else reached
                    if peak > highest:
                        highest = peak
                    if trail_by > 0.0 and highest >= trail_from and highest - trail_by > stop:
                        stop = highest - trail_by
                        if per_tick > 0.0:
                            stop = np.floor(stop * per_tick + near) / per_tick
                        is_trailed = stop > first_stop
                    is_leaving = leave[i] == 1

        worth = cash + base * close[i]
        equity[i] = worth
        if is_open:
            continue
        if is_waiting:
            if leave[i] == 1:
                is_waiting = False
                told[6] += 1
                continue
            if time_ms[i] + timeframe_ms < expires_ms:
                continue
            is_waiting = False
            told[5] += 1
        if entry[i] != 1 or i + 1 == size:
            continue
        cooldown, limit_a_day = counts[COOLDOWN_BARS], counts[ENTRIES_A_DAY]
        if cooldown > 0 and left_bar >= 0 and (time_ms[i] - time_ms[left_bar]) // timeframe_ms < cooldown:
            told[1] += 1
            continue
        is_full = limit_a_day > 0 and entries_today >= limit_a_day
        if is_full and (time_ms[i] + timeframe_ms) // _DAY_MS == day:
            told[2] += 1
            continue
        is_known = True  # every distance has a value above zero; a missing one is NaN
        for k in range(len(distances)):
            is_known = is_known and distances[k, i] > 0.0
        if not is_known:
            told[4] += 1
            continue
        price = close[i]
        if is_limit:
            price = price * (1.0 - numbers[LIMIT_OFFSET])
            if per_tick > 0.0:
                price = np.floor(price * per_tick + near) / per_tick
        spend = numbers[SIZE_VALUE]
        if counts[SIZE_MODE] == EQUITY_PCT:
            spend = worth * spend / 100.0
        elif counts[SIZE_MODE] == RISK_PCT:
            away = price * stop_value if stop_mode == BY_PCT else distances[stop_row, i] * stop_value
            if away >= price:
                told[3] += 1
                continue
            spend = min(worth * spend / 100.0 * price / away, worth * numbers[SIZE_MOST] / 100.0)
        spend = min(spend, cash / (1.0 + fee_rate) if fee_in_quote else cash)
        if per_quote > 0.0:
            spend = np.floor(spend * per_quote + near) / per_quote
        if spend <= 0.0 or price <= 0.0:
            told[3] += 1
            continue
        is_waiting, decided, limit = True, i, price
        expires_ms = _NEVER_MS
        if counts[EXPIRE_BARS] > 0:
            expires_ms = time_ms[i] + timeframe_ms * (1 + counts[EXPIRE_BARS])

    if is_open:
        trades[closed, 0], trades[closed, 1], trades[closed, 2] = decided, entered, -1
        trades[closed, 3] = entry_price
        trades[closed, 4] = gross / sold if sold > 0.0 else 0.0
        trades[closed, 5], trades[closed, 6] = bought, cost
        trades[closed, 7], trades[closed, 8] = proceeds, fees
        trades[closed, 9], trades[closed, 10] = -1, first_stop
        trades[closed, 11], trades[closed, 12] = lowest, highest
        trades[closed, 13], trades[closed, 14] = is_ambiguous, is_resolved
        closed += 1
    return equity, trades[:closed], fills[:filled], told
