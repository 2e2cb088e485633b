"""Schema `execution`, of keys: those on their way to an account, and what the web process seals secrets to."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from app.models.columns import identity_key, moment, words

SCHEMA = {"schema": "execution"}


class KeyRequestState(StrEnum):
    """What became of a key on its way to an account."""

    OPEN = "OPEN"  # waits for its owner or for the worker, or was found wanting and may be tried again
    APPLIED = "APPLIED"
    DROPPED = "DROPPED"  # another one came, or the account went


class KeyRequest(SQLModel, table=True):
    """A key on its way to an account: made by the worker for an owner who brings the API key, or brought sealed.

    `sealed_box` is HPKE to the worker, `private_key_box` AES-256-GCM under its master key; role `web` may read neither,
    and both are gone once the request is done. It is to be checked whenever `asked_at` is newer than `checked_at`.
    """

    __tablename__ = "key_requests"
    __table_args__ = (
        CheckConstraint(
            "state = 'OPEN' OR (sealed_box IS NULL AND private_key_box IS NULL)", name="key_gone_when_done"
        ),
        Index("key_requests_by_account", "account_id", text("id DESC")),
        SCHEMA,
    )
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    kind: str = Field(sa_column=words())
    state: str = Field(default=KeyRequestState.OPEN.value, sa_column=words(default=KeyRequestState.OPEN.value))
    api_key: str = Field(default="", sa_column=words(default=""))
    sealed_box: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    sealed_to: str = Field(default="", sa_column=words(default=""))
    private_key_box: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    public_key_pem: str = Field(default="", sa_column=words(default=""))
    message: str = Field(default="", sa_column=words(default=""))  # why the last check refused it
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    asked_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    checked_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class SealingKeyRow(SQLModel, table=True):
    """A public key of the worker; secrets are sealed to the newest."""

    __tablename__ = "sealing_keys"
    __table_args__ = SCHEMA
    id: str = Field(sa_column=Column(Text, primary_key=True))
    public_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    published_at: datetime | None = Field(default=None, sa_column=moment(now=True))
