"""What every `TradingSession` must do with two sales of which one cancels the other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from app.domain.orders import OrderType, Side
from app.services.exchange.protocol import (
    CancelRejected,
    Confirmed,
    Found,
    ListConfirmed,
    ListOutcome,
    NotVisible,
    OcoRequest,
    Refused,
    Unknown,
)
from tests.exchange.contract import (
    BASE,
    Venue,
    cancel,
    listening,
    new_id,
    order,
    price_near,
    query,
    reports,
    until,
)


async def pair(venue: Venue, *, below: str = "0.8", above: str = "1.2", quantity: str = "0.01") -> OcoRequest:
    """A stop and a target for the same coins, at these multiples of the last price."""
    size = Decimal(quantity)
    stop = order(OrderType.STOP_LOSS, Side.SELL, quantity=size, stop_price=await price_near(venue, below))
    target = order(OrderType.LIMIT_MAKER, Side.SELL, quantity=size, price=await price_near(venue, above))
    return OcoRequest(new_id(), stop, target)


async def place_pair(venue: Venue, request: OcoRequest, *, age_ms: int = 0) -> ListOutcome:
    """Send with a timestamp that is `age_ms` old."""
    signed_ms = venue.clock.exchange_now_ms() - age_ms
    return await venue.trading.place_oco(request, signed_timestamp_ms=signed_ms, recv_window_ms=5_000)


class OcoContract:
    """The suite."""

    async def test_both_legs_rest_and_lock_the_coins_once(self, venue: Venue) -> None:
        request = await pair(venue)
        outcome = await place_pair(venue, request)
        assert isinstance(outcome, ListConfirmed), outcome
        assert [r.client_order_id for r in outcome.reports] == [leg.client_order_id for leg in request.legs]
        assert [(r.status, r.executed, r.type) for r in outcome.reports] == [
            ("NEW", 0, "STOP_LOSS"),
            ("NEW", 0, "LIMIT_MAKER"),
        ]
        assert (await venue.trading.balances())[BASE].locked == Decimal("0.01")
        resting = {o.client_order_id for o in await venue.trading.open_orders()}
        assert resting == {leg.client_order_id for leg in request.legs}

    async def test_each_leg_is_found_by_its_own_id(self, venue: Venue) -> None:
        request = await pair(venue)
        outcome = await place_pair(venue, request)
        assert isinstance(outcome, ListConfirmed)
        for leg, report in zip(request.legs, outcome.reports, strict=True):
            found = await query(venue, leg)
            assert isinstance(found, Found)
            assert (found.report.exchange_order_id, found.report.status) == (report.exchange_order_id, "NEW")

    async def test_the_stream_tells_both_legs_under_their_own_ids(self, venue: Venue) -> None:
        request = await pair(venue)
        wanted = {leg.client_order_id for leg in request.legs}
        async with listening(venue) as heard:
            await place_pair(venue, request)
            await until(lambda: {r.client_order_id for r in reports(heard) if r.status == "NEW"} == wanted)
            await cancel(venue, request.stop)
            await until(lambda: {r.client_order_id for r in reports(heard) if r.status == "CANCELED"} == wanted)

    async def test_cancelling_either_leg_ends_both_and_frees_the_coins(self, venue: Venue) -> None:
        for which in (0, 1):
            request = await pair(venue)
            await place_pair(venue, request)
            named, other = request.legs[which], request.legs[1 - which]
            outcome = await cancel(venue, named)
            assert isinstance(outcome, Confirmed), outcome
            assert (outcome.report.client_order_id, outcome.report.status) == (named.client_order_id, "CANCELED")
            found = await query(venue, other)
            assert isinstance(found, Found)
            assert found.report.status == "CANCELED"
            assert isinstance(await cancel(venue, other), CancelRejected)
        assert (await venue.trading.balances())[BASE].locked == 0

    async def test_legs_on_the_wrong_side_of_the_price_are_refused_and_neither_is_there(self, venue: Venue) -> None:
        for below, above in (("1.1", "1.2"), ("0.8", "0.9")):
            request = await pair(venue, below=below, above=above)
            outcome = await place_pair(venue, request)
            assert isinstance(outcome, Refused)
            assert (outcome.code, outcome.message) == (
                "-2010",
                "The relationship of the prices for the orders is not correct.",
            )
            for leg in request.legs:
                assert await query(venue, leg) == NotVisible()

    async def test_a_leg_that_breaks_a_filter_refuses_both(self, venue: Venue) -> None:
        request = await pair(venue, quantity="0.00001")
        outcome = await place_pair(venue, request)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.message) == ("-1013", "Filter failure: NOTIONAL")
        assert await venue.trading.open_orders() == []

    async def test_more_coins_than_there_are_cannot_be_bound(self, venue: Venue) -> None:
        outcome = await place_pair(venue, await pair(venue, quantity="60"))
        assert isinstance(outcome, Refused)
        assert outcome.code == "-2010"
        assert "insufficient balance" in outcome.message

    async def test_a_pair_outside_its_window_is_refused(self, venue: Venue) -> None:
        outcome = await place_pair(venue, await pair(venue), age_ms=6_000)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.resyncs_clock) == ("-1021", True)

    async def test_an_id_that_is_taken_leaves_the_outcome_to_be_asked_for(self, venue: Venue) -> None:
        request = await pair(venue)
        await place_pair(venue, request)
        again = replace(request, list_client_order_id=new_id())
        assert isinstance(await place_pair(venue, again), Unknown)
        assert len(await venue.trading.open_orders()) == 2
        assert (await venue.trading.balances())[BASE].locked == Decimal("0.01")
