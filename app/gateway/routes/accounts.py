"""Exchange accounts. Keys are kept and used by the worker; a secret that passes here is sealed at once for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, SecretStr
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.errors import InvalidInput
from app.domain.money import parse_amount
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import Body, PathId, to_json
from app.models.execution import AccountKind, WantedState
from app.services.execution import (
    AccountView,
    LiveConsent,
    NewKey,
    bring_api_key,
    check_key_again,
    list_accounts,
    replace_key,
    request_exchange_account,
    request_paper_account,
    want_account,
)
from app.services.identity.audit import audited

router = APIRouter(prefix="/api/v1", tags=["accounts"])


class KeyBody(Body):
    """A key: `api_key` and `secret` (HMAC secret, or Ed25519 or RSA private key in PEM), or neither: the worker then
    makes an Ed25519 pair whose public half is shown.
    """

    api_key: Annotated[str, Field(max_length=200)] = ""
    secret: Annotated[SecretStr, Field(max_length=8_000)] = SecretStr("")

    def key(self) -> NewKey:
        """What the execution service takes."""
        return NewKey(self.api_key, self.secret.get_secret_value())

    def asked(self) -> dict[str, Any]:
        """The body as it is kept with its Idempotency-Key: of the secret only whether there was one."""
        return {**dict(self), "secret": bool(self.secret.get_secret_value())}


class AccountBody(KeyBody):
    """A new account: paper with what it starts with, e.g. {"USDT": "10000"}; testnet or live with a key."""

    label: Annotated[str, Field(max_length=60)]
    kind: Annotated[AccountKind, Field(strict=False)] = AccountKind.PAPER
    balances: Annotated[dict[str, str], Field(default_factory=dict, max_length=20)]
    confirm_live: bool = False
    label_again: Annotated[str, Field(max_length=60)] = ""


class ApiKeyBody(Body):
    """The API key that the exchange gave for the public key shown."""

    api_key: Annotated[str, Field(max_length=200)]


@router.get("/accounts")
async def accounts(caller: SignedIn, services: Services) -> Json:
    """Your accounts, oldest first, without those removed."""
    async with services.sessions.begin() as session:
        return {"accounts": to_json(await list_accounts(session, user_id=caller.user_id))}


@router.post("/accounts", status_code=201)
async def request(body: AccountBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Ask for an account; the worker makes or checks its key and makes it ACTIVE, or FAILED with a reason."""
    balances = {asset: parse_amount(text, field=f"balances.{asset[:20]}") for asset, text in body.balances.items()}

    async def work(session: AsyncSession) -> Answer:
        if body.kind is AccountKind.PAPER:
            if body.api_key or body.secret.get_secret_value():
                raise InvalidInput("the key of a paper account is the worker's own", field="api_key")
            account = await request_paper_account(session, user_id=caller.user_id, label=body.label, balances=balances)
        else:
            if balances:
                raise InvalidInput("its balances are read from the exchange", field="balances")
            consent = LiveConsent(body.confirm_live, body.label_again)
            account = await request_exchange_account(
                session, user_id=caller.user_id, label=body.label, kind=body.kind, key=body.key(), consent=consent
            )
        await audited(
            session,
            caller,
            "account.requested",
            object=f"account:{account.id}",
            clock=services.clock,
            label=account.label,
            kind=account.kind,
            balances=body.balances,
        )
        return Answer(201, to_json(account))

    return await once.run(caller, body.asked(), work)


@router.post("/accounts/{account_id}/key", status_code=202)
async def key(account_id: PathId, body: KeyBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Replace an account's key. The one it has goes on working until the new one has been checked."""

    async def work(session: AsyncSession) -> AccountView:
        return await replace_key(session, user_id=caller.user_id, account_id=account_id, key=body.key())

    return await _changed(account_id, "account.key_requested", body.asked(), caller, once, services, work)


@router.post("/accounts/{account_id}/api-key", status_code=202)
async def api_key(
    account_id: PathId, body: ApiKeyBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Bring the API key for the public key that the worker has made; it is checked within seconds."""

    async def work(session: AsyncSession) -> AccountView:
        return await bring_api_key(session, user_id=caller.user_id, account_id=account_id, api_key=body.api_key)

    return await _changed(account_id, "account.api_key_brought", body, caller, once, services, work)


@router.post("/accounts/{account_id}/check", status_code=202)
async def check(account_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Have a refused key checked again, once it was put right at the exchange."""

    async def work(session: AsyncSession) -> AccountView:
        return await check_key_again(session, user_id=caller.user_id, account_id=account_id)

    return await _changed(account_id, "account.check_requested", None, caller, once, services, work)


@router.post("/accounts/{account_id}/disable", status_code=202)
async def disable(account_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Switch an account off: the exchange is neither asked nor sent anything for it. Refused while it works."""
    return await _want(account_id, WantedState.DISABLED, caller, once, services)


@router.post("/accounts/{account_id}/enable", status_code=202)
async def enable(account_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Switch an account on again; it is compared with the exchange first."""
    return await _want(account_id, WantedState.ACTIVE, caller, once, services)


@router.delete("/accounts/{account_id}", status_code=202)
async def remove(account_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Remove an account: its key is destroyed, its orders and fills stay. Refused while it works."""
    return await _want(account_id, WantedState.REMOVED, caller, once, services)


async def _want(
    account_id: int, wanted: WantedState, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    async def work(session: AsyncSession) -> AccountView:
        return await want_account(session, user_id=caller.user_id, account_id=account_id, wanted=wanted)

    return await _changed(account_id, f"account.wanted_{wanted.lower()}", None, caller, once, services, work)


async def _changed(
    account_id: int,
    action: str,
    body: Any,
    caller: SignedIn,
    once: Idempotent,
    services: Services,
    change: Callable[[AsyncSession], Awaitable[AccountView]],
) -> Response:
    async def work(session: AsyncSession) -> Answer:
        account = await change(session)
        what = f"account:{account_id}"
        await audited(session, caller, action, object=what, clock=services.clock, label=account.label)
        return Answer(202, to_json(account))

    return await once.run(caller, body, work)
