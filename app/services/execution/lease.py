"""The worker's lease: one row, one holder, an epoch that grows with every holder.

Every write of a worker carries its epoch and a trigger refuses a stale one, so that a worker which was
paused and has been replaced can do no harm when it wakes.
"""

from __future__ import annotations

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.models.execution import ServiceState, WorkerLease


class LeaseLost(Exception):
    """Somebody else holds the lease now: stop at once."""


class Lease:
    """Holds and renews the lease. Times are the database's, so that clocks of workers do not matter."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, holder: str, ttl_s: float) -> None:
        self._sessions = sessions
        self._holder = holder
        self._ttl_s = ttl_s
        self.epoch = 0

    async def acquire(self, *, known_dead: str = "") -> bool:
        """Take the lease if it is free or stale; True when it is ours. The service is then RECOVERING.

        `known_dead` names a holder that is known not to live any more: its lease need not run out first. Should
        it live all the same, the new epoch fences it.
        """
        stale = col(WorkerLease.renewed_at) < func.now() - text(f"interval '{self._ttl_s} seconds'")
        free = or_(
            col(WorkerLease.renewed_at).is_(None),
            col(WorkerLease.state) == ServiceState.STOPPED.value,
            col(WorkerLease.holder) == known_dead,
            stale,
        )
        async with self._sessions.begin() as session:
            await session.execute(upsert(WorkerLease).values(id=1).on_conflict_do_nothing())
            statement = (
                update(WorkerLease)
                .where(col(WorkerLease.id) == 1, free)
                .values(
                    epoch=col(WorkerLease.epoch) + 1,
                    holder=self._holder,
                    state=ServiceState.RECOVERING.value,
                    state_reason="reconciling with the exchange after a start",
                    acquired_at=func.now(),
                    renewed_at=func.now(),
                    recovered_at=None,
                )
                .returning(col(WorkerLease.epoch))
            )
            epoch = (await session.execute(statement)).scalar_one_or_none()
            await self._tell(session)
        self.epoch = epoch or 0
        return epoch is not None

    async def renew(self) -> None:
        """Keep the lease. Raises LeaseLost when it is no longer ours."""
        await self._update(renewed_at=func.now())

    async def set_state(self, state: ServiceState, reason: str = "") -> None:
        """Say what the service is doing. Raises LeaseLost when the lease is no longer ours."""
        values: dict[str, object] = {"state": state.value, "state_reason": reason, "renewed_at": func.now()}
        if state is ServiceState.HEALTHY:
            values["recovered_at"] = func.coalesce(col(WorkerLease.recovered_at), func.now())
        await self._update(**values)

    async def set_clock(self, offset_ms: int) -> None:
        """Record a measured offset to the exchange."""
        await self._update(clock_offset_ms=offset_ms, clock_checked_at=func.now())

    async def holder_age_s(self) -> tuple[str, float] | None:
        """Who holds the lease and how many seconds ago it was renewed."""
        age = func.extract("epoch", func.now() - col(WorkerLease.renewed_at))
        async with self._sessions.begin() as session:
            row = (await session.execute(select(col(WorkerLease.holder), age).where(col(WorkerLease.id) == 1))).first()
        return None if row is None or row[1] is None else (row[0], float(row[1]))

    async def _update(self, **values: object) -> None:
        async with self._sessions.begin() as session:
            ours = (
                col(WorkerLease.id) == 1,
                col(WorkerLease.epoch) == self.epoch,
                col(WorkerLease.holder) == self._holder,
            )
            done = await session.execute(
                update(WorkerLease).where(*ours).values(**values).returning(col(WorkerLease.id))
            )
            if done.scalar_one_or_none() is None:
                raise LeaseLost(f"epoch {self.epoch} was replaced")
            if "state" in values:
                await self._tell(session)

    async def _tell(self, session: AsyncSession) -> None:
        await tell_browsers(session, "service", user_id=None)
