"""Exchange accounts as their owner sees them. Keys are made, kept and used by the worker only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.clock import Clock, to_datetime
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.domain.money import plain
from app.models.execution import Account, AccountKind, AccountState, Credential, WantedState
from app.models.keys import KeyRequest, KeyRequestState
from app.services.identity.audit import audited
from app.services.identity.viewer import Caller

MOST_ACCOUNTS = 20
MOST_OPENING = Decimal(10) ** 9


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account without anything secret. `api_key_hint` is the key's last four characters.

    `key_kind`, `permissions` (what the key may do), `advice` (what would be safer) and `key_checked_at` are of the key
    in use; `key_wanted` is one on its way.
    """

    id: int
    label: str
    kind: str
    state: str
    state_reason: str
    public_key_pem: str
    api_key_hint: str
    books_agree_at: datetime | None
    stream_up: bool
    created_at: datetime | None
    wanted: str = WantedState.ACTIVE.value
    key_kind: str = ""
    permissions: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    key_checked_at: datetime | None = None
    key_wanted: KeyWantedView | None = None


@dataclass(frozen=True, slots=True)
class KeyWantedView:
    """A key on its way. It waits for its owner while `waits_for_api_key` (paste `public_key_pem` at the exchange) or
    when the last check has left a `message`; else the worker is at work.
    """

    kind: str
    public_key_pem: str
    waits_for_api_key: bool
    message: str


async def list_accounts(session: AsyncSession, *, user_id: int, with_removed: bool = False) -> list[AccountView]:
    """The user's accounts, oldest first. Removed ones are of interest only for the names of what they traded."""
    statement = (
        select(Account, *(getattr(Credential, name) for name in _KEY_COLUMNS))
        .outerjoin(Credential, col(Credential.account_id) == col(Account.id))
        .where(col(Account.user_id) == user_id)
        .order_by(col(Account.id))
    )
    if not with_removed:
        statement = statement.where(col(Account.state) != AccountState.REMOVED.value)
    wanted = await _keys_wanted(session, user_id)
    rows = (await session.execute(statement.execution_options(populate_existing=True))).all()
    return [_view(row, dict(zip(_KEY_COLUMNS, key, strict=True)), wanted.get(row.id)) for row, *key in rows]


_KEY_COLUMNS = ("kind", "api_key", "public_key_pem", "permissions", "checked_at")


async def _keys_wanted(session: AsyncSession, user_id: int) -> dict[int, KeyWantedView]:
    """The newest open key request of each of the user's accounts."""
    of_user = select(col(Account.id)).where(col(Account.user_id) == user_id)
    columns = ("account_id", "kind", "public_key_pem", "asked_at", "checked_at", "message")
    is_open = col(KeyRequest.state) == KeyRequestState.OPEN.value
    query = select(*(getattr(KeyRequest, name) for name in columns)).where(
        is_open, col(KeyRequest.account_id).in_(of_user)
    )
    found = {}
    for account_id, kind, pem, asked_at, checked_at, message in await session.execute(
        query.order_by(col(KeyRequest.id))
    ):
        checking = asked_at is not None and (checked_at is None or asked_at > checked_at)
        found[account_id] = KeyWantedView(kind, pem, bool(pem) and asked_at is None, "" if checking else message)
    return found


async def get_account(session: AsyncSession, *, user_id: int, account_id: int) -> AccountView:
    """One of the user's accounts. Raises NotFound."""
    for account in await list_accounts(session, user_id=user_id, with_removed=True):
        if account.id == account_id:
            return account
    raise NotFound("there is no such account")


async def request_paper_account(
    session: AsyncSession, *, user_id: int, label: str, balances: Mapping[str, Decimal]
) -> AccountView:
    """Ask the worker for a paper account with these opening balances. It becomes ACTIVE within seconds.

    Raises InvalidInput for a bad label or balance, Conflict when the label is taken.
    """
    label = await checked_label(session, user_id=user_id, label=label)
    for asset, amount in balances.items():
        if not re.fullmatch(r"[A-Z0-9]{2,10}", asset):
            raise InvalidInput(f"{asset[:20]!r} is not the name of an asset", field="balances")
        if not 0 < amount <= MOST_OPENING:
            raise InvalidInput(
                f"the opening balance of {asset} must be above 0 and at most 1,000,000,000", field="balances"
            )
    if not balances:
        raise InvalidInput("give at least one opening balance", field="balances")
    values = {
        "user_id": user_id,
        "label": label,
        "kind": AccountKind.PAPER.value,
        "opening_balances": {asset: plain(amount) for asset, amount in balances.items()},
    }
    account_id = (await session.execute(insert(Account).values(values).returning(col(Account.id)))).scalar_one()
    await wake_worker(session, "accounts")
    await tell_browsers(session, "account", account_id, user_id=user_id)
    return await get_account(session, user_id=user_id, account_id=int(account_id or 0))


async def request_unfreeze(session: AsyncSession, *, caller: Caller, account_id: int, clock: Clock) -> AccountView:
    """Ask the worker to compare a frozen account with its exchange; it trades again if nothing contradicts.

    Its owner and admins may. Raises NotFound, Conflict when it is not frozen.
    """
    is_admin = caller.viewer is not None and caller.viewer.is_admin
    row = await session.get(Account, account_id, with_for_update=True, populate_existing=True)
    if row is None or not (is_admin or row.user_id == caller.user_id):
        raise NotFound("there is no such account")
    if row.state != AccountState.FROZEN.value:
        raise Conflict(f"the account “{row.label}” is not frozen: it is {row.state.lower()}")
    row.unfreeze_requested_at = to_datetime(clock.now_ms())
    await session.flush()
    await wake_worker(session, "accounts")
    await audited(session, caller, "account.unfreeze_requested", object=f"account:{account_id}", clock=clock)
    return await get_account(session, user_id=row.user_id, account_id=account_id)


async def checked_label(session: AsyncSession, *, user_id: int, label: str) -> str:
    """The trimmed name for one more account. Raises InvalidInput, Conflict when it is taken or there are too many."""
    label = label.strip()
    if not 1 <= len(label) <= 60:
        raise InvalidInput("give the account a name of 1 to 60 characters", field="label")
    existing = await list_accounts(session, user_id=user_id)
    if any(account.label == label for account in existing):
        raise Conflict(f"you already have an account called {label!r}")
    if len(existing) >= MOST_ACCOUNTS:
        raise Conflict(f"you have {MOST_ACCOUNTS} accounts already")
    return label


def _view(row: Account, key: dict[str, Any], wanted: KeyWantedView | None) -> AccountView:
    told = key["permissions"] or {}
    return AccountView(
        id=row.id or 0,
        label=row.label,
        kind=row.kind,
        state=row.state,
        state_reason=row.state_reason,
        public_key_pem=key["public_key_pem"] or "",
        api_key_hint=(key["api_key"] or "")[-4:],
        books_agree_at=row.books_agree_at,
        stream_up=row.stream_up,
        created_at=row.created_at,
        wanted=row.wanted,
        key_kind=key["kind"] or "",
        permissions=tuple(told.get("may", ())),
        advice=tuple(told.get("advice", ())),
        key_checked_at=key["checked_at"],
        key_wanted=wanted,
    )
