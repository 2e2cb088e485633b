"""Exchange accounts. Keys are made, kept and used by the worker; nothing secret passes here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.money import parse_amount
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import Body, to_json
from app.services.execution import list_accounts, request_paper_account
from app.services.identity.audit import audited

router = APIRouter(prefix="/api/v1", tags=["accounts"])


class AccountBody(Body):
    """A new paper account and what it starts with, e.g. {"USDT": "10000"}."""

    label: Annotated[str, Field(max_length=60)]
    balances: Annotated[dict[str, str], Field(max_length=20)]


@router.get("/accounts")
async def accounts(caller: SignedIn, services: Services) -> Json:
    """Your accounts, oldest first."""
    async with services.sessions.begin() as session:
        return {"accounts": to_json(await list_accounts(session, user_id=caller.user_id))}


@router.post("/accounts", status_code=201)
async def request(body: AccountBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Ask for a paper account; the worker makes its key and registers it within seconds (state ACTIVE)."""
    balances = {asset: parse_amount(text, field=f"balances.{asset[:20]}") for asset, text in body.balances.items()}

    async def work(session: AsyncSession) -> Answer:
        account = await request_paper_account(session, user_id=caller.user_id, label=body.label, balances=balances)
        await audited(
            session,
            caller,
            "account.requested",
            object=f"account:{account.id}",
            clock=services.clock,
            label=account.label,
            balances=body.balances,
        )
        return Answer(201, to_json(account))

    return await once.run(caller, body, work)
