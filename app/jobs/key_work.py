"""Keys of testnet and live accounts: made or unsealed here, checked against the exchange, then used; or destroyed.

A key comes as a `KeyRequest`. Nothing is traded with it before the exchange has said that it may read and trade and may
not do more, and before the account's balances are in our books.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import Clock, to_datetime
from app.domain.errors import PlumblineError
from app.logs import get_logger
from app.models.execution import Account, AccountKind, AccountState, Credential, WantedState
from app.models.keys import KeyRequest, KeyRequestState, SealingKeyRow
from app.services.exchange.key_check import KeyVerdict, judge_account, judge_rights, why_not_checked
from app.services.exchange.protocol import AccountStatus, AskingFailed, KeyProbe
from app.services.exchange.vault_private import CannotOpen, SecretKey, Vault
from app.services.execution.store import Store
from app.services.portfolio.projection import book_adjustment

log = get_logger(__name__)

CHECK_AGAIN_AFTER = timedelta(hours=24)
_NOT_YET_USED = (AccountState.REQUESTED.value, AccountState.FAILED.value)


class Probe(KeyProbe, Protocol):
    """A session that only asks."""

    async def close(self) -> None:
        """Release its connections."""
        ...


class Refused(PlumblineError):
    """The key may not be used; the message is for its owner."""

    code = "key_refused"


class KeyWork:
    """Takes keys in, looks at them again each day, and gives them up.

    `probe(kind, api_key, key)` reaches the exchange of a kind of account, its clock measured; `drop(account_id)` closes
    the session that still uses an old key.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: Store,
        vault: Vault,
        clock: Clock,
        *,
        probe: Callable[[str, str, SecretKey], Awaitable[Probe]],
        drop: Callable[[int], Awaitable[None]],
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._vault = vault
        self._clock = clock
        self._probe = probe
        self._drop = drop
        self._published = False

    async def publish(self) -> None:
        """Tell the web process what to seal secrets to."""
        key = self._vault.sealing_key
        values = {"id": key.id, "public_key": key.public_key, "published_at": func.now()}
        statement = upsert(SealingKeyRow).values(values)
        async with self._sessions.begin() as session:
            await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    async def work(self) -> list[int]:
        """Do what owners want: switch accounts off and on, remove them, make keys, check and take keys.

        Returns the accounts that were switched on: RECOVERING, until they have been compared with the exchange.
        """
        if not self._published:
            await self.publish()
            self._published = True
        for account, request in await self._newest_requests():
            if request.private_key_box is None and request.sealed_box is None:
                await self._make_pair(account, request)
            if request.asked_at and (request.checked_at is None or request.asked_at > request.checked_at):
                await self._try(account, request)
        return await self._obey()

    # --- what owners want ------------------------------------------------------------------------------

    async def _obey(self) -> list[int]:
        switched_on = []
        for account in await self._unlike_wanted():
            state, reason = account.wanted, ""
            if state == WantedState.ACTIVE.value:
                state, reason = AccountState.RECOVERING.value, "it was switched on and is compared with the exchange"
                switched_on.append(account.id or 0)
            async with self._sessions.begin() as session:
                if state == WantedState.REMOVED.value:
                    await session.execute(delete(Credential).where(col(Credential.account_id) == account.id))
                    await _drop_requests(session, account.id or 0)
                mine = update(Account).where(col(Account.id) == account.id, col(Account.wanted) == account.wanted)
                await session.execute(mine.values(state=state, state_reason=reason))
                await _tell(session, account)
            await self._drop(account.id or 0)
            log.info("account is as wanted", account_id=account.id, state=state)
        return switched_on

    async def _unlike_wanted(self) -> Sequence[Account]:
        """Accounts whose state is not what their owner wants; one that is FROZEN or FAILED is not made ACTIVE so."""
        async with self._sessions.begin() as session:
            off = (
                col(Account.wanted) != WantedState.ACTIVE.value,
                col(Account.wanted) != col(Account.state),
            )
            on = (col(Account.wanted) == WantedState.ACTIVE.value, col(Account.state) == AccountState.DISABLED.value)
            wrong = select(Account).where((off[0] & off[1]) | (on[0] & on[1])).order_by(col(Account.id))
            return list((await session.execute(wrong)).scalars())

    # --- keys on their way -----------------------------------------------------------------------------

    async def _newest_requests(self) -> Sequence[tuple[Account, KeyRequest]]:
        """Each account's newest request, if it is open; the ones before it are dropped."""
        async with self._sessions.begin() as session:
            newest = select(col(KeyRequest.id)).ext(distinct_on(col(KeyRequest.account_id)))
            newest = newest.order_by(col(KeyRequest.account_id), col(KeyRequest.id).desc())
            is_open = col(KeyRequest.state) == KeyRequestState.OPEN.value
            await session.execute(_dropping().where(is_open, col(KeyRequest.id).not_in(newest)))
            joined = select(Account, KeyRequest).join(KeyRequest, col(KeyRequest.account_id) == col(Account.id))
            wanted = col(Account.wanted) == WantedState.ACTIVE.value
            rows = await session.execute(joined.where(is_open, wanted).order_by(col(KeyRequest.id)))
            return [(account, request) for account, request in rows.all()]

    async def _make_pair(self, account: Account, request: KeyRequest) -> None:
        key = self._vault.generate()
        request.private_key_box = self._vault.seal(key, account_id=account.id or 0)
        request.public_key_pem = key.public_key_pem
        async with self._sessions.begin() as session:
            mine = update(KeyRequest).where(col(KeyRequest.id) == request.id)
            await session.execute(
                mine.values(private_key_box=request.private_key_box, public_key_pem=request.public_key_pem)
            )
            await _tell(session, account)

    async def _try(self, account: Account, request: KeyRequest) -> None:
        """Check a key; take it, or say why not."""
        try:
            key = await self._key_of(account, request)
            status, verdict = await self._check(account, request.api_key, key)
            async with self._sessions.begin() as session:
                await self._refuse_other_account(session, account, status)
                await self._take(session, account, request, key, status, verdict)
        except PlumblineError as error:
            await self._refuse(account, request, error.message, for_good=isinstance(error, CannotOpen))
            return
        await self._drop(account.id or 0)
        log.info("key is taken", account_id=account.id, kind=key.kind)

    async def _key_of(self, account: Account, request: KeyRequest) -> SecretKey:
        """The request's key. A sealed secret is opened once and kept under the master key from then on."""
        account_id = account.id or 0
        if request.sealed_box is None:
            return self._vault.open(request.private_key_box or b"", account_id=account_id, kind=request.kind)
        key = self._vault.unseal(
            request.sealed_box,
            sealed_to=request.sealed_to,
            user_id=account.user_id,
            account_id=account_id,
            kind=request.kind,
        )
        async with self._sessions.begin() as session:
            box, pem = self._vault.seal(key, account_id=account_id), key.public_key_pem
            mine = update(KeyRequest).where(col(KeyRequest.id) == request.id)
            await session.execute(mine.values(sealed_box=None, private_key_box=box, public_key_pem=pem))
        return key

    async def _check(self, account: Account, api_key: str, key: SecretKey) -> tuple[AccountStatus, KeyVerdict]:
        """Ask the exchange. Raises Refused with every reason at once."""
        try:
            probe = await self._probe(account.kind, api_key, key)
            try:
                return await _judged(probe, account.kind)
            finally:
                await probe.close()
        except AskingFailed as failure:
            raise Refused(why_not_checked(failure)) from failure

    async def _refuse_other_account(self, session: AsyncSession, account: Account, status: AccountStatus) -> None:
        """One account here is one account there: books of two would never agree."""
        if account.exchange_uid not in ("", status.uid):
            raise Refused("this key belongs to another account at the exchange; add that one as an account of its own")
        same = select(Account).where(
            col(Account.kind) == account.kind,
            col(Account.exchange_uid) == status.uid,
            col(Account.id) != account.id,
            col(Account.state) != AccountState.REMOVED.value,
        )
        other = (await session.execute(same)).scalars().first()
        if other is not None:
            whose = f"your account “{other.label}”" if other.user_id == account.user_id else "another account here"
            raise Refused(f"this is the same account at the exchange as {whose}")

    async def _take(
        self,
        session: AsyncSession,
        account: Account,
        request: KeyRequest,
        key: SecretKey,
        status: AccountStatus,
        verdict: KeyVerdict,
    ) -> None:
        account_id, now = account.id or 0, self._now()
        values = {
            "kind": key.kind,
            "api_key": request.api_key,
            "public_key_pem": key.public_key_pem,
            "master_key_id": self._vault.master_key_id,
            "private_key_box": self._vault.seal(key, account_id=account_id),
            "permissions": _told(verdict),
            "checked_at": now,
        }
        statement = upsert(Credential).values(account_id=account_id, **values)
        await session.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))
        done = {"state": KeyRequestState.APPLIED.value, "sealed_box": None, "private_key_box": None, "message": ""}
        mine = update(KeyRequest).where(col(KeyRequest.id) == request.id)
        await session.execute(mine.values(**done, checked_at=func.now()))
        if not account.exchange_uid:
            for asset, balance in sorted(status.balances.items()):
                total = balance.free + balance.locked
                await book_adjustment(
                    session, account_id=account_id, asset=asset, change=total, reason="opening balance"
                )
        state = {"exchange_uid": status.uid}
        if account.state in _NOT_YET_USED:
            state |= {"state": AccountState.ACTIVE.value, "state_reason": ""}
        await session.execute(update(Account).where(col(Account.id) == account_id).values(state))
        await _tell(session, account)

    async def _refuse(self, account: Account, request: KeyRequest, reason: str, *, for_good: bool) -> None:
        """Nothing is used; the owner is told why. An account that works goes on with the key it has."""
        log.info("key is refused", account_id=account.id, reason=reason)
        values: dict[str, object] = {"message": reason, "checked_at": func.now()}
        if for_good:
            values |= {"state": KeyRequestState.DROPPED.value, "sealed_box": None, "private_key_box": None}
        async with self._sessions.begin() as session:
            await session.execute(update(KeyRequest).where(col(KeyRequest.id) == request.id).values(values))
            if account.state in _NOT_YET_USED:
                mine = update(Account).where(col(Account.id) == account.id)
                await session.execute(mine.values(state=AccountState.FAILED.value, state_reason=reason))
            await _tell(session, account)

    # --- keys in use -----------------------------------------------------------------------------------

    async def look_again(self) -> None:
        """Check keys that were not checked for a day: what one may do is changed at the exchange, not here.

        A key that may do too much, or too little, freezes its account; a check that failed for another reason is made
        again at the next call.
        """
        async with self._sessions.begin() as session:
            joined = select(Account, Credential).join(Credential, col(Credential.account_id) == col(Account.id))
            due = (
                col(Account.state) == AccountState.ACTIVE.value,
                col(Account.kind) != AccountKind.PAPER.value,
                col(Credential.checked_at) < self._now() - CHECK_AGAIN_AFTER,
            )
            rows = (await session.execute(joined.where(*due).order_by(col(Account.id)))).all()
        for account, credential in rows:
            await self._look_again_at(account, credential)

    async def _look_again_at(self, account: Account, credential: Credential) -> None:
        account_id = account.id or 0
        key = self._vault.open(credential.private_key_box, account_id=account_id, kind=credential.kind)
        try:
            _, verdict = await self._check(account, credential.api_key, key)
        except Refused as refused:
            if isinstance(refused.__cause__, AskingFailed) and not refused.__cause__.freezes_account:
                log.warning("a key could not be looked at again", account_id=account_id, reason=refused.message)
                return
            async with self._store.transaction() as tx:
                await tx.freeze_account(account_id, refused.message)
            return
        async with self._sessions.begin() as session:
            mine = update(Credential).where(col(Credential.account_id) == account_id)
            await session.execute(mine.values(permissions=_told(verdict), checked_at=self._now()))
            await _tell(session, account)

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


async def _judged(probe: KeyProbe, kind: str) -> tuple[AccountStatus, KeyVerdict]:
    """What the exchange says of the key and its account. Raises Refused, AskingFailed."""
    status = await probe.account_status()
    of_account = judge_account(status)
    verdict = of_account
    if kind == AccountKind.LIVE.value:  # the testnet has no /sapi
        verdict = judge_rights(await probe.key_rights())
    if reasons := (*verdict.refusals, *(of_account.refusals if verdict is not of_account else ())):
        raise Refused(" ".join(reasons))
    return status, verdict


def _told(verdict: KeyVerdict) -> dict[str, list[str]]:
    return {"may": list(verdict.permissions), "advice": list(verdict.advice)}


def _dropping() -> Update:
    return update(KeyRequest).values(state=KeyRequestState.DROPPED.value, sealed_box=None, private_key_box=None)


async def _drop_requests(session: AsyncSession, account_id: int) -> None:
    is_open = col(KeyRequest.state) == KeyRequestState.OPEN.value
    await session.execute(_dropping().where(is_open, col(KeyRequest.account_id) == account_id))


async def _tell(session: AsyncSession, account: Account) -> None:
    await tell_browsers(session, "account", account.id, user_id=account.user_id)
