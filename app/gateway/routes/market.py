"""Imported candles: upload, list, remove; and candles for the chart."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.errors import InvalidInput
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.uploads import Upload, one_file
from app.gateway.wire import MAX_ID, PathId, refuse_unstorable, to_json
from app.services.container import AppServices
from app.services.identity import Caller
from app.services.identity.audit import audited
from app.services.market.candles import (
    ParsedCandles,
    delete_dataset,
    get_dataset,
    import_candles,
    list_datasets,
    parse_candles,
    read_candles,
)

router = APIRouter(prefix="/api/v1", tags=["market data"])

_Name = Annotated[str, Query(pattern=r"^[\w.:-]{1,60}$")]


@router.get("/datasets")
async def datasets(caller: SignedIn, services: Services) -> Json:
    """Every imported data set, newest first. They are shared by all users."""
    async with services.sessions.begin() as session:
        return {"datasets": to_json(await list_datasets(session))}


@router.get("/datasets/{dataset_id}")
async def dataset(dataset_id: PathId, caller: SignedIn, services: Services) -> Json:
    """One data set with its gaps."""
    async with services.sessions.begin() as session:
        return {"dataset": to_json(await get_dataset(session, dataset_id))}


@router.post("/datasets", status_code=201)
async def upload(request: Request, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Import a file of candles: multipart fields `file`, `symbol`, `timeframe`, `name`, `accept_scale`.

    A page's plain form may give the key in the field `idempotency_key`; it is sent on to /data.
    """
    limit_bytes = services.settings.upload_limit_bytes
    async with one_file(request, field="file", limit_bytes=limit_bytes) as form:
        once.use_key(form.fields.pop("idempotency_key", ""))
        once.key  # noqa: B018 - refuse a missing key before the file is read
        asked = _asked(form)
        digest = await asyncio.to_thread(form.sha256)
        parsed = await asyncio.to_thread(_parse, form, asked)
    answer = await once.answer(caller, asked | {"file": digest}, _import(services, caller, parsed, asked))
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"/data?imported={answer.body['id']}", status_code=303)
    return answer.response()


@router.delete("/datasets/{dataset_id}")
async def remove(dataset_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Remove a data set that you imported, unless the paper market shows it."""

    async def work(session: AsyncSession) -> Answer:
        await delete_dataset(session, user_id=caller.user_id, dataset_id=dataset_id)
        await audited(session, caller, "dataset.removed", object=f"dataset:{dataset_id}", clock=services.clock)
        return Answer(200, {"removed": dataset_id})

    return await once.run(caller, None, work)


@router.get("/candles")
async def candles(
    caller: SignedIn,
    services: Services,
    venue: _Name,
    symbol: Annotated[str, Query(pattern=r"^[A-Z0-9]{3,20}$")],
    timeframe: Annotated[str, Query(max_length=4)],
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    end: Annotated[int | None, Query(ge=0, le=MAX_ID // 1000, description="Only before this time (Unix, s)")] = None,
) -> JSONResponse:
    """The newest candles, oldest first, as the chart wants them: numbers to look at, not to count with."""
    async with services.sessions.begin() as session:
        found = await read_candles(
            session,
            venue=venue,
            symbol=symbol,
            timeframe=timeframe,
            end_ms=None if end is None else end * 1000,
            limit=limit,
            newest=True,
        )
    columns = (found.open_time_ms // 1000, found.open, found.high, found.low, found.close, found.volume)
    names = ("time", "open", "high", "low", "close", "volume")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return JSONResponse([dict(zip(names, row, strict=True)) for row in rows])


def _asked(form: Upload) -> dict[str, Any]:
    """The fields beside the file, checked as far as the shape goes."""
    try:
        refuse_unstorable(form.fields)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    asked = {name: form.fields.get(name, "").strip() for name in ("symbol", "timeframe", "name")}
    return {**asked, "accept_scale": form.fields.get("accept_scale", "") in ("true", "on", "1")}


def _parse(form: Upload, asked: dict[str, Any]) -> ParsedCandles:
    return parse_candles(
        form.file,
        filename=form.filename,
        symbol=asked["symbol"],
        timeframe=asked["timeframe"],
        accept_scale=asked["accept_scale"],
    )


def _import(services: AppServices, caller: Caller, parsed: ParsedCandles, asked: dict[str, Any]) -> Any:
    async def work(session: AsyncSession) -> Answer:
        dataset = await import_candles(
            session, user_id=caller.user_id, parsed=parsed, name=asked["name"], accept_scale=asked["accept_scale"]
        )
        await audited(
            session,
            caller,
            "dataset.imported",
            object=f"dataset:{dataset.id}",
            clock=services.clock,
            name=dataset.name,
            symbol=dataset.symbol,
            timeframe=dataset.timeframe,
            rows=dataset.rows,
        )
        return Answer(201, to_json(dataset))

    return work
