"""Whose things are whose: another user's object is answered like one that does not exist."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import NotFound
from app.models.execution import Account


async def owned_account(session: AsyncSession, *, user_id: int, account_id: int, lock: bool = False) -> Account:
    """The user's account; `lock` holds its row until the transaction ends. Raises NotFound."""
    query = select(Account).where(col(Account.id) == account_id, col(Account.user_id) == user_id)
    account = (await session.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    if account is None:
        raise NotFound(f"There is no account {account_id}.")
    return account
