"""Whether the execution service may be relied on right now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.models.execution import ServiceState, WorkerLease
from app.services.exchange.clock import ClockVerdict, verdict

#: A lease not renewed for this long means that no worker is alive.
STALE_AFTER_S = 15.0


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """State of the execution service as its lease row tells it. `ok` is what `/health` answers with."""

    ok: bool
    state: str  # RECOVERING | HEALTHY | STOPPED | STALE
    reason: str
    epoch: int
    lease_age_s: float | None
    clock_offset_ms: int | None
    clock_checked_at: datetime | None
    recovered_at: datetime | None

    @property
    def clock(self) -> ClockVerdict:
        """What the last measured offset to the exchange allows."""
        return verdict(self.clock_offset_ms)


async def service_health(
    session: AsyncSession, *, now: datetime, stale_after_s: float = STALE_AFTER_S
) -> ServiceHealth:
    """Read the lease row; a lease that is not renewed counts as STALE whatever its state says."""
    lease = await session.get(WorkerLease, 1, populate_existing=True)
    if lease is None or lease.renewed_at is None:
        reason = "the execution service has never started"
        return ServiceHealth(False, ServiceState.STOPPED.value, reason, 0, None, None, None, None)
    age_s = (now - lease.renewed_at).total_seconds()
    state, reason = lease.state, lease.state_reason
    if state != ServiceState.STOPPED.value and age_s > stale_after_s:
        state, reason = "STALE", f"the execution service has not been heard of for {age_s:.0f} s"
    return ServiceHealth(
        ok=state == ServiceState.HEALTHY.value,
        state=state,
        reason=reason,
        epoch=lease.epoch,
        lease_age_s=age_s,
        clock_offset_ms=lease.clock_offset_ms,
        clock_checked_at=lease.clock_checked_at,
        recovered_at=lease.recovered_at,
    )
