"""Accounts: their keys are made and registered here, their sessions opened, consumers of their streams kept going."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.errors import PlumblineError
from app.jobs.guard import forever
from app.jobs.user_stream import Looks, StreamRows, UserStream
from app.logs import get_logger
from app.models.execution import Account, AccountKind, AccountState, Credential
from app.services.exchange.protocol import TradingSession
from app.services.exchange.vault_private import SecretKey, Vault
from app.services.execution.submit import Submitter
from app.services.portfolio.projection import book_adjustment

log = get_logger(__name__)


class Registrar(Protocol):
    """Where a paper account's public key is registered."""

    async def create_account(self, label: str, public_key_pem: str, balances: dict[str, str]) -> str:
        """Returns the API key. Raises PlumblineError with the exchange's words."""
        ...


#: Kind of account, API key, key.
OpenSession = Callable[[str, str, SecretKey], TradingSession]


class AccountWork:
    """Provisions accounts and keeps one trading session and one stream consumer for each active one."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        vault: Vault,
        registrar: Registrar,
        open_session: OpenSession,
    ) -> None:
        self._sessions = sessions
        self._vault = vault
        self._registrar = registrar
        self._open_session = open_session
        self._streams = StreamRows(sessions)
        self._consumers: dict[int, asyncio.Task[None]] = {}
        self.trading: dict[int, TradingSession] = {}  # shared with submitter and reconciler
        self._kinds: dict[int, str] = {}  # of the accounts that have had a session

    def kind_of(self, account_id: int) -> str:
        """The kind of an account that has, or has had, a session."""
        return self._kinds.get(account_id, AccountKind.PAPER.value)

    async def open_active(self, reached: Collection[str] = tuple(AccountKind)) -> list[int]:
        """Open sessions for active accounts that have none and close those of frozen ones; returns the new ids.

        `reached`: kinds whose exchange is known. The others' accounts wait for theirs.
        """
        async with self._sessions.begin() as session:
            active = col(Account.state).in_([AccountState.ACTIVE.value, AccountState.RECOVERING.value])
            joined = select(Account, Credential).join(Credential, col(Credential.account_id) == col(Account.id))
            rows = (await session.execute(joined.where(active))).all()
        opened = []
        for account, credential in rows:
            account_id = account.id or 0
            if account_id in self.trading or account.kind not in reached:
                continue
            try:
                key = self._vault.open(credential.private_key_box, account_id=account_id, kind=credential.kind)
            except PlumblineError as error:
                await self._set_state(account, AccountState.FAILED, error.message)
                continue
            await self._streams.set_up(account_id, up=False)  # as far as anybody knows yet
            self._kinds[account_id] = account.kind
            self.trading[account_id] = self._open_session(account.kind, credential.api_key, key)
            opened.append(account_id)
        for gone in self.trading.keys() - {account.id for account, _ in rows}:
            await self.drop(gone)
        return opened

    async def unfreeze(self) -> list[int]:
        """Frozen accounts that somebody wants back become RECOVERING: they trade once nothing contradicts."""
        values = {
            "state": AccountState.RECOVERING.value,
            "state_reason": "it is compared with the exchange before it trades again",
            "unfreeze_requested_at": None,
        }
        asked = (col(Account.state) == AccountState.FROZEN.value, col(Account.unfreeze_requested_at).is_not(None))
        async with self._sessions.begin() as session:
            wanted = (await session.execute(select(Account).where(*asked).with_for_update())).scalars().all()
            for account in wanted:
                await session.execute(update(Account).where(col(Account.id) == account.id).values(values))
                await _tell(session, account)
        return [account.id or 0 for account in wanted]

    async def drop(self, account_id: int) -> None:
        """Close the account's session, if it has one: nothing more is asked or sent with its key."""
        consumer = self._consumers.pop(account_id, None)
        if consumer is not None:
            consumer.cancel()
        if account_id in self.trading:
            await self.trading.pop(account_id).close()
            await self._streams.set_up(account_id, up=False)

    async def reconciliations_wanted(self) -> dict[int, datetime]:
        """Accounts that somebody wants compared with the exchange now, and since when."""
        async with self._sessions.begin() as session:
            wanted = col(Account.reconcile_requested_at)
            rows = (await session.execute(select(col(Account.id), wanted).where(wanted.is_not(None)))).all()
        return {account_id: since for account_id, since in rows if account_id is not None and since is not None}

    async def reconciliations_done(self, done: Mapping[int, datetime]) -> None:
        """They were compared, as far as was wanted then: who asked again meanwhile is still to come."""
        async with self._sessions.begin() as session:
            for account_id, since in done.items():
                same = (col(Account.id) == account_id, col(Account.reconcile_requested_at) == since)
                await session.execute(update(Account).where(*same).values(reconcile_requested_at=None))

    async def kinds_in_use(self) -> set[str]:
        """The kinds of account that anybody has to be traded with."""
        async with self._sessions.begin() as session:
            used = col(Account.state).in_([AccountState.ACTIVE.value, AccountState.RECOVERING.value])
            return set((await session.execute(select(col(Account.kind)).where(used).distinct())).scalars())

    async def provision(self) -> None:
        """Carry requested paper accounts to ACTIVE: make the key, register its public half, book opening balances."""
        async with self._sessions.begin() as session:
            paper = col(Account.kind) == AccountKind.PAPER.value
            waiting = select(Account).where(paper, col(Account.state) == AccountState.REQUESTED.value)
            requested = list((await session.execute(waiting.order_by(col(Account.id)))).scalars())
        for account in requested:
            try:
                await self._provision(account)
            except PlumblineError as error:
                await self._set_state(account, AccountState.FAILED, error.message)

    async def _provision(self, account: Account) -> None:
        account_id = account.id or 0
        async with self._sessions.begin() as session:
            credential = await session.get(Credential, account_id)
            if credential is None:
                key = self._vault.generate()
                credential = Credential(
                    account_id=account_id,
                    kind="ED25519",
                    public_key_pem=key.public_key_pem,
                    master_key_id=self._vault.master_key_id,
                    private_key_box=self._vault.seal(key, account_id=account_id),
                )
                session.add(credential)
        balances = {asset: str(amount) for asset, amount in dict(account.opening_balances).items()}
        api_key = await self._registrar.create_account(account.label, credential.public_key_pem, balances)
        async with self._sessions.begin() as session:
            known = update(Credential).where(col(Credential.account_id) == account_id)
            await session.execute(known.values(api_key=api_key))
            for asset, amount in sorted(balances.items()):
                await book_adjustment(
                    session, account_id=account_id, asset=asset, change=Decimal(amount), reason="opening balance"
                )
            active = update(Account).where(col(Account.id) == account_id)
            await session.execute(active.values(state=AccountState.ACTIVE.value, state_reason=""))
            await _tell(session, account)
        log.info("account is active", account_id=account_id)

    async def _set_state(self, account: Account, state: AccountState, reason: str) -> None:
        async with self._sessions.begin() as session:
            mine = update(Account).where(col(Account.id) == account.id)
            await session.execute(mine.values(state=state.value, state_reason=reason))
            await _tell(session, account)

    # --- user streams ----------------------------------------------------------------------------------

    def consume(self, submitter: Submitter, looks: Looks) -> None:
        """Make sure that each open session's stream has its consumer."""
        for account_id, trading in self.trading.items():
            if account_id not in self._consumers or self._consumers[account_id].done():
                consumer = UserStream(account_id, trading, submitter, looks, self._streams)
                name = f"user stream of account {account_id}"
                self._consumers[account_id] = asyncio.create_task(forever(name, consumer.run))

    async def close(self) -> None:
        """End consumers and close sessions."""
        for consumer in self._consumers.values():
            consumer.cancel()
        await asyncio.gather(*self._consumers.values(), return_exceptions=True)
        for trading in self.trading.values():
            await trading.close()


async def _tell(session: AsyncSession, account: Account) -> None:
    await tell_browsers(session, "account", account.id, user_id=account.user_id)
