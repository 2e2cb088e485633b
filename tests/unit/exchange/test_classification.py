"""Every line of the outcome table, one row each."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from app.services.exchange.classification import (
    Failure,
    of_asking,
    of_cancelling,
    of_exception,
    of_listing,
    of_placing,
    read_failure,
)
from app.services.exchange.protocol import CancelRejected, NoInformation, NotSent, NotVisible, Refused, Unknown

KEY = ConnectionKey("127.0.0.1", 1, False, True, None, None, None)

PLACING_REFUSED = [
    (400, -1002, "You are not authorized to execute this request."),
    (400, -1013, "Filter failure: LOT_SIZE"),
    (400, -1013, "Invalid quantity."),
    (400, -1014, "Unsupported order combination."),
    (400, -1016, "This service is no longer available."),
    (400, -1020, "This operation is not supported."),
    (400, -1022, "Signature for this request is not valid."),
    (400, -1100, "Illegal characters found in parameter 'quantity'."),
    (400, -1101, "Too many parameters."),
    (400, -1102, "Mandatory parameter 'side' was not sent."),
    (400, -1104, "Not all sent parameters were read."),
    (400, -1106, "Parameter 'timeInForce' sent when not required."),
    (400, -1111, "Parameter 'quantity' has too much precision."),
    (400, -1121, "Invalid symbol."),
    (400, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
    (400, -1199, "a parameter code that does not exist yet"),
    (400, -2010, "Account has insufficient balance for requested action."),
    (400, -2010, "Market is closed."),
    (400, -2010, "Order would immediately match and take."),
    (400, -2010, "Stop price would trigger immediately."),
]
UNKNOWN_FOR_EVERYTHING = [
    (500, 0, ""),
    (502, 0, ""),
    (503, 0, ""),
    (504, 0, ""),
    (500, -1000, "An unknown error occurred while processing the request."),
    (400, -1000, "An unknown error occurred while processing the request."),
    (500, -1001, "Internal error; unable to process your request."),
    (400, -1001, "Internal error; unable to process your request."),
    (500, -1006, "An unexpected response was received from the message bus."),
    (400, -1006, "An unexpected response was received from the message bus."),
    (503, -1007, "Timeout waiting for response from backend server."),
    (408, -1007, "Timeout waiting for response from backend server."),
    (400, -1007, "Timeout waiting for response from backend server."),
    (503, -1008, "Spot server is currently overloaded with other requests."),
    (429, -1008, "Spot server is currently overloaded with other requests."),
    (503, -1013, "Filter failure: LOT_SIZE"),
    (503, -2010, "Account has insufficient balance for requested action."),
    (503, -2011, "Unknown order sent."),
    (503, -2015, "Invalid API-key, IP, or permissions for action."),
    (503, -1003, "Too many requests."),
    (200, 0, ""),
    (200, -2010, "Account has insufficient balance for requested action."),
    (301, 0, ""),
    (302, 0, ""),
    (307, 0, ""),
    (308, -1013, "a refusal in a redirect"),
    (400, 0, ""),
    (401, 0, ""),
    (404, 0, ""),
    (405, 0, ""),
    (410, 0, ""),
    (400, -1010, "Account has insufficient balance for requested action."),
    (400, -2013, "Order does not exist."),
    (400, -2026, "Order was canceled or expired with no executed qty over 90 days ago and has been archived."),
    (409, -2021, "Order cancel-replace partially failed."),
    (400, -2022, "Order cancel-replace failed."),
    (400, -2035, "User Data Stream subscription already active."),
    (400, -2039, "Client order ID is not correct for this order ID."),
    (400, -9999, "a code that does not exist yet"),
    (400, 7, "a positive code"),
]


@pytest.mark.parametrize(("status", "code", "message"), PLACING_REFUSED)
def test_a_documented_refusal_of_an_order_is_refused(status: int, code: int, message: str) -> None:
    assert of_placing(Failure(status, code, message)) == Refused(str(code), message)


@pytest.mark.parametrize(("status", "code", "message"), UNKNOWN_FOR_EVERYTHING)
def test_whatever_is_not_known_to_be_a_refusal_is_unknown(status: int, code: int, message: str) -> None:
    failure = Failure(status, code, message)
    assert isinstance(of_placing(failure), Unknown)
    assert isinstance(of_cancelling(failure), Unknown)


@pytest.mark.parametrize("message", ["Duplicate order sent.", "duplicate order sent"])
def test_a_duplicate_client_id_means_that_an_order_is_there_to_be_asked_for(message: str) -> None:
    assert of_placing(Failure(400, -2010, message)) == Unknown(f"-2010 {message}")


@pytest.mark.parametrize("of", [of_placing, of_cancelling])
@pytest.mark.parametrize(
    ("status", "code", "expected_code"),
    [(429, -1003, "-1003"), (418, -1003, "-1003"), (429, -1015, "-1015"), (400, -1015, "-1015"), (429, 0, "429"),
     (418, 0, "418")],
)  # fmt: skip
def test_a_rate_limit_is_a_refusal_that_says_how_long_to_wait(of, status: int, code: int, expected_code: str) -> None:  # type: ignore[no-untyped-def]
    outcome = of(Failure(status, code, "Too many.", retry_after_s=12.0))
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.retry_after_s, outcome.freezes_account) == (expected_code, 12.0, False)


@pytest.mark.parametrize("of", [of_placing, of_cancelling])
def test_the_firewalls_html_is_a_refusal(of) -> None:  # type: ignore[no-untyped-def]
    outcome = of(read_failure(403, "<html>Request blocked</html>"))
    assert outcome == Refused("403", "the exchange's firewall refused the request")


@pytest.mark.parametrize("of", [of_placing, of_cancelling])
@pytest.mark.parametrize(("status", "code"), [(401, -2014), (401, -2015), (400, -2015), (403, -2015)])
def test_a_refused_key_freezes_the_account(of, status: int, code: int) -> None:  # type: ignore[no-untyped-def]
    outcome = of(Failure(status, code, "Invalid API-key, IP, or permissions for action."))
    assert isinstance(outcome, Refused)
    assert outcome.freezes_account


@pytest.mark.parametrize("of", [of_placing, of_cancelling])
def test_a_refused_timestamp_asks_for_a_new_clock_reading(of) -> None:  # type: ignore[no-untyped-def]
    outcome = of(Failure(400, -1021, "Timestamp for this request is outside of the recvWindow."))
    assert isinstance(outcome, Refused)
    assert outcome.resyncs_clock


def test_cancelling_what_cannot_be_cancelled_concludes_nothing() -> None:
    assert of_cancelling(Failure(400, -2011, "Unknown order sent.")) == CancelRejected("Unknown order sent.")


def test_a_cancel_with_a_malformed_parameter_is_refused() -> None:
    assert of_cancelling(Failure(400, -1102, "no id")) == Refused("-1102", "no id")


def test_an_order_the_exchange_does_not_show_is_not_visible() -> None:
    assert of_asking(Failure(400, -2013, "Order does not exist.")) == NotVisible()


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, -2013), (200, -2013), (302, 0), (500, 0), (503, -1007), (429, -1003), (418, 0), (403, 0),
     (404, 0), (400, -1021), (400, -1022), (400, -2026), (400, -2039), (400, -1121), (400, -9999)],
)  # fmt: skip
def test_any_other_answer_to_a_question_is_no_information(status: int, code: int) -> None:
    outcome = of_asking(Failure(status, code, "words"))
    assert isinstance(outcome, NoInformation)
    assert not outcome.freezes_account


def test_asking_with_a_refused_key_freezes_the_account() -> None:
    failure = Failure(401, -2015, "Invalid API-key, IP, or permissions for action.")
    assert of_asking(failure) == NoInformation(failure.words, freezes_account=True)
    assert of_listing(failure).freezes_account


def test_a_failed_list_says_how_long_to_wait() -> None:
    assert of_listing(Failure(429, -1003, "Too many requests.", retry_after_s=7.0)).retry_after_s == 7.0


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "refused")),
        aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no such host")),
        aiohttp.ClientConnectorSSLError(KEY, OSError("handshake")),
        aiohttp.ConnectionTimeoutError("Connection timeout to host"),
        aiohttp.InvalidUrlClientError("not a url"),
    ],
)
def test_a_connection_that_never_was_proves_that_nothing_was_sent(error: Exception) -> None:
    assert isinstance(of_exception(error), NotSent)


def test_a_signature_in_an_address_is_not_repeated() -> None:
    error = aiohttp.ConnectionTimeoutError("Connection timeout to host http://x/api/v3/order?a=1&signature=abc now")
    outcome = of_exception(error)
    assert outcome == NotSent("ConnectionTimeoutError: Connection timeout to host http://x/api/v3/order?… now")


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        aiohttp.ServerTimeoutError("slow"),
        aiohttp.SocketTimeoutError("slow"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(104, "reset"),
        aiohttp.ClientConnectionResetError("Cannot write to closing transport"),
        aiohttp.ClientPayloadError("cut off"),
        ConnectionResetError(104, "reset"),
        OSError("anything"),
        ValueError("anything"),
    ],
)
def test_any_other_failure_of_the_connection_is_unknown(error: Exception) -> None:
    outcome = of_exception(error)
    assert isinstance(outcome, Unknown)
    assert type(error).__name__ in outcome.reason


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", "null", "3", '{"code": "x", "msg": "y"}', '{"code": true, "msg": "y"}', '{"msg": "y"}',
     '{"code": -1000}', '{"code": -1000, "msg": 5}', '{"code": -10'],
)  # fmt: skip
def test_an_odd_error_body_has_no_code(body: str) -> None:
    assert read_failure(500, body) == Failure(500, 0, "")


def test_code_and_words_are_read_from_an_error_body() -> None:
    assert read_failure(400, '{"code": -1121, "msg": "Invalid symbol."}', 3.0) == Failure(
        400, -1121, "Invalid symbol.", 3.0
    )
