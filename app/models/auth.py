"""Schema `auth`: people, their sessions and tokens, the audit log, idempotency keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, Text
from sqlmodel import Field, SQLModel

from app.models.columns import big, document, identity_key, moment, words

SCHEMA = {"schema": "auth"}


class User(SQLModel, table=True):
    """A person. `email` is stored lower-case."""

    __tablename__ = "users"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    email: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    password_hash: str = Field(sa_column=words())
    role: str = Field(sa_column=words())  # trader | admin
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    disabled_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class Session(SQLModel, table=True):
    """A browser session. Only the SHA-256 of the cookie's value is stored."""

    __tablename__ = "sessions"
    __table_args__ = SCHEMA
    id_hash: str = Field(sa_column=Column(Text, primary_key=True))
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=False, index=True))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    last_seen_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    expires_at: datetime = Field(sa_column=moment())
    revoked_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    ip: str = Field(default="", sa_column=words(default=""))
    user_agent: str = Field(default="", sa_column=words(default=""))


class RefreshToken(SQLModel, table=True):
    """A one-time refresh token of an API client. Reuse of a spent one revokes its whole family."""

    __tablename__ = "refresh_tokens"
    __table_args__ = SCHEMA
    token_hash: str = Field(sa_column=Column(Text, primary_key=True))
    family: str = Field(sa_column=Column(Text, nullable=False, index=True))
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=False))
    issued_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    expires_at: datetime = Field(sa_column=moment())
    used_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    revoked_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class SetupLink(SQLModel, table=True):
    """The one-time link with which the first admin is made (or a password is reset: `user_id` set)."""

    __tablename__ = "setup_links"
    __table_args__ = SCHEMA
    token_hash: str = Field(sa_column=Column(Text, primary_key=True))
    user_id: int | None = Field(default=None, sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=True))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    expires_at: datetime = Field(sa_column=moment())
    used_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class ThrottleBucket(SQLModel, table=True):
    """A counter of attempts in a window, kept here so that it survives a restart and fails closed."""

    __tablename__ = "throttle_buckets"
    __table_args__ = SCHEMA
    bucket: str = Field(sa_column=Column(Text, primary_key=True))  # e.g. login:ip:127.0.0.1
    window_started_at: datetime = Field(sa_column=moment())
    count: int = Field(sa_column=big(default="0"))


class IdempotencyKey(SQLModel, table=True):
    """The stored answer of a write. Inserted in the transaction that does the work."""

    __tablename__ = "idempotency_keys"
    __table_args__ = SCHEMA
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), primary_key=True))
    key: str = Field(sa_column=Column(Text, primary_key=True))
    route: str = Field(sa_column=words())
    request_hash: str = Field(sa_column=words())
    request_body: Any = Field(sa_column=document())  # to name the field that differs
    status_code: int | None = Field(default=None, sa_column=big(nullable=True))
    response_body: Any = Field(default=None, sa_column=document(nullable=True, default=None))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class AuditHead(SQLModel, table=True):
    """The single row with the newest entry's number and hash; `auth.append_audit` locks it."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", "one_row"), SCHEMA)
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=big())
    hash: str = Field(sa_column=words())


class AuditEntry(SQLModel, table=True):
    """Append-only, hash-chained: hash = SHA-256(prev_hash ‖ canonical JSON of the row)."""

    __tablename__ = "audit_log"
    __table_args__ = SCHEMA
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=moment())
    actor: str = Field(sa_column=words())  # user:7 | worker | cli
    action: str = Field(sa_column=words())
    object: str = Field(default="", sa_column=words(default=""))
    details: Any = Field(default_factory=dict, sa_column=document())
    ip: str = Field(default="", sa_column=words(default=""))
    request_id: str = Field(default="", sa_column=words(default=""))
    prev_hash: str = Field(sa_column=words())
    hash: str = Field(sa_column=words())
