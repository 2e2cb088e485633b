"""The Binance adapter keeps the contract over real HTTP and WebSockets, against the paper exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from app.domain.errors import Conflict, InvalidInput
from app.services.exchange.binance import BinanceMarketData, BinanceSession, Endpoints
from app.services.exchange.clock import measure_offset
from app.services.exchange.paper_control import PaperControlClient
from app.services.exchange.protocol import (
    AskingFailed,
    KlineEvent,
    NoInformation,
    NotSent,
    Refused,
    StreamDown,
    StreamUp,
)
from app.services.exchange.signing import Ed25519Key, HmacSecret
from app.services.exchange.weight import WeightBudget
from app.services.runtime import SystemClock
from tests.exchange.conftest import PaperProcess
from tests.exchange.contract import OPENING, SYMBOL, TradingContract, Venue, confirmed, order, place, query
from tests.exchange.oco_contract import OcoContract

CLOCK = SystemClock()


def _no_jitter() -> float:
    return 0.0


def market_data(url: str) -> BinanceMarketData:
    return BinanceMarketData(Endpoints.paper(url), clock=CLOCK, budget=WeightBudget(clock=CLOCK), jitter=_no_jitter)


def trading(url: str, api_key: str, key: Ed25519Key | HmacSecret) -> BinanceSession:
    return BinanceSession(
        Endpoints.paper(url), api_key, key, clock=CLOCK, budget=WeightBudget(clock=CLOCK), jitter=_no_jitter
    )


@pytest.fixture
async def control(paper_process: PaperProcess) -> AsyncIterator[PaperControlClient]:
    client = PaperControlClient(paper_process.url, paper_process.token_file)
    yield client
    await client.close()


@pytest.fixture
async def venue(paper_process: PaperProcess, control: PaperControlClient) -> AsyncIterator[Venue]:
    key = Ed25519Key.generate()
    balances = {asset: str(amount) for asset, amount in OPENING.items()}
    api_key = await control.create_account("contract", key.public_key_pem, balances)
    session, market = trading(paper_process.url, api_key, key), market_data(paper_process.url)

    async def limited_market() -> None:
        """The synthetic book near the price never holds 80 BTC."""

    yield Venue(session, market, CLOCK, limited_market)
    await session.close()
    await market.close()


class TestPaperExchange(TradingContract):
    """The contract."""


class TestPaperExchangePairs(OcoContract):
    """The contract of order lists."""


async def test_a_shared_secret_signs_as_well(paper_process: PaperProcess, control: PaperControlClient) -> None:
    answer = await control._call("POST", "/paper/accounts", {"label": "hmac", "balances": {"USDT": "1000"}})
    session = trading(paper_process.url, answer["api_key"], HmacSecret(answer["secret"]))
    try:
        balances = await session.balances()
        events = session.user_events()
        assert await anext(events) == StreamUp()
    finally:
        await session.close()
    assert balances["USDT"].free == Decimal(1000)


async def test_anothers_key_is_refused_without_freezing(venue: Venue, paper_process: PaperProcess) -> None:
    api_key = venue.trading._client.API_KEY  # type: ignore[attr-defined]
    thief = trading(paper_process.url, api_key, Ed25519Key.generate())
    try:
        outcome = await place(Venue(thief, venue.market, CLOCK, venue.limited_market), order())
    finally:
        await thief.close()
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.freezes_account) == ("-1022", False)


async def test_a_key_the_exchange_does_not_know_freezes_the_account(venue: Venue, paper_process: PaperProcess) -> None:
    stranger = trading(paper_process.url, "x" * 64, Ed25519Key.generate())
    strange = Venue(stranger, venue.market, CLOCK, venue.limited_market)
    try:
        outcome, asked = await place(strange, order()), await query(strange, order())
        with pytest.raises(AskingFailed) as failure:
            await stranger.open_orders()
        stream = await anext(stranger.user_events())
    finally:
        await stranger.close()
    assert isinstance(outcome, Refused)
    assert outcome.freezes_account
    assert isinstance(asked, NoInformation)
    assert asked.freezes_account
    assert failure.value.freezes_account
    assert isinstance(stream, StreamDown)
    assert "-2015" in stream.reason


@pytest.mark.parametrize("client_id", ["", "with space", "a:b", "ä", "x" * 37])
async def test_an_id_that_would_not_survive_the_wire_is_not_sent(venue: Venue, client_id: str) -> None:
    assert isinstance(await place(venue, order(client_order_id=client_id)), NotSent)


async def test_numbers_that_print_with_an_exponent_go_out_as_plain_decimals(venue: Venue) -> None:
    report = await confirmed(venue, order(quantity=Decimal("1E-2")))
    assert report.executed == Decimal("0.01")


async def test_the_offset_to_the_exchange_on_this_machine_is_small(venue: Venue) -> None:
    sample = await measure_offset(venue.market, CLOCK.now_ms)
    assert abs(sample.offset_ms) <= sample.round_trip_ms + 1


async def test_candles_come_closed_in_order_and_over_pages(venue: Venue) -> None:
    now_ms = CLOCK.now_ms()
    start_ms = now_ms - now_ms % 1000 - 2_400_000
    candles = await venue.market.closed_candles(SYMBOL, "1s", start_ms=start_ms, end_ms=now_ms + 10_000)
    times = [candle.open_time_ms for candle in candles]
    assert len(times) > 2_000
    assert times == sorted(set(times))
    assert times[0] >= start_ms
    assert times[-1] + 1_000 <= CLOCK.now_ms()
    assert all(c.closed and c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high for c in candles)
    two = await venue.market.closed_candles(SYMBOL, "1s", start_ms=times[10], end_ms=times[12])
    assert [candle.open_time_ms for candle in two] == times[10:12]


async def test_candles_are_streamed_until_they_close(venue: Venue) -> None:
    closed: list[KlineEvent] = []
    events = venue.market.market_events([(SYMBOL, "1s"), ("ETHUSDT", "1s")])
    async with asyncio.timeout(15):
        assert await anext(events) == StreamUp()
        async for event in events:
            assert isinstance(event, KlineEvent), event  # no gap is reported while all goes well
            if event.closed:
                closed.append(event)
            if {candle.symbol for candle in closed} == {SYMBOL, "ETHUSDT"} and len(closed) >= 6:
                break
    times = [candle.open_time_ms for candle in closed if candle.symbol == SYMBOL]
    assert times == list(range(times[0], times[0] + 1000 * len(times), 1000))


async def test_unreachable_is_not_sent_and_no_information() -> None:
    with_no_one = trading("http://127.0.0.1:9", "x" * 64, Ed25519Key.generate())
    nowhere = Venue(with_no_one, market_data("http://127.0.0.1:9"), CLOCK, lambda: asyncio.sleep(0))
    try:
        assert isinstance(await place(nowhere, order()), NotSent)
        assert isinstance(await query(nowhere, order()), NoInformation)
        assert isinstance(await anext(with_no_one.user_events()), StreamDown)
        with pytest.raises(AskingFailed):
            await nowhere.market.prices()
    finally:
        await with_no_one.close()
        await nowhere.market.close()


# --- the control client --------------------------------------------------------------------------------


async def test_the_control_client_reads_what_the_markets_show(control: PaperControlClient) -> None:
    assert SYMBOL in {market["symbol"] for market in (await control.status())["symbols"]}


async def test_the_control_client_makes_a_market(control: PaperControlClient) -> None:
    status = await control.set_market("LTCUSDT", {"source": "synthetic", "seed": 7})
    assert (status["symbol"], status["seed"]) == ("LTCUSDT", 7)


async def test_a_bad_wish_is_answered_in_the_exchanges_words(control: PaperControlClient) -> None:
    with pytest.raises(InvalidInput) as refused:
        await control.set_market("LTCUSDT", {"source": "tea leaves"})
    assert "source must be" in refused.value.message
    with pytest.raises(InvalidInput) as refused:
        await control.create_account("x", "no key", {})
    assert refused.value.field == "public_key_pem"


async def test_a_wrong_control_token_is_named(paper_process: PaperProcess, tmp_path) -> None:  # type: ignore[no-untyped-def]
    wrong = tmp_path / "token"
    wrong.write_text("wrong")
    client = PaperControlClient(paper_process.url, wrong)
    with pytest.raises(Conflict) as refused:
        await client.set_market(SYMBOL, {"source": "synthetic"})
    await client.close()
    assert "control token" in refused.value.message


async def test_a_paper_exchange_that_is_not_there_is_no_information(tmp_path) -> None:  # type: ignore[no-untyped-def]
    client = PaperControlClient("http://127.0.0.1:9", tmp_path / "token")
    with pytest.raises(AskingFailed):
        await client.status()
    await client.close()
