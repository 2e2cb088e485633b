"""Balances and positions as projections of fills and adjustments, kept in the transaction that stores the fill.

A position is folded in exchange order (time, trade id). A fill that is the newest is applied to what stands there;
a late one folds all fills of its position again, so a rebuild from nothing gives the very same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import to_datetime, to_ms
from app.domain.errors import InvariantViolated, require
from app.domain.money import ZERO, plain
from app.domain.orders import Fill, Order, Side
from app.domain.positions import Position, SidedFill, Taken, apply_fill, balance_changes, fold
from app.models.execution import Account, FillRow, SymbolRow
from app.models.portfolio import AdjustmentKind, Balance, BalanceAdjustment, PositionAdjustment, PositionRow

#: The place in exchange order of a position without fills.
_BEFORE_ALL = (-1, -1)


@dataclass(frozen=True, slots=True)
class _Key:
    """Which position: `run_id` 0 means a person's own orders."""

    account_id: int
    run_id: int
    symbol: str

    def matches(self) -> tuple[Any, ...]:
        """The row of `portfolio.positions`."""
        return (
            col(PositionRow.account_id) == self.account_id,
            col(PositionRow.run_id) == self.run_id,
            col(PositionRow.symbol) == self.symbol,
        )


async def book_fill(
    session: AsyncSession,
    *,
    order: Order,
    fill: Fill,
    base_asset: str,
    quote_asset: str,
    commission_price: Decimal | None,
) -> None:
    """Bring balances and the position of the order's run up to a fill whose row is already in `execution.fills`.

    Call it once a fill, in the transaction that inserts the row. `commission_price` must be what the row holds.
    """
    for asset, change in sorted(balance_changes(order.side, fill, base_asset, quote_asset).items()):
        await _change_balance(session, order.account_id, asset, change)
    key = _Key(order.account_id, order.run_id or 0, order.symbol)
    before, last = await _locked_position(session, key, base_asset, quote_asset)
    this = SidedFill(order.side, fill, commission_price)
    if this.place > last:
        position = apply_fill(
            before,
            side=order.side,
            fill=fill,
            base_asset=base_asset,
            quote_asset=quote_asset,
            commission_price=commission_price,
        )
        last = this.place
    else:
        fills = await _fills(session, key)
        require(this.place in {item.place for item in fills}, "the fill's row must be stored first")
        position = fold(fills, base_asset=base_asset, quote_asset=quote_asset)
    await _store_position(session, key, position, last)
    user_id = await _user_of(session, order.account_id)
    await tell_browsers(session, "position", order.symbol, user_id=user_id)


async def book_adjustment(
    session: AsyncSession,
    *,
    account_id: int,
    asset: str,
    change: Decimal,
    reason: str,
    kind: AdjustmentKind = AdjustmentKind.OPENING,
    reference: str | None = None,
    occurred_ms: int | None = None,
) -> bool:
    """Record a change of a balance that is not one of our fills: opening balance, trade elsewhere, deposit, withdrawal.

    False, and nothing changes, when the same `reference` was booked for this account and asset before.
    """
    values = {"account_id": account_id, "asset": asset, "change": change, "reason": reason, "kind": kind.value}
    values |= {"reference": reference, "occurred_at": None if occurred_ms is None else to_datetime(occurred_ms)}
    once = insert(BalanceAdjustment).values(values).on_conflict_do_nothing().returning(col(BalanceAdjustment.id))
    if (await session.execute(once)).first() is None:
        return False
    await _change_balance(session, account_id, asset, change)
    await tell_browsers(session, "account", account_id, user_id=await _user_of(session, account_id))
    return True


async def book_taken(
    session: AsyncSession, *, account_id: int, run_id: int, symbol: str, quantity: Decimal, reason: str, at_ms: int
) -> None:
    """Take coins out of a run's position that left the account by no fill of its own; see `positions.take`.

    Balances are not touched: what moved them is booked by `book_adjustment` or was a fill of another's.
    """
    key = _Key(account_id, run_id, symbol)
    row = await session.get(PositionRow, (account_id, run_id, symbol), with_for_update=True)
    require(row is not None, "coins are taken from a position", run_id=run_id, symbol=symbol)
    assert row is not None
    base_asset, quote_asset = row.base_asset, row.quote_asset
    taken = insert(PositionAdjustment).values(
        account_id=account_id,
        run_id=run_id,
        symbol=symbol,
        change=-quantity,
        reason=reason,
        occurred_at=to_datetime(at_ms),
    )
    await session.execute(taken)
    _, last = await _locked_position(session, key, base_asset, quote_asset)
    items = await _fills(session, key)
    now = fold(items, base_asset=base_asset, quote_asset=quote_asset)
    newest = max((item.place for item in items), default=_BEFORE_ALL)
    await _store_position(session, key, now, max(last, newest))
    await tell_browsers(session, "position", symbol, user_id=await _user_of(session, account_id))


async def rebuild(session: AsyncSession, account_id: int) -> list[str]:
    """Make the account's balances and positions anew from fills and adjustments.

    Returns what differed before, a sentence each; an empty list means the projections were right.
    """
    differences = await _rebuild_balances(session, account_id)
    for symbol, (base_asset, quote_asset) in (await _assets(session, account_id)).items():
        differences += await _rebuild_positions(session, account_id, symbol, base_asset, quote_asset)
    return differences


async def _rebuild_balances(session: AsyncSession, account_id: int) -> list[str]:
    # The rows are held before the fills are read: every booking passes through one of them.
    held = select(col(Balance.asset), col(Balance.total)).where(col(Balance.account_id) == account_id).with_for_update()
    booked = {asset: Decimal(total) for asset, total in (await session.execute(held)).all()}
    assets = await _assets(session, account_id)
    totals: dict[str, Decimal] = {}
    adjustments = select(BalanceAdjustment).where(col(BalanceAdjustment.account_id) == account_id)
    for row in (await session.execute(adjustments)).scalars():
        totals[row.asset] = totals.get(row.asset, ZERO) + row.change
    for fill_row in (await session.execute(select(FillRow).where(col(FillRow.account_id) == account_id))).scalars():
        item = _sided(fill_row)
        for asset, change in balance_changes(item.side, item.fill, *assets[fill_row.symbol]).items():
            totals[asset] = totals.get(asset, ZERO) + change
    differences = []
    for asset in sorted(booked.keys() | totals.keys()):
        was, now = booked.get(asset, ZERO), totals.get(asset, ZERO)
        if was != now:
            differences.append(f"{asset}: the balance stood at {plain(was)}, fills and adjustments give {plain(now)}")
        values = {"total": now, "updated_at": func.now()}
        statement = insert(Balance).values(account_id=account_id, asset=asset, **values)
        await session.execute(statement.on_conflict_do_update(index_elements=["account_id", "asset"], set_=values))
    return differences


async def _rebuild_positions(
    session: AsyncSession, account_id: int, symbol: str, base_asset: str, quote_asset: str
) -> list[str]:
    of_symbol = (col(FillRow.account_id) == account_id, col(FillRow.symbol) == symbol)
    with_fills = await session.execute(select(func.coalesce(col(FillRow.run_id), 0)).where(*of_symbol).distinct())
    with_rows = await session.execute(
        select(col(PositionRow.run_id)).where(
            col(PositionRow.account_id) == account_id, col(PositionRow.symbol) == symbol
        )
    )
    differences = []
    for run_id in sorted({*with_fills.scalars(), *with_rows.scalars()}):
        key = _Key(account_id, run_id, symbol)
        was, last = await _locked_position(session, key, base_asset, quote_asset)
        fills = await _fills(session, key)
        now = fold(fills, base_asset=base_asset, quote_asset=quote_asset)
        newest = max((item.place for item in fills), default=_BEFORE_ALL)
        if (was, last) != (now, newest):
            differences.append(f"{symbol}, run {run_id}: the position stood at {_say(was)}, its fills give {_say(now)}")
        await _store_position(session, key, now, newest)
    return differences


async def _assets(session: AsyncSession, account_id: int) -> dict[str, tuple[str, str]]:
    """(base, quote) of every symbol the account has traded."""
    account = await session.get_one(Account, account_id)
    query = select(col(FillRow.symbol)).where(col(FillRow.account_id) == account_id).distinct()
    found = {}
    for symbol in (await session.execute(query)).scalars():
        row = await session.get(SymbolRow, (account.kind, symbol))
        if row is None:
            raise InvariantViolated("a traded symbol has no trading rules", symbol=symbol)
        found[symbol] = (row.rules["base_asset"], row.rules["quote_asset"])
    return found


async def _change_balance(session: AsyncSession, account_id: int, asset: str, change: Decimal) -> None:
    statement = insert(Balance).values(account_id=account_id, asset=asset, total=change)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id", "asset"],
            set_={"total": col(Balance.total) + statement.excluded.total, "updated_at": func.now()},
        )
    )


async def _locked_position(
    session: AsyncSession, key: _Key, base_asset: str, quote_asset: str
) -> tuple[Position, tuple[int, int]]:
    """The position as it stands, and the place of its newest fill; its row is held until the transaction ends."""
    new = insert(PositionRow).values(
        account_id=key.account_id,
        run_id=key.run_id,
        symbol=key.symbol,
        base_asset=base_asset,
        quote_asset=quote_asset,
    )
    await session.execute(new.on_conflict_do_nothing())
    found = await session.execute(
        select(
            col(PositionRow.quantity),
            col(PositionRow.cost),
            col(PositionRow.realised),
            col(PositionRow.fees_quote),
            col(PositionRow.last_traded_at),
            col(PositionRow.last_trade_id),
        )
        .where(*key.matches())
        .with_for_update()
    )
    quantity, cost, realised, fees_quote, last_traded_at, last_trade_id = found.one()
    position = Position(quantity, cost, realised, fees_quote)
    if last_traded_at is None or last_trade_id is None:
        return position, _BEFORE_ALL
    return position, (to_ms(last_traded_at), last_trade_id)


async def _store_position(session: AsyncSession, key: _Key, position: Position, last: tuple[int, int]) -> None:
    last_traded_at: datetime | None = None if last == _BEFORE_ALL else to_datetime(last[0])
    await session.execute(
        update(PositionRow)
        .where(*key.matches())
        .values(
            quantity=position.quantity,
            cost=position.cost,
            realised=position.realised,
            fees_quote=position.fees_quote,
            last_traded_at=last_traded_at,
            last_trade_id=None if last == _BEFORE_ALL else last[1],
            updated_at=func.now(),
        )
        .execution_options(synchronize_session=False)
    )


async def _fills(session: AsyncSession, key: _Key) -> list[SidedFill | Taken]:
    query = select(FillRow).where(
        col(FillRow.account_id) == key.account_id,
        col(FillRow.symbol) == key.symbol,
        func.coalesce(col(FillRow.run_id), 0) == key.run_id,
    )
    taken = select(PositionAdjustment).where(
        col(PositionAdjustment.account_id) == key.account_id,
        col(PositionAdjustment.symbol) == key.symbol,
        col(PositionAdjustment.run_id) == key.run_id,
    )
    return [
        *(_sided(row) for row in (await session.execute(query)).scalars()),
        *(Taken(-row.change, to_ms(row.occurred_at), row.id or 0) for row in (await session.execute(taken)).scalars()),
    ]


def _sided(row: FillRow) -> SidedFill:
    fill = Fill(
        trade_id=row.trade_id,
        quantity=row.quantity,
        price=row.price,
        quote_quantity=row.quote_quantity,
        commission=row.commission,
        commission_asset=row.commission_asset,
        is_maker=row.is_maker,
        traded_at_ms=to_ms(row.traded_at),
    )
    return SidedFill(Side(row.side), fill, row.commission_price)


async def _user_of(session: AsyncSession, account_id: int) -> int | None:
    return await session.scalar(select(col(Account.user_id)).where(col(Account.id) == account_id))


def _say(position: Position) -> str:
    return f"{plain(position.quantity)} at a cost of {plain(position.cost)}, realised {plain(position.realised)}"
