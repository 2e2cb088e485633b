"""The consumer of one account's user stream: what it says is booked, and after each gap the exchange is asked."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.orders import EventSource
from app.logs import get_logger
from app.models.execution import Account, Notice
from app.services.exchange.protocol import OrderUpdate, StreamDown, StreamUp, TradingSession
from app.services.execution.submit import ForeignOrder, Submitter

log = get_logger(__name__)


class Looks(Protocol):
    """Who asks the exchange: `app.jobs.reconciling.Rounds`."""

    async def catch_up(self, account_id: int) -> None:
        """The stream came back: what happened meanwhile has to be asked for."""
        ...

    def hint(self, account_id: int) -> None:
        """Something happened that our books may not have."""
        ...


class StreamBoard(Protocol):
    """Where people see how an account's stream is."""

    async def set_up(self, account_id: int, *, up: bool) -> None:
        """It delivers, or it does not."""
        ...

    async def was_silent(self, account_id: int, reason: str) -> None:
        """It stood and did not deliver; it is being replaced."""
        ...


class UserStream:
    """Books what one account's stream says. After every (re)connect the account is reconciled."""

    def __init__(
        self,
        account_id: int,
        trading: TradingSession,
        submitter: Submitter,
        looks: Looks,
        board: StreamBoard,
    ) -> None:
        self._account_id = account_id
        self._trading = trading
        self._submitter = submitter
        self._looks = looks
        self._board = board

    async def run(self) -> None:
        """Consume until the session is closed."""
        async for event in self._trading.user_events():
            match event:
                case OrderUpdate(report=report):
                    try:
                        await self._submitter.apply(self._account_id, report, EventSource.EXCHANGE)
                    except ForeignOrder as foreign:
                        log.info("an order made elsewhere", account_id=self._account_id, order=str(foreign))
                        self._looks.hint(self._account_id)
                case StreamUp():
                    await self._board.set_up(self._account_id, up=True)
                    await self._looks.catch_up(self._account_id)
                case StreamDown(reason=reason, silent=silent):
                    log.warning("user stream is down", account_id=self._account_id, reason=reason, silent=silent)
                    await self._board.set_up(self._account_id, up=False)
                    if silent:
                        await self._board.was_silent(self._account_id, reason)
                case _:
                    pass


class StreamRows:
    """`StreamBoard` in the database: `accounts.stream_up`, and a notice to the account's owner."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def set_up(self, account_id: int, *, up: bool) -> None:
        """Keep it on the account; its owner's pages follow."""
        async with self._sessions.begin() as session:
            mine = update(Account).where(col(Account.id) == account_id)
            account = (await session.execute(mine.values(stream_up=up).returning(Account))).scalar_one()
            await tell_browsers(session, "account", account.id, user_id=account.user_id)

    async def was_silent(self, account_id: int, reason: str) -> None:
        """Tell the owner."""
        async with self._sessions.begin() as session:
            account = await session.get_one(Account, account_id)
            words = (
                f"The event stream of account {account.label} was connected but silent: {reason}. "
                "It is being replaced; what it missed was found by asking the exchange."
            )
            notice = {"user_id": account.user_id, "kind": "STREAM_SILENT", "message": words, "details": {}}
            await session.execute(insert(Notice).values(notice))
            await tell_browsers(session, "notice", user_id=account.user_id)
