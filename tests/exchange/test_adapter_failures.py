"""Whatever the network does to a request: the right outcome, and exactly one request on the wire."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.domain.orders import OrderType, Side, TimeInForce
from app.services.exchange.binance import BinanceMarketData, BinanceSession, Endpoints
from app.services.exchange.protocol import (
    AskingFailed,
    CancelRejected,
    Confirmed,
    Found,
    NoInformation,
    NotSent,
    NotVisible,
    OrderRequest,
    Refused,
    Unknown,
)
from app.services.exchange.signing import Ed25519Key
from app.services.exchange.weight import WeightBudget
from app.services.runtime import SystemClock
from tests.exchange.raw_server import RawServer, Reply, answer, cut, late, raw_server

API_KEY = "k" * 64
SIGNED_MS = 1_795_000_000_123
LIMIT = OrderRequest(
    "pl-one", "BTCUSDT", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, quantity=Decimal("0.0100"), price=Decimal("9E+4")
)
ORDER = {
    "symbol": "BTCUSDT", "orderId": 7, "orderListId": -1, "clientOrderId": "pl-one", "transactTime": SIGNED_MS,
    "price": "90000.00000000", "origQty": "0.01000000", "executedQty": "0.00000000",
    "cummulativeQuoteQty": "0.00000000", "status": "NEW", "timeInForce": "GTC", "type": "LIMIT", "side": "BUY",
    "fills": [], "aFieldOfTomorrow": {"x": 1},
}  # fmt: skip
CANCELED = {**ORDER, "origClientOrderId": "pl-one", "clientOrderId": "of-the-cancel", "status": "CANCELED"}
HTML = "<html><body>Something went wrong</body></html>"


def error(status: int, code: int, message: str = "words", **headers: str) -> Reply:
    return answer(status, {"code": code, "msg": message}, {k.replace("_", "-"): v for k, v in headers.items()})


def truncated() -> Reply:
    return cut(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"symbol":"BTC')


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as made:
        yield made


@pytest.fixture
def budget() -> WeightBudget:
    return WeightBudget(clock=SystemClock())


@pytest.fixture
def key() -> Ed25519Key:
    return Ed25519Key.generate()


@pytest.fixture
async def session(server: RawServer, budget: WeightBudget, key: Ed25519Key) -> AsyncIterator[BinanceSession]:
    made = BinanceSession(
        Endpoints.paper(server.url), API_KEY, key, clock=SystemClock(), budget=budget, jitter=lambda: 0.0,
        total_timeout_s=0.5,
    )  # fmt: skip
    yield made
    await made.close()


async def place(session: BinanceSession, request: OrderRequest = LIMIT) -> Any:
    return await session.place(request, signed_timestamp_ms=SIGNED_MS, recv_window_ms=4_321)


async def cancel(session: BinanceSession) -> Any:
    return await session.cancel("BTCUSDT", client_order_id="pl-one", exchange_order_id=None)


async def query(session: BinanceSession) -> Any:
    return await session.query("BTCUSDT", client_order_id="pl-one", exchange_order_id=7)


AMBIGUOUS: dict[str, Callable[[], Reply]] = {
    "500 with -1006": lambda: error(500, -1006),
    "503 with -1007": lambda: error(503, -1007),
    "503 with -1008": lambda: error(503, -1008),
    "400 with -1000": lambda: error(400, -1000),
    "502 with HTML": lambda: answer(502, HTML, kind="text/html"),
    "504 and nothing": lambda: answer(504, ""),
    "404 with HTML": lambda: answer(404, HTML, kind="text/html"),
    "410 with HTML": lambda: answer(410, HTML, kind="text/html"),
    "200 with HTML": lambda: answer(200, HTML, kind="text/html"),
    "200 and nothing": lambda: answer(200, ""),
    "200 with half of the JSON": lambda: answer(200, '{"symbol":"BTCUSDT","orderId":7,'),
    "200 with a list": lambda: answer(200, []),
    "200 with {}": lambda: answer(200, {}),
    "200 with no order id": lambda: answer(200, {k: v for k, v in ORDER.items() if k != "orderId"}),
    "200 with no number": lambda: answer(200, {**ORDER, "executedQty": "NaN"}),
    "200 with a deep body": lambda: answer(200, "[" * 100_000),
    "200 about another order": lambda: answer(200, {**CANCELED, "origClientOrderId": "pl-two", "orderId": 8}),
    "200 about another symbol": lambda: answer(200, {**CANCELED, "symbol": "ETHUSDT"}),
    "201 with an order": lambda: answer(201, CANCELED),
    "200 cut off in the body": truncated,
    "cut off in the headers": lambda: cut(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "no HTTP at all": lambda: cut(b"220 smtp.example.com ESMTP\r\n"),
    "cut without a byte": cut,
    "reset without a byte": lambda: cut(reset=True),
    "an answer that comes too late": lambda: late(1.0, answer(200, ORDER)),
    "a body that never ends": lambda: late(0.0, cut_slowly),
}


async def cut_slowly(writer: Any) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
    await writer.drain()
    return True


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_an_order_with_no_usable_answer_is_unknown_and_was_sent_once(
    session: BinanceSession, server: RawServer, name: str
) -> None:
    server.will(AMBIGUOUS[name](), answer(200, ORDER))
    outcome = await place(session)
    assert isinstance(outcome, Unknown), outcome
    assert outcome.reason
    assert [request.method for request in server.requests] == ["POST"]


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_a_cancel_with_no_usable_answer_is_unknown_and_was_sent_once(
    session: BinanceSession, server: RawServer, name: str
) -> None:
    server.will(AMBIGUOUS[name](), answer(200, CANCELED))
    outcome = await cancel(session)
    assert isinstance(outcome, Unknown), outcome
    assert [request.method for request in server.requests] == ["DELETE"]


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_a_question_with_no_usable_answer_is_no_information_and_was_asked_once(
    session: BinanceSession, server: RawServer, name: str
) -> None:
    server.will(AMBIGUOUS[name](), answer(200, ORDER))
    outcome = await query(session)
    assert isinstance(outcome, NoInformation), outcome
    assert [request.method for request in server.requests] == ["GET"]


@pytest.mark.parametrize("name", sorted(AMBIGUOUS.keys() - {"200 with a list"}))
async def test_a_list_with_no_usable_answer_fails_and_was_asked_once(
    session: BinanceSession, server: RawServer, name: str
) -> None:
    reply = AMBIGUOUS[name]()
    server.will(reply, answer(200, []))
    with pytest.raises(AskingFailed):
        await session.open_orders()
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", [place, cancel, query])
async def test_a_request_on_a_kept_connection_that_drops_is_not_sent_again(
    session: BinanceSession, server: RawServer, call: Callable[[BinanceSession], Any]
) -> None:
    server.will(answer(200, ORDER), cut(), answer(200, CANCELED))
    assert isinstance(await query(session), Found)
    assert isinstance(await call(session), Unknown | NoInformation)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [place, cancel, query])
async def test_a_redirect_is_not_followed_and_no_secret_goes_to_another_host(
    session: BinanceSession, server: RawServer, status: int, call: Callable[[BinanceSession], Any]
) -> None:
    async with raw_server() as other:
        server.will(answer(status, "", {"Location": f"{other.url}/api/v3/order"}))
        outcome = await call(session)
        assert isinstance(outcome, Unknown | NoInformation), outcome
        assert other.requests == []
    assert len(server.requests) == 1


async def test_refusals_and_confirmations_come_through(session: BinanceSession, server: RawServer) -> None:
    server.will(error(400, -2010, "Account has insufficient balance for requested action."))
    assert await place(session) == Refused("-2010", "Account has insufficient balance for requested action.")
    server.will(error(400, -2010, "Duplicate order sent."))
    assert isinstance(await place(session), Unknown)
    server.will(answer(200, ORDER))
    outcome = await place(session)
    assert isinstance(outcome, Confirmed)
    assert (outcome.report.exchange_order_id, outcome.report.price) == (7, Decimal(90_000))
    assert outcome.raw["aFieldOfTomorrow"] == {"x": 1}
    server.will(error(400, -2011, "Unknown order sent."))
    assert await cancel(session) == CancelRejected("Unknown order sent.")
    server.will(answer(200, CANCELED))
    canceled = await cancel(session)
    assert isinstance(canceled, Confirmed)
    assert canceled.report.client_order_id == "pl-one"
    server.will(error(400, -2013, "Order does not exist."))
    assert await query(session) == NotVisible()


async def test_after_a_429_nobody_on_this_address_sends_before_it_is_over(
    session: BinanceSession, server: RawServer, budget: WeightBudget
) -> None:
    server.will(error(429, -1003, "Too much request weight used.", Retry_After="30"))
    outcome = await place(session)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.retry_after_s) == ("-1003", 30.0)
    neighbour = BinanceMarketData(Endpoints.paper(server.url), clock=SystemClock(), budget=budget, jitter=lambda: 0.0)
    with pytest.raises(AskingFailed):
        await neighbour.prices()
    await neighbour.close()
    assert isinstance(await place(session), NotSent)
    assert isinstance(await cancel(session), NotSent)
    assert isinstance(await query(session), NoInformation)
    assert len(server.requests) == 1


async def test_a_ban_with_an_html_page_is_a_refusal_and_a_pause(session: BinanceSession, server: RawServer) -> None:
    server.will(answer(418, HTML, {"Retry-After": "120"}, kind="text/html"))
    outcome = await place(session)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.retry_after_s) == ("418", 120.0)
    assert isinstance(await place(session), NotSent)
    assert len(server.requests) == 1


async def test_too_many_orders_of_one_account_do_not_stop_the_others(
    session: BinanceSession, server: RawServer
) -> None:
    server.will(error(429, -1015, "Too many new orders.", Retry_After="10"), answer(200, CANCELED))
    assert isinstance(await place(session), Refused)
    assert isinstance(await cancel(session), Confirmed)


async def test_the_firewalls_page_is_a_refusal(session: BinanceSession, server: RawServer) -> None:
    server.will(answer(403, HTML, kind="text/html"))
    assert isinstance(await place(session), Refused)


async def test_the_weight_the_exchange_counts_is_adopted_from_each_answer(
    session: BinanceSession, server: RawServer, budget: WeightBudget
) -> None:
    server.will(answer(200, ORDER, {"X-MBX-USED-WEIGHT-1M": "4321"}))
    await query(session)
    assert budget.used == 4_321
    server.will(answer(200, ORDER, {"X-MBX-USED-WEIGHT-1M": "a lot"}))
    assert isinstance(await query(session), Found)


async def test_nothing_is_sent_before_it_is_asked_for(session: BinanceSession, server: RawServer) -> None:
    assert server.requests == []


async def test_the_bytes_on_the_wire_are_the_bytes_that_were_signed(
    session: BinanceSession, server: RawServer, key: Ed25519Key
) -> None:
    server.will(answer(200, ORDER), answer(200, CANCELED), answer(200, ORDER))
    await place(session)
    await cancel(session)
    await query(session)
    public = load_pem_public_key(key.public_key_pem.encode())
    for request in server.requests:
        payload, _, signature = request.form.partition("&signature=")
        public.verify(b64decode(unquote(signature), validate=True), payload.encode())  # type: ignore[union-attr, call-arg]
        assert request.headers["x-mbx-apikey"] == API_KEY


async def test_an_order_goes_out_with_its_own_time_window_and_plain_numbers(
    session: BinanceSession, server: RawServer
) -> None:
    server.will(answer(200, ORDER))
    await place(session)
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/api/v3/order")
    sent = dict(parse_qsl(request.body))
    del sent["signature"]
    assert sent == {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
        "price": "90000", "newClientOrderId": "pl-one", "newOrderRespType": "FULL",
        "timestamp": str(SIGNED_MS), "recvWindow": "4321",
    }  # fmt: skip


async def test_only_one_id_is_named_and_the_exchanges_is_preferred(session: BinanceSession, server: RawServer) -> None:
    server.will(answer(200, ORDER), answer(200, CANCELED))
    await query(session)
    await cancel(session)
    asked, canceled = (dict(parse_qsl(request.form)) for request in server.requests)
    assert (asked["orderId"], "origClientOrderId" in asked) == ("7", False)
    assert (canceled["origClientOrderId"], "orderId" in canceled) == ("pl-one", False)


async def test_a_symbol_outside_ascii_survives_signing(session: BinanceSession, server: RawServer) -> None:
    server.will(answer(200, {**ORDER, "symbol": "币安人生USDT"}))
    outcome = await place(
        session, OrderRequest("pl-one", "币安人生USDT", Side.BUY, OrderType.MARKET, quantity=Decimal(1))
    )
    assert isinstance(outcome, Confirmed)
    assert dict(parse_qsl(server.requests[0].body))["symbol"] == "币安人生USDT"


async def test_an_unreadable_row_makes_the_list_no_information(session: BinanceSession, server: RawServer) -> None:
    server.will(answer(200, [ORDER, {"symbol": "BTCUSDT"}]))
    with pytest.raises(AskingFailed):
        await session.open_orders()
