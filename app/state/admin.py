"""For admins: health, jobs, reconciliation, incidents, users, audit log. Filled only after the role was checked."""

from __future__ import annotations

import json
from typing import Any

import reflex as rx

from app.domain.errors import NotFound
from app.services import execution
from app.services.container import get_services
from app.services.execution import IncidentView, JobView, PassView, ServiceHealth
from app.services.identity import Role, users
from app.services.identity.audit import audited, verify_chain
from app.services.identity.listing import AuditView, audit_entries
from app.services.identity.users import UserView
from app.state import words
from app.state.auth import roles
from app.state.base import PageState, Unit, handler, live, put, say, whole, work
from app.state.reconciliation import difference_line
from app.state.rows import Row


@live("service", "account", "notice", "incident")
class AdminState(PageState, rx.State):
    """The admin page."""

    health: list[Row] = []  # noqa: RUF012
    jobs: list[Row] = []  # noqa: RUF012
    passes: list[Row] = []  # noqa: RUF012
    incidents: list[Row] = []  # noqa: RUF012
    users: list[Row] = []  # noqa: RUF012
    audit: list[Row] = []  # noqa: RUF012
    chain: str = ""
    chain_tone: str = ""

    async def _reload(self, unit: Unit) -> None:
        if not unit.viewer.is_admin:  # entering is open to all, so that everybody else is told why he sees nothing
            raise NotFound("This page is for admins.")
        session = unit.session
        put(
            self,
            health=_health_rows(await execution.service_health(session, now=unit.now), unit),
            jobs=[_job_row(job, unit) for job in await execution.job_runs(session)],
            passes=[_pass_row(one) for one in await execution.reconciliation_passes(session, user_id=None, limit=30)],
            incidents=[_incident_row(one) for one in await execution.incidents(session, user_id=None)],
            users=[_user_row(user, unit) for user in await users.list_users(session)],
            audit=[_audit_row(entry) for entry in await audit_entries(session, limit=50)],
        )

    @handler
    @roles(Role.ADMIN)
    async def reconcile(self) -> None:
        """Compare all accounts with the exchange now."""
        async with work(self) as unit:
            await execution.request_reconciliation(unit.session)
            await audited(unit.session, unit.caller, "reconciliation.requested", clock=unit.clock)
        await say(self, "info", "Reconciliation asked for", "Its result appears below in a moment.")

    @handler
    @roles(Role.ADMIN)
    async def verify(self) -> None:
        """Recompute the audit log's hash chain."""
        async with work(self) as unit:
            broken = await verify_chain(unit.session)
        self.chain = "The chain is whole." if broken is None else f"The chain is broken at entry {broken}."
        self.chain_tone = "ok" if broken is None else "bad"

    @handler
    @roles(Role.ADMIN)
    async def set_disabled(self, user_id: str, disabled: bool) -> None:
        """Shut a user out, or let him in again."""
        number = whole(user_id, "user")
        async with work(self) as unit:
            if disabled is True:
                await users.disable_user(unit.session, user_id=number, clock=unit.clock)
            else:
                await users.enable_user(unit.session, user_id=number)
            done = "user.disabled" if disabled is True else "user.enabled"
            await audited(unit.session, unit.caller, done, object=f"user:{number}", clock=unit.clock)
            await self._renew(unit)
        get_services().session_cache.forget_user(number)


def _health_rows(health: ServiceHealth, unit: Unit) -> list[Row]:
    age = "never" if health.lease_age_s is None else f"{health.lease_age_s:.1f} s ago"
    offset = "not measured" if health.clock_offset_ms is None else f"{health.clock_offset_ms:+d} ms"
    pairs: list[tuple[str, Any]] = [
        ("State", words.status_words(health.state)),
        ("Reason", words.sentence(health.reason) if health.reason else "none"),
        ("Lease renewed", age),
        ("Epoch", str(health.epoch)),
        ("Clock offset", f"{offset}, measured {words.ago(health.clock_checked_at, unit.now)}"),
        ("Last recovery", words.day_time(health.recovered_at)),
    ]
    return [{"name": name, "value": value} for name, value in pairs]


def _job_row(job: JobView, unit: Unit) -> Row:
    return {
        "name": job.name.replace("_", " "),
        "last": words.ago(job.finished_at or job.started_at, unit.now),
        "took": f"{job.duration_ms:,} ms" if job.duration_ms is not None else words.UNKNOWN,
        "runs": words.number(job.runs),
        "failures": words.number(job.failures),
        "error": job.error,
        "tone": "bad" if job.error else "ok",
        "state": "Failed" if job.error else "Fine",
    }


def _pass_row(one: PassView) -> Row:
    return {
        "time": words.day_time(one.finished_at),
        "account": one.account_label,
        "trigger": one.trigger,
        "checked": words.number(one.checked),
        "repaired": words.number(one.repaired),
        "unresolved": words.number(one.unresolved),
        "state": "Agrees" if one.agrees else "Failed" if one.error else "Differs",
        "tone": "ok" if one.agrees else "bad",
        "why": one.error or "; ".join(difference_line(d) for d in one.differences)[:300],
    }


def _incident_row(one: IncidentView) -> Row:
    return {
        "title": one.title,
        "time": words.day_time(one.opened_at),
        "kind": one.kind.replace("_", " "),
        "message": words.sentence(one.message),
        "order": str(one.order_id or ""),
    }


def _user_row(user: UserView, unit: Unit) -> Row:
    return {
        "id": str(user.id),
        "email": user.email,
        "role": user.role.value,
        "created": words.day_time(user.created_at),
        "disabled": words.day_time(user.disabled_at) if user.disabled_at else "",
        "is_me": "yes" if user.id == unit.user_id else "",
    }


def _audit_row(entry: AuditView) -> Row:
    return {
        "seq": str(entry.seq),
        "time": words.day_time(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "object": entry.object,
        "ip": entry.ip,
        "details": json.dumps(entry.details, default=str)[:200] if entry.details else "",
    }
