"""Orders and fills."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.orders import OrderType, Side, TimeInForce
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import Amount, Body, Id, Limit, PathId, QueryId, QuerySymbol, order_json, to_json
from app.services.execution import (
    OrderDraft,
    cancel_all_orders,
    cancel_order,
    list_fills,
    list_orders,
    order_detail,
    place_order,
    replace_order,
)
from app.services.identity.audit import audited

router = APIRouter(prefix="/api/v1", tags=["orders"])


class OrderBody(Body):
    """A new order: `quantity` in the base asset, or `quote_quantity` for a market order."""

    account_id: Id
    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9]{3,20}$")]
    side: Annotated[Side, Field(strict=False)]
    type: Annotated[OrderType, Field(strict=False)]
    quantity: Amount | None = None
    quote_quantity: Amount | None = None
    price: Amount | None = None
    stop_price: Amount | None = None
    time_in_force: Annotated[TimeInForce | None, Field(strict=False)] = None
    confirm_live: bool = False

    def draft(self) -> OrderDraft:
        """What the execution service takes."""
        return OrderDraft(**{name: value for name, value in self if name != "confirm_live"})


class CancelAllBody(Body):
    """Whose orders: of an account, of one symbol where it is named. Stops placed by hand stay unless asked for."""

    account_id: Id
    symbol: Annotated[str | None, Field(pattern=r"^[A-Z0-9]{3,20}$")] = None
    include_stops: bool = False


class ReplaceBody(Body):
    """What is to change. `quantity` is what the old and the new order together shall fill."""

    price: Amount | None = None
    stop_price: Amount | None = None
    quantity: Amount | None = None


@router.post("/orders", status_code=201)
async def place(body: OrderBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Commit an order; the executor sends it. A refusal by a limit is an order with status REJECTED."""

    async def work(session: AsyncSession) -> Answer:
        order = await place_order(
            session,
            user_id=caller.user_id,
            draft=body.draft(),
            intent_key=f"user:{caller.user_id}:{once.key}",
            clock=services.clock,
            ids=services.ids,
            confirm_live=body.confirm_live,
            stale_price_ms=services.settings.stale_price_ms,
        )
        shown = order_json(order)
        await audited(session, caller, "order.placed", object=f"order:{order.id}", clock=services.clock, order=shown)
        return Answer(201, shown)

    return await once.run(caller, body, work)


@router.get("/orders")
async def orders(
    caller: SignedIn,
    services: Services,
    account_id: QueryId = None,
    symbol: QuerySymbol = None,
    run_id: QueryId = None,
    open_only: bool = False,
    limit: Limit = 50,
    before_id: QueryId = None,
) -> Json:
    """Your orders, newest first; `next_before_id` asks for the next page."""
    async with services.sessions.begin() as session:
        found = await list_orders(
            session,
            user_id=caller.user_id,
            account_id=account_id,
            symbol=symbol,
            run_id=run_id,
            open_only=open_only,
            limit=limit,
            before_id=before_id,
        )
    return {
        "orders": [order_json(order) for order in found],
        "next_before_id": found[-1].id if len(found) == limit else None,
    }


@router.get("/orders/{order_id}")
async def order(order_id: PathId, caller: SignedIn, services: Services) -> Json:
    """One order with every event and fill."""
    async with services.sessions.begin() as session:
        detail = await order_detail(session, user_id=caller.user_id, order_id=order_id)
    return {
        "order": order_json(detail.order),
        "account_label": detail.account_label,
        "account_kind": detail.account_kind,
        "story": detail.story,
        "events": to_json(detail.events),
        "fills": to_json(detail.fills),
    }


@router.delete("/orders/{order_id}")
async def cancel(order_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Ask for an order's cancellation. It may still fill before the exchange has heard of it."""

    async def work(session: AsyncSession) -> Answer:
        order = await cancel_order(session, user_id=caller.user_id, order_id=order_id, clock=services.clock)
        await audited(session, caller, "order.cancelled", object=f"order:{order_id}", clock=services.clock)
        return Answer(200, order_json(order))

    return await once.run(caller, None, work)


@router.post("/orders/cancel-all")
async def cancel_all(body: CancelAllBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Cancel every working order of an account; `kept` says what stays and why. Protection of a run always stays."""

    async def work(session: AsyncSession) -> Answer:
        done = await cancel_all_orders(session, user_id=caller.user_id, clock=services.clock, **dict(body))
        what, asked = f"account:{body.account_id}", to_json(dict(body))
        await audited(
            session, caller, "orders.cancelled", object=what, clock=services.clock, asked=asked, orders=done.cancelled
        )
        return Answer(200, to_json(done))

    return await once.run(caller, body, work)


@router.post("/orders/{order_id}/replace", status_code=202)
async def replace(
    order_id: PathId, body: ReplaceBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Cancel an order and, once it is confirmed gone, place another for what is left. Its timeline tells how."""

    async def work(session: AsyncSession) -> Answer:
        wanted = await replace_order(
            session,
            user_id=caller.user_id,
            order_id=order_id,
            intent_key=f"user:{caller.user_id}:{once.key}",
            clock=services.clock,
            **dict(body),
        )
        shown = to_json(wanted)
        what = f"order:{order_id}"
        await audited(session, caller, "order.replaced", object=what, clock=services.clock, wanted=shown)
        return Answer(202, shown)

    return await once.run(caller, body, work)


@router.get("/fills")
async def fills(
    caller: SignedIn,
    services: Services,
    account_id: QueryId = None,
    order_id: QueryId = None,
    run_id: QueryId = None,
    limit: Limit = 50,
    before: Annotated[datetime | None, Query()] = None,
) -> Json:
    """Your fills, newest first. `before` is a time with zone."""
    async with services.sessions.begin() as session:
        found = await list_fills(
            session,
            user_id=caller.user_id,
            account_id=account_id,
            order_id=order_id,
            run_id=run_id,
            limit=limit,
            before=before,
        )
    return {"fills": to_json(found)}
