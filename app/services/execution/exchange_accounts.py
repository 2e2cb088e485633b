"""Testnet and live accounts, as their owner asks for them; the worker checks their keys and does what is wanted.

A pasted secret is sealed here, in the call that brings it, and cannot be read back by the web process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.errors import Conflict, InvalidInput, NotAllowed, Unavailable
from app.domain.orders import FINAL, OrderStatus
from app.models.execution import Account, AccountKind, AccountState, OrderRow, Plan, PlanState, WantedState
from app.models.keys import KeyRequest, KeyRequestState, SealingKeyRow
from app.models.strategy import Run, RunState
from app.services.exchange.vault import ED25519, SealingKey, read_pasted, seal
from app.services.execution.accounts import AccountView, checked_label, get_account
from app.services.ownership import owned_account
from app.services.real_money import refuse_unconfirmed

_API_KEY = re.compile(r"[A-Za-z0-9]{16,128}")
_UNFINISHED = [status.value for status in OrderStatus if status not in FINAL]
_ACTIVE_RUN = [RunState.STARTING.value, RunState.RUNNING.value, RunState.STOPPING.value]
#: States in which the worker still speaks for the account: what it holds there must be in order before it goes.
_IN_USE = (AccountState.ACTIVE.value, AccountState.RECOVERING.value)


@dataclass(frozen=True, slots=True, repr=False)
class NewKey:
    """A key for an account. Both empty: the worker makes an Ed25519 pair, and the owner brings the API key later.

    `secret`: an HMAC secret, or an Ed25519 or RSA private key in PEM; it is never stored as it is.
    """

    api_key: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return "NewKey(***)"


@dataclass(frozen=True, slots=True)
class LiveConsent:
    """The two confirmations that real money is meant: said so, and the account's name typed once more."""

    confirm_live: bool = False
    label_again: str = ""


async def request_exchange_account(
    session: AsyncSession,
    *,
    user_id: int,
    label: str,
    kind: AccountKind,
    key: NewKey | None = None,
    consent: LiveConsent | None = None,
) -> AccountView:
    """Ask for a testnet or live account. It is ACTIVE once the worker has checked its key with the exchange.

    Raises InvalidInput (label, api_key, secret, confirm_live, label_again), Conflict, Unavailable while no worker has
    ever run.
    """
    if kind is AccountKind.PAPER:
        raise InvalidInput("a paper account needs no key, but opening balances", field="kind")
    label = await checked_label(session, user_id=user_id, label=label)
    if kind is AccountKind.LIVE:
        _refuse_half_hearted(label, consent or LiveConsent())
    statement = insert(Account).values(user_id=user_id, label=label, kind=kind.value).returning(col(Account.id))
    account_id = int((await session.execute(statement)).scalar_one() or 0)
    await _request_key(session, user_id, account_id, key or NewKey())
    return await _told(session, user_id, account_id)


async def replace_key(
    session: AsyncSession, *, user_id: int, account_id: int, key: NewKey | None = None
) -> AccountView:
    """Bring another key for a testnet or live account, or ask the worker for one.

    The account goes on with the key it has until the new one is checked. Raises as `request_exchange_account`.
    """
    await _keyed_account(session, user_id, account_id)
    await _request_key(session, user_id, account_id, key or NewKey())
    return await _told(session, user_id, account_id)


async def bring_api_key(session: AsyncSession, *, user_id: int, account_id: int, api_key: str) -> AccountView:
    """The API key that the exchange gave for the public key shown; the worker checks it.

    Raises InvalidInput, Conflict when none is waited for.
    """
    await _keyed_account(session, user_id, account_id)
    return await _ask(session, user_id, account_id, api_key=_checked_api_key(api_key))


async def check_key_again(session: AsyncSession, *, user_id: int, account_id: int) -> AccountView:
    """Have the worker check a key again that was refused, once it was put right at the exchange.

    Raises Conflict when no refused key waits for that.
    """
    await _keyed_account(session, user_id, account_id)
    return await _ask(session, user_id, account_id)


async def want_account(session: AsyncSession, *, user_id: int, account_id: int, wanted: WantedState) -> AccountView:
    """Switch an account off or on, or remove it: its key is destroyed, its orders and fills stay.

    Raises Conflict while the account still works: runs, orders or protected positions end first. One that is frozen or
    failed may go at once; what rests at the exchange stays there.
    """
    account = await owned_account(session, user_id=user_id, account_id=account_id, lock=True)
    if account.state == AccountState.REMOVED.value or account.wanted == WantedState.REMOVED.value:
        raise Conflict(f"the account “{account.label}” is removed")
    if wanted is not WantedState.ACTIVE and account.state in _IN_USE:
        await _refuse_busy(session, account)
    account.wanted = wanted.value
    await session.flush()
    return await _told(session, user_id, account_id)


async def _refuse_busy(session: AsyncSession, account: Account) -> None:
    runs = select(func.count()).where(col(Run.account_id) == account.id, col(Run.state).in_(_ACTIVE_RUN))
    plans = select(func.count()).where(col(Plan.account_id) == account.id, col(Plan.state) != PlanState.CLOSED.value)
    orders = select(func.count()).where(col(OrderRow.account_id) == account.id, col(OrderRow.status).in_(_UNFINISHED))
    for query, what in (
        (runs, "a strategy runs on it; stop it first"),
        (plans, "a strategy's position is still protected there; close it first"),
        (orders, "orders are still open; cancel them first"),
    ):
        if (await session.execute(query)).scalar_one():
            raise Conflict(f"“{account.label}” cannot be switched off now: {what}")


def _refuse_half_hearted(label: str, consent: LiveConsent) -> None:
    refuse_unconfirmed(AccountKind.LIVE.value, label, confirm_live=consent.confirm_live, does="trades real money")
    if consent.label_again.strip() != label:
        raise InvalidInput(f"type the account's name, {label}, once more", field="label_again")


async def _keyed_account(session: AsyncSession, user_id: int, account_id: int) -> Account:
    account = await owned_account(session, user_id=user_id, account_id=account_id, lock=True)
    if account.kind == AccountKind.PAPER.value:
        raise NotAllowed("the key of a paper account is the worker's own")
    if account.state == AccountState.REMOVED.value or account.wanted == WantedState.REMOVED.value:
        raise Conflict(f"the account “{account.label}” is removed")
    return account


async def _request_key(session: AsyncSession, user_id: int, account_id: int, key: NewKey) -> None:
    values: dict[str, object] = {"account_id": account_id, "kind": ED25519}
    if key.secret.strip():
        secret, sealing_key = read_pasted(key.secret), await _sealing_key(session)
        values |= {
            "kind": secret.kind,
            "api_key": _checked_api_key(key.api_key),
            "sealed_box": seal(secret, sealing_key, user_id=user_id, account_id=account_id),
            "sealed_to": sealing_key.id,
            "asked_at": func.now(),
        }
    elif key.api_key.strip():
        raise InvalidInput("give the secret that belongs to this API key", field="secret")
    await session.execute(insert(KeyRequest).values(values))


async def _ask(session: AsyncSession, user_id: int, account_id: int, **values: str) -> AccountView:
    """Let the worker check the newest request. It must be open, and have a key to check by then."""
    mine = (col(KeyRequest.account_id) == account_id, col(KeyRequest.state) == KeyRequestState.OPEN.value)
    newest = select(func.max(col(KeyRequest.id))).where(*mine).scalar_subquery()
    ready = [col(KeyRequest.id) == newest]
    if values:
        ready.append(col(KeyRequest.public_key_pem) != "")
    else:
        ready.append(col(KeyRequest.api_key) != "")
    asked = update(KeyRequest).where(*ready).values(asked_at=func.now(), **values).returning(col(KeyRequest.id))
    if (await session.execute(asked)).first() is None:
        raise Conflict("no key is waited for or to be checked again; bring a new one")
    return await _told(session, user_id, account_id)


async def _sealing_key(session: AsyncSession) -> SealingKey:
    newest = select(SealingKeyRow).order_by(col(SealingKeyRow.published_at).desc()).limit(1)
    row = (await session.execute(newest)).scalar_one_or_none()
    if row is None:
        raise Unavailable("the worker has not said yet how to seal a secret for it; try again in a moment")
    return SealingKey(row.id, bytes(row.public_key))


def _checked_api_key(text: str) -> str:
    text = text.strip()
    if not _API_KEY.fullmatch(text):
        raise InvalidInput("an API key is 16 to 128 letters and digits, usually 64", field="api_key")
    return text


async def _told(session: AsyncSession, user_id: int, account_id: int) -> AccountView:
    await wake_worker(session, "accounts")
    await tell_browsers(session, "account", account_id, user_id=user_id)
    return await get_account(session, user_id=user_id, account_id=account_id)
