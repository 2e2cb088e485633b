"""What an exchange's answer, or the lack of one, means for the request that was sent.

Pure. The rule above all rows: **whatever is not known to be a refusal is unknown.** An order taken for
refused although it rests on the book is an unhedged position; one taken for unknown costs a few queries.

Source: Binance Spot API, errors.md; rest-api.md "HTTP Return Codes" and "General API Information" ("HTTP 5XX
… the execution status is UNKNOWN and could have been a success").
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import aiohttp

from app.services.exchange.protocol import (
    AskingFailed,
    CancelRejected,
    NoInformation,
    NotSent,
    NotVisible,
    Refused,
    Unknown,
)

MESSAGE_LENGTH = 300

#: UNKNOWN, DISCONNECTED, UNEXPECTED_RESP ("execution status unknown"), TIMEOUT ("… unknown"), SERVER_BUSY.
UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007, -1008})
#: Too many requests, too many orders: refused before the book, for the whole IP or account.
RATE_CODES = frozenset({-1003, -1015})
#: The key is malformed, or key, address or permission is refused: nothing more is sent with it.
KEY_CODES = frozenset({-2014, -2015})
TIMESTAMP_OUTSIDE_WINDOW = -1021
NEW_ORDER_REJECTED = -2010
CANCEL_REJECTED = -2011
NO_SUCH_ORDER = -2013
DUPLICATE_ORDER = "duplicate order sent"
#: Refusals before the matching engine, besides all of -1100…-1199 (malformed requests): UNAUTHORIZED,
#: INVALID_MESSAGE (filters), UNKNOWN_ORDER_COMPOSITION, SHUTTING_DOWN, UNSUPPORTED_OPERATION, INVALID_TIMESTAMP,
#: INVALID_SIGNATURE.
REFUSED_CODES = frozenset({-1002, -1013, -1014, -1016, -1020, TIMESTAMP_OUTSIDE_WINDOW, -1022})

#: The query of an address in an exception's words: it may carry a signature.
_QUERY = re.compile(r"\?\S+")

RATE_STATUSES = frozenset({418, 429})
FIREWALL_STATUS = 403
FIREWALL_CODE = "403"


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not a plain 200: HTTP status, the exchange's code (0: none could be read) and words.

    `retry_after_s` is the `Retry-After` header.
    """

    status: int
    code: int
    message: str
    retry_after_s: float | None = None

    @property
    def words(self) -> str:
        """Short text for logs and reasons."""
        return f"{self.code} {self.message}" if self.code else f"HTTP {self.status} {self.message}".rstrip()


def read_failure(status: int, body: str, retry_after_s: float | None = None) -> Failure:
    """Take code and message out of an error body; a body that is no such JSON has code 0 and no words."""
    try:
        content = json.loads(body)
        code, message = content["code"], content["msg"]
    except (ValueError, TypeError, KeyError):
        code, message = 0, ""
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(message, str):
        code, message = 0, ""
    return Failure(status, code, message[:MESSAGE_LENGTH], retry_after_s)


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a Retry-After header; the form with a date is not used by Binance and ignored."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def is_server_error(failure: Failure) -> bool:
    """5xx, or a code that means the exchange itself does not know."""
    return failure.status >= 500 or failure.code in UNKNOWN_CODES


def of_placing(failure: Failure) -> Refused | Unknown:
    """What an error answer to POST order means."""
    refusal = _refusal(failure)
    if refusal is not None:
        return refusal
    if not is_server_error(failure) and failure.status >= 400 and failure.code == NEW_ORDER_REJECTED:
        if DUPLICATE_ORDER in failure.message.lower():
            # An order with this id is open: it is there, so ask for it and adopt it.
            return Unknown(failure.words)
        return Refused(str(failure.code), failure.message)
    return Unknown(failure.words)


def of_cancelling(failure: Failure) -> CancelRejected | Refused | Unknown:
    """What an error answer to DELETE order means."""
    refusal = _refusal(failure)
    if refusal is not None:
        return refusal
    if not is_server_error(failure) and failure.status >= 400 and failure.code == CANCEL_REJECTED:
        return CancelRejected(failure.message)
    return Unknown(failure.words)


def of_asking(failure: Failure) -> NotVisible | NoInformation:
    """What an error answer to GET order means."""
    if not is_server_error(failure) and failure.status in (400, 404) and failure.code == NO_SUCH_ORDER:
        return NotVisible()
    is_late = failure.code == TIMESTAMP_OUTSIDE_WINDOW and not is_server_error(failure)
    return NoInformation(failure.words, freezes_account=_is_key_refused(failure), resyncs_clock=is_late)


def of_listing(failure: Failure) -> AskingFailed:
    """What an error answer to a list means: nothing, but how long to wait and whether the key is dead."""
    return AskingFailed(
        failure.words,
        code=failure.code,
        freezes_account=_is_key_refused(failure),
        retry_after_s=failure.retry_after_s,
    )


def of_exception(error: Exception) -> NotSent | Unknown:
    """What a failure of the connection means. Only an exception that proves that no byte left is NotSent.

    Times out while connecting and total time-outs are told apart by aiohttp: the former is a
    `ConnectionTimeoutError`, raised before the request is written.
    """
    words = _QUERY.sub("?…", f"{type(error).__name__}: {error}")[:MESSAGE_LENGTH].rstrip(": ")
    never_connected = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL
    if isinstance(error, never_connected):
        return NotSent(words)
    return Unknown(words)


def _refusal(failure: Failure) -> Refused | None:
    """Refusals that mean the same whatever was sent; None if this is not known to be one."""
    if is_server_error(failure):
        return None
    code = str(failure.code)
    if failure.status in RATE_STATUSES or (failure.status >= 400 and failure.code in RATE_CODES):
        words = failure.message or "too many requests from this address"
        return Refused(code if failure.code else str(failure.status), words, retry_after_s=failure.retry_after_s)
    if failure.status == FIREWALL_STATUS and not failure.code:
        return Refused(FIREWALL_CODE, "the exchange's firewall refused the request")
    if failure.status < 400:
        return None
    if _is_key_refused(failure):
        return Refused(code, failure.message, freezes_account=True)
    if failure.code in REFUSED_CODES or -1199 <= failure.code <= -1100:
        return Refused(code, failure.message, resyncs_clock=failure.code == TIMESTAMP_OUTSIDE_WINDOW)
    return None


def _is_key_refused(failure: Failure) -> bool:
    return failure.code in KEY_CODES and not is_server_error(failure)
