"""What the paper exchange's markets show. Everybody trades on the same ones."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import MAX_ID, Body, Id, to_json
from app.services.identity.audit import audited
from app.services.market.paper_market import paper_markets, request_paper_market

router = APIRouter(prefix="/api/v1", tags=["paper markets"])


class MarketBody(Body):
    """A replay of a data set from candle `start` on, a synthetic market from a `seed`, or a mirror of Binance."""

    symbol: Annotated[str, Field(max_length=20)]
    source: Literal["replay", "synthetic", "mirror"]
    dataset_id: Id | None = None
    start: Annotated[int | None, Field(ge=0, le=MAX_ID)] = None
    loop: bool = False
    seed: Annotated[int | None, Field(ge=0, le=MAX_ID)] = None


@router.get("/paper-markets")
async def markets(caller: SignedIn, services: Services) -> Json:
    """The markets as last seen, by symbol."""
    async with services.sessions.begin() as session:
        return {"paper_markets": to_json(await paper_markets(session))}


@router.post("/paper-markets", status_code=202)
async def request(body: MarketBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Ask for another market of a symbol; the worker carries it out within seconds."""

    async def work(session: AsyncSession) -> Answer:
        wish = await request_paper_market(session, user_id=caller.user_id, **dict(body))
        what = f"market:{wish.symbol}"
        asked = to_json(body)
        await audited(session, caller, "paper_market.requested", object=what, clock=services.clock, asked=asked)
        return Answer(202, to_json(wish))

    return await once.run(caller, body, work)
