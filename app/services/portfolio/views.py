"""What an account is worth: balances, positions and PnL at the newest prices, as of a stated moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.money import ZERO
from app.domain.orders import FINAL, OrderStatus
from app.domain.positions import Position, average_cost, unrealised, value_at
from app.models.execution import OrderRow
from app.models.portfolio import Balance, PositionRow
from app.models.strategy import Run, StrategyRow, StrategyVersion
from app.services.market.prices import PriceView, prices
from app.services.ownership import owned_account

#: What an account is valued in.
QUOTE_ASSET = "USDT"

_UNFINISHED = [status.value for status in OrderStatus if status not in FINAL]


@dataclass(frozen=True, slots=True)
class BalanceView:
    """One asset. `value` is in the account's quote asset, None without a price.

    `agrees` None: not compared with the exchange since it last changed.
    """

    asset: str
    total: Decimal
    reserved: Decimal  # held back by open orders
    free: Decimal
    value: Decimal | None
    exchange_total: Decimal | None  # as last reconciled
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class PositionView:
    """One position, amounts in its symbol's quote asset. `run_id` 0: a person's own orders, `run_name` is ""."""

    symbol: str
    run_id: int
    run_name: str
    quantity: Decimal
    average_cost: Decimal | None  # for show; None when nothing is held
    price: Decimal | None
    priced_at: datetime | None
    value: Decimal | None
    unrealised: Decimal | None
    realised: Decimal
    fees_quote: Decimal


@dataclass(frozen=True, slots=True)
class PortfolioView:
    """An account. `equity` and `unrealised` are None when something held has no price: nothing is guessed.

    `realised`, `unrealised` and `fees_quote` are the sums over positions whose quote asset is the account's.
    `as_of` is the time of the oldest price that went in; of `now` when none was needed.
    """

    account_id: int
    quote_asset: str
    equity: Decimal | None
    cash: Decimal
    realised: Decimal
    unrealised: Decimal | None
    fees_quote: Decimal
    as_of: datetime
    balances: list[BalanceView]
    positions: list[PositionView]


@dataclass(frozen=True, slots=True)
class Valuation:
    """Worth of some holdings in a quote asset; `equity` is None when an asset has no price."""

    equity: Decimal | None
    values: Mapping[str, Decimal | None]  # by asset
    used: Mapping[str, PriceView]  # by symbol


async def portfolio_of(session: AsyncSession, *, user_id: int, account_id: int, now: datetime) -> PortfolioView:
    """The user's account at the newest prices. Raises NotFound for another's."""
    account = await owned_account(session, user_id=user_id, account_id=account_id)
    known = await prices(session, kind=account.kind)
    rows = await _balances(session, account_id)
    worth = valuation({row.asset: row.total for row in rows}, known, QUOTE_ASSET)
    reserved = await _reserved(session, account_id)
    balances = [_balance_view(row, reserved.get(row.asset, ZERO), worth.values[row.asset]) for row in rows]
    found = await _positions(session, account_id)
    positions = [_position_view(row, name, known.get(row.symbol)) for row, name in found]
    ours = [view for view, (row, _) in zip(positions, found, strict=True) if row.quote_asset == QUOTE_ASSET]
    open_gains = [view.unrealised for view in ours]
    times = [price.priced_at for price in worth.used.values()]
    times += [view.priced_at for view in positions if view.quantity and view.priced_at is not None]
    return PortfolioView(
        account_id=account_id,
        quote_asset=QUOTE_ASSET,
        equity=worth.equity,
        cash=next((row.total for row in rows if row.asset == QUOTE_ASSET), ZERO),
        realised=sum((view.realised for view in ours), ZERO),
        unrealised=_sum_known(open_gains),
        fees_quote=sum((view.fees_quote for view in ours), ZERO),
        as_of=min(times, default=now),
        balances=balances,
        positions=positions,
    )


def valuation(totals: Mapping[str, Decimal], known: Mapping[str, PriceView], quote_asset: str) -> Valuation:
    """Worth of `totals` (by asset) at the prices of their symbols against `quote_asset`; pure."""
    values: dict[str, Decimal | None] = {}
    used: dict[str, PriceView] = {}
    for asset, total in totals.items():
        price = known.get(asset + quote_asset)
        if asset == quote_asset or total == 0:
            values[asset] = total
        elif price is None:
            values[asset] = None
        else:
            values[asset] = value_at(total, price.price)
            used[asset + quote_asset] = price
    return Valuation(_sum_known(list(values.values())), values, used)


def _sum_known(values: list[Decimal | None]) -> Decimal | None:
    total = ZERO
    for value in values:
        if value is None:
            return None
        total += value
    return total


async def _balances(session: AsyncSession, account_id: int) -> list[Balance]:
    query = select(Balance).where(col(Balance.account_id) == account_id).order_by(col(Balance.asset))
    return list((await session.execute(query.execution_options(populate_existing=True))).scalars())


async def _reserved(session: AsyncSession, account_id: int) -> dict[str, Decimal]:
    """What open orders hold back, by asset."""
    query = (
        select(col(OrderRow.reserved_asset), func.sum(col(OrderRow.reserved)))
        .where(col(OrderRow.account_id) == account_id, col(OrderRow.status).in_(_UNFINISHED))
        .group_by(col(OrderRow.reserved_asset))
    )
    return {asset: Decimal(total) for asset, total in (await session.execute(query)).all()}


async def _positions(session: AsyncSession, account_id: int) -> list[tuple[PositionRow, str]]:
    """Positions with the names of the strategies behind them; what is held first, then by symbol and run."""
    query = (
        select(PositionRow, col(StrategyRow.name))
        .outerjoin(Run, col(Run.id) == col(PositionRow.run_id))
        .outerjoin(StrategyVersion, col(StrategyVersion.id) == col(Run.version_id))
        .outerjoin(StrategyRow, col(StrategyRow.id) == col(StrategyVersion.strategy_id))
        .where(col(PositionRow.account_id) == account_id)
        .order_by(col(PositionRow.quantity) == ZERO, col(PositionRow.symbol), col(PositionRow.run_id))
        .execution_options(populate_existing=True)
    )
    return [(row, name or "") for row, name in (await session.execute(query)).all()]


def _balance_view(row: Balance, reserved: Decimal, value: Decimal | None) -> BalanceView:
    return BalanceView(
        asset=row.asset,
        total=row.total,
        reserved=reserved,
        free=row.total - reserved,
        value=value,
        exchange_total=row.exchange_total,
        agrees=_agrees(row),
    )


def _agrees(row: Balance) -> bool | None:
    """Whether the exchange held the same when it was last asked; None when it was not asked since the last change."""
    changed_since = (
        row.updated_at is not None and row.exchange_seen_at is not None and row.updated_at > row.exchange_seen_at
    )
    if row.exchange_total is None or changed_since:
        return None
    return row.exchange_total == row.total


def _position_view(row: PositionRow, run_name: str, price: PriceView | None) -> PositionView:
    position = Position(row.quantity, row.cost, row.realised, row.fees_quote)
    if position.quantity == 0:
        value: Decimal | None = ZERO
        gain: Decimal | None = ZERO
    else:
        value = value_at(position.quantity, price.price) if price else None
        gain = unrealised(position, price.price) if price else None
    return PositionView(
        symbol=row.symbol,
        run_id=row.run_id,
        run_name=run_name,
        quantity=position.quantity,
        average_cost=average_cost(position),
        price=price.price if price else None,
        priced_at=price.priced_at if price else None,
        value=value,
        unrealised=gain,
        realised=position.realised,
        fees_quote=position.fees_quote,
    )
