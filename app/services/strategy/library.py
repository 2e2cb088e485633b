"""Strategies and their versions. A version never changes; saving another document adds one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.clock import Clock, to_datetime
from app.domain.errors import Conflict, InvalidInput, InvariantViolated, NotFound
from app.models.strategy import Run, RunState, StrategyRow, StrategyVersion
from app.services.strategy.canonical import version_hash
from app.services.strategy.problems import Problem
from app.services.strategy.reading import read_aloud
from app.services.strategy.rules import Strategy
from app.services.strategy.validation import validate

_LONGEST_NAME = 100
_MOST_SAID = 5


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version: its document, the document in English, and what validation would have the user consider."""

    id: int
    number: int
    hash: str
    document: dict[str, Any]
    reading: str
    warnings: tuple[Problem, ...]
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class StrategyView:
    """A strategy with its versions, newest first (in lists: only the newest)."""

    id: int
    name: str
    created_at: datetime | None
    archived_at: datetime | None
    versions: list[VersionView]


async def create_strategy(session: AsyncSession, *, user_id: int, name: str, document: object) -> StrategyView:
    """Store a new strategy with its first version. Without a name it takes the document's.

    Raises InvalidInput; for an invalid document `facts["problems"]` lists {"path", "message"}.
    """
    strategy = valid_strategy(document)
    name = name.strip() or strategy.name
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(f"The name may have at most {_LONGEST_NAME} characters.", field="name")
    row = StrategyRow(user_id=user_id, name=name)
    session.add(row)
    await session.flush()
    _add_version(session, row, 1, strategy)
    await session.flush()
    return await get_strategy(session, user_id=user_id, strategy_id=row.id or 0)


async def save_version(session: AsyncSession, *, user_id: int, strategy_id: int, document: object) -> StrategyView:
    """Add a version. A document that is one of the strategy's versions already adds nothing.

    Raises NotFound, Conflict for an archived strategy, InvalidInput as `create_strategy` does.
    """
    row = await owned_strategy(session, user_id=user_id, strategy_id=strategy_id, lock=True)
    if row.archived_at is not None:
        raise Conflict(f"“{row.name}” is archived; its versions do not change any more.")
    strategy = valid_strategy(document)
    versions = await _versions(session, strategy_id)
    if version_hash(strategy.document) not in {version.hash for version in versions}:
        _add_version(session, row, versions[0].number + 1, strategy)
        await session.flush()
    return await get_strategy(session, user_id=user_id, strategy_id=strategy_id)


async def list_strategies(session: AsyncSession, *, user_id: int) -> list[StrategyView]:
    """The user's strategies that are not archived, newest first, each with its newest version only."""
    query = (
        select(StrategyRow, StrategyVersion)
        .join(StrategyVersion, col(StrategyVersion.strategy_id) == col(StrategyRow.id))
        .where(col(StrategyRow.user_id) == user_id, col(StrategyRow.archived_at).is_(None))
        .ext(distinct_on(col(StrategyRow.id)))
        .order_by(col(StrategyRow.id).desc(), col(StrategyVersion.number).desc())
    )
    return [_view(row, [version]) for row, version in (await session.execute(query)).all()]


async def get_strategy(session: AsyncSession, *, user_id: int, strategy_id: int) -> StrategyView:
    """One strategy, archived or not, with all its versions. Raises NotFound."""
    row = await owned_strategy(session, user_id=user_id, strategy_id=strategy_id)
    return _view(row, await _versions(session, strategy_id))


async def archive_strategy(session: AsyncSession, *, user_id: int, strategy_id: int, clock: Clock) -> None:
    """Take a strategy out of the list; its runs and versions stay. Raises NotFound, Conflict while it runs."""
    row = await owned_strategy(session, user_id=user_id, strategy_id=strategy_id, lock=True)
    running = (
        select(col(Run.id))
        .join(StrategyVersion, col(StrategyVersion.id) == col(Run.version_id))
        .where(col(StrategyVersion.strategy_id) == strategy_id, col(Run.state) != RunState.STOPPED.value)
        .limit(1)
    )
    if (await session.execute(running)).first() is not None:
        raise Conflict(f"“{row.name}” is running. Stop it before you archive it.")
    if row.archived_at is None:
        row.archived_at = to_datetime(clock.now_ms())
        await session.flush()


async def owned_strategy(session: AsyncSession, *, user_id: int, strategy_id: int, lock: bool = False) -> StrategyRow:
    """The user's strategy; `lock` holds its row until the transaction ends. Raises NotFound."""
    query = select(StrategyRow).where(col(StrategyRow.id) == strategy_id, col(StrategyRow.user_id) == user_id)
    row = (await session.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no strategy {strategy_id}.")
    return row


def valid_strategy(document: object) -> Strategy:
    """The document as a strategy. Raises InvalidInput whose `facts["problems"]` lists {"path", "message"}."""
    result = validate(document)
    if result.strategy is None:
        raise InvalidInput(
            _say_problems(result.errors),
            field="document",
            problems=[{"path": problem.path, "message": problem.message} for problem in result.errors],
        )
    return result.strategy


def version_view(version: StrategyVersion) -> VersionView:
    """A stored version as it is shown."""
    result = validate(version.document)
    if result.strategy is None:
        raise InvariantViolated("a stored strategy version is not valid", version_id=version.id)
    return VersionView(
        id=version.id or 0,
        number=version.number,
        hash=version.hash,
        document=version.document,
        reading=read_aloud(result.strategy),
        warnings=result.warnings,
        created_at=version.created_at,
    )


def _add_version(session: AsyncSession, row: StrategyRow, number: int, strategy: Strategy) -> None:
    document = strategy.document
    session.add(StrategyVersion(strategy_id=row.id or 0, number=number, hash=version_hash(document), document=document))


async def _versions(session: AsyncSession, strategy_id: int) -> Sequence[StrategyVersion]:
    """Newest first."""
    query = select(StrategyVersion).where(col(StrategyVersion.strategy_id) == strategy_id)
    return (await session.execute(query.order_by(col(StrategyVersion.number).desc()))).scalars().all()


def _view(row: StrategyRow, versions: Sequence[StrategyVersion]) -> StrategyView:
    return StrategyView(
        id=row.id or 0,
        name=row.name,
        created_at=row.created_at,
        archived_at=row.archived_at,
        versions=[version_view(version) for version in versions],
    )


def _say_problems(problems: Sequence[Problem]) -> str:
    said = "; ".join(f"{p.path}: {p.message}" if p.path else p.message for p in problems[:_MOST_SAID])
    more = f"; and {len(problems) - _MOST_SAID} more" if len(problems) > _MOST_SAID else ""
    return f"The strategy cannot be used as it is. {said}{more}."
