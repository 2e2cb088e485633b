"""Changing open orders: cancel and replace, amend and keep priority."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from app.paper_exchange import errors, views
from app.paper_exchange.endpoints import Call, find_open, read_restriction, to_cancel
from app.paper_exchange.errors import ApiError
from app.paper_exchange.model import NewOrder
from app.paper_exchange.orders import ResponseType, read_new_order

_MODES = ("STOP_ON_FAILURE", "ALLOW_FAILURE")
_EXCEEDED_MODES = ("DO_NOTHING", "CANCEL_ONLY")


@dataclass(frozen=True, slots=True)
class _Request:
    new: NewOrder
    response: ResponseType
    order_id: int | None
    client_id: str | None
    cancel_id: str
    restriction: str | None
    stops_on_failure: bool
    cancels_beyond_limit: bool


@dataclass(slots=True)
class _Outcome:
    """The two halves: results by word, their answers, and what must be on disk before they are told."""

    cancel_result: str = "FAILURE"
    new_result: str = "NOT_ATTEMPTED"
    cancel_answer: Any = None
    new_answer: Any = None
    stored: list[asyncio.Future[None]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {
            "cancelResult": self.cancel_result,
            "newOrderResult": self.new_result,
            "cancelResponse": self.cancel_answer,
            "newOrderResponse": self.new_answer,
        }


async def cancel_replace(call: Call) -> Any:
    """Cancel an order and place another. Raises -2022 when neither was done, -2021 (409) when one half was."""
    market, request = call.market(), _read(call)
    await call.to_engine()
    call.exchange.engine.check_request(call.account_id, request.new)
    beyond = _count(call, request)
    outcome = _Outcome()
    _cancel(call, market.rules.symbol, request, outcome)
    if outcome.cancel_result == "SUCCESS" or not request.stops_on_failure:
        _place(call, request, beyond, outcome)
    await asyncio.gather(*outcome.stored)
    answer = outcome.shown()
    done = [outcome.cancel_result, outcome.new_result].count("SUCCESS")
    if done == 2:
        return answer
    status = 409 if done else 400
    if beyond is not None and request.stops_on_failure:
        status = 429
    if done:
        raise ApiError(-2021, "Order cancel-replace partially failed.", status, data=answer)
    raise ApiError(-2022, "Order cancel-replace failed.", status, data=answer)


def _read(call: Call) -> _Request:
    params = call.params
    mode = params.required("cancelReplaceMode")
    exceeded = params.text("orderRateLimitExceededMode") or "DO_NOTHING"
    if mode not in _MODES:
        raise errors.not_valid("cancelReplaceMode")
    if exceeded not in _EXCEEDED_MODES:
        raise errors.not_valid("orderRateLimitExceededMode")
    new, response = read_new_order(params)
    order_id, client_id = params.long("cancelOrderId"), params.client_id("cancelOrigClientOrderId")
    cancel_id = params.client_id("cancelNewClientOrderId") or ""
    restriction = read_restriction(params)
    params.finish()
    if order_id is None and client_id is None:
        raise errors.one_of("cancelOrigClientOrderId", "cancelOrderId")
    return _Request(
        new, response, order_id, client_id, cancel_id, restriction, mode == "STOP_ON_FAILURE", exceeded == "CANCEL_ONLY"
    )


def _count(call: Call, request: _Request) -> ApiError | None:
    """Count the new order. What refuses it, where the cancel is to be tried all the same. Raises -1015."""
    try:
        call.exchange.limits.take_orders(call.account_id, 1, call.exchange.clock.now_ms())
    except ApiError as error:
        if not request.cancels_beyond_limit:
            raise
        return error
    return None


def _cancel(call: Call, symbol: str, request: _Request, outcome: _Outcome) -> None:
    try:
        order = to_cancel(call, symbol, request.order_id, request.client_id, request.restriction)
    except ApiError as error:
        outcome.cancel_answer = _refusal(error)
        return
    cancel_id, stored = call.exchange.cancel([order], request.cancel_id)
    outcome.stored.append(stored)
    outcome.cancel_result, outcome.cancel_answer = "SUCCESS", views.canceled(order, cancel_id)


def _place(call: Call, request: _Request, beyond: ApiError | None, outcome: _Outcome) -> None:
    try:
        if beyond is not None:
            raise beyond
        order, trades, stored = call.exchange.place(call.account_id, request.new)
    except ApiError as error:
        outcome.new_result, outcome.new_answer = "FAILURE", _refusal(error)
        if beyond is None:
            call.exchange.limits.give_orders_back(call.account_id, 1, call.exchange.clock.now_ms())
        return
    outcome.stored.append(stored)
    outcome.new_result, outcome.new_answer = "SUCCESS", views.placed(order, trades, request.response)


def _refusal(error: ApiError) -> dict[str, Any]:
    return {"code": error.code, "msg": error.msg}


# -- amendments ------------------------------------------------------------------------------------------


async def amend_order(call: Call) -> Any:
    """Reduce an open order's quantity; it keeps its place."""
    market, params = call.market(), call.params
    order_id, client_id = params.long("orderId"), params.client_id("origClientOrderId")
    new_id = params.client_id("newClientOrderId") or ""
    params.required("newQty")
    quantity = params.positive("newQty", "newQty")
    params.finish()
    assert quantity is not None
    if order_id is None and client_id is None:
        raise errors.one_of("origClientOrderId", "orderId")
    await call.to_engine()
    order = find_open(call, market.rules.symbol, order_id, client_id)
    if order is None:
        raise errors.amend_rejected()
    lists = call.exchange.engine.lists
    one, members = lists.open.get(order.list_id), list(lists.members(order))
    amendment, stored = call.exchange.amend(order, quantity, new_id)
    answer = views.amended(order, amendment)
    if one is not None:
        shown = views.order_list(one, members)
        names = ("orderListId", "contingencyType", "listOrderStatus", "listClientOrderId", "symbol", "orders")
        answer["listStatus"] = {name: shown[name] for name in names}
    await stored
    return answer


async def amendments(call: Call) -> Any:
    """All amendments of an order."""
    market, params = call.market(), call.params
    params.required("orderId")
    order_id, from_id = params.long("orderId"), params.long("fromExecutionId")
    limit = params.limit(500, 1000)
    params.finish()
    assert order_id is not None
    await call.exchange.store.settled()
    found = call.books("database").amendments(call.account_id, market.rules.symbol, order_id, from_id or 0, limit)
    return [views.amendment_row(one) for one in found]
