"""Binance's error codes and texts (errors.md of the official documentation)."""

from __future__ import annotations

from typing import Any

OUTSIDE_WINDOW = -1021


class ApiError(Exception):
    """A refusal as Binance words it: `code`, `msg` and `data` go into the body, `status` is the HTTP status."""

    def __init__(
        self, code: int, msg: str, status: int = 400, *, retry_after_s: int | None = None, data: Any = None
    ) -> None:
        super().__init__(f"{code} {msg}")
        self.code = code
        self.msg = msg
        self.status = status
        self.retry_after_s = retry_after_s
        self.data = data


class StartError(Exception):
    """The exchange cannot start; the text says why and what would help."""


def too_much_weight(limit: int, retry_after_s: int) -> ApiError:
    """-1003: the request weight of this minute is used up."""
    return ApiError(
        -1003,
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
        429,
        retry_after_s=retry_after_s,
    )


def too_many_requests(limit: int, retry_after_s: int) -> ApiError:
    """-1003: too many requests in five minutes, whatever they weigh."""
    msg = f"Too many requests; current limit is {limit} requests per 5 MINUTE."
    return ApiError(-1003, msg, 429, retry_after_s=retry_after_s)


def banned(until_ms: int, retry_after_s: int) -> ApiError:
    """-1003 with 418: the address went on after a 429."""
    return ApiError(
        -1003,
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
        418,
        retry_after_s=retry_after_s,
    )


def too_many_orders(limit: int, per: str, retry_after_s: int) -> ApiError:
    """-1015: too many unfilled orders."""
    msg = f"Too many new orders; current limit is {limit} orders per {per}."
    return ApiError(-1015, msg, 429, retry_after_s=retry_after_s)


def too_many_connections(limit: int, retry_after_s: int) -> ApiError:
    """-1034."""
    msg = f"Too many connection attempts from IP; current limit is {limit} per '5 MINUTE'."
    return ApiError(-1034, msg, 429, retry_after_s=retry_after_s)


def unsupported() -> ApiError:
    """-1020."""
    return ApiError(-1020, "This operation is not supported.")


def rejected(msg: str) -> ApiError:
    """-2010: the matching engine refuses a new order."""
    return ApiError(-2010, msg)


def cancel_rejected(msg: str = "Unknown order sent.") -> ApiError:
    """-2011: the matching engine refuses a cancel."""
    return ApiError(-2011, msg)


def amend_rejected(msg: str = "Unknown order sent.") -> ApiError:
    """-2038: the matching engine refuses to amend an order."""
    return ApiError(-2038, msg)


def invalid(msg: str) -> ApiError:
    """-1013: the request is refused before it reaches the matching engine."""
    return ApiError(-1013, msg)


def filter_failure(name: str) -> ApiError:
    """-1013 with the name of the filter that was broken."""
    return invalid(f"Filter failure: {name}")


def illegal_characters(name: str, legal: str) -> ApiError:
    """-1100: a value does not have the form its parameter allows."""
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def missing(name: str) -> ApiError:
    """-1102: a mandatory parameter is absent or malformed."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def one_of(name: str, other: str) -> ApiError:
    """-1102: one of two parameters is mandatory."""
    return ApiError(-1102, f"Param '{name}' or '{other}' must be sent, but both were empty/null!")


def bad_combination() -> ApiError:
    """-1128."""
    return ApiError(-1128, "Combination of optional parameters invalid.")


def not_valid(name: str) -> ApiError:
    """-1130."""
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def not_required(name: str) -> ApiError:
    """-1106: a parameter that this kind of request must not carry."""
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")


def too_precise(name: str) -> ApiError:
    """-1111: more decimals than the asset has."""
    return ApiError(-1111, f"Parameter '{name}' has too much precision.")


def bad_symbol() -> ApiError:
    """-1121."""
    return ApiError(-1121, "Invalid symbol.")


def no_such_order() -> ApiError:
    """-2013."""
    return ApiError(-2013, "Order does not exist.")


def wrong_client_id() -> ApiError:
    """-2039: the order has another client id."""
    return ApiError(-2039, "Client order ID is not correct for this order ID.")


def bad_key_format() -> ApiError:
    """-2014: no usable API key was sent."""
    return ApiError(-2014, "API-key format invalid.", 401)


def unknown_key() -> ApiError:
    """-2015: the key is not one of ours."""
    return ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def bad_signature() -> ApiError:
    """-1022."""
    return ApiError(-1022, "Signature for this request is not valid.")


def outside_window() -> ApiError:
    """-1021: too old."""
    return ApiError(OUTSIDE_WINDOW, "Timestamp for this request is outside of the recvWindow.")


def ahead_of_time() -> ApiError:
    """-1021: from the future."""
    return ApiError(OUTSIDE_WINDOW, "Timestamp for this request was 1000ms ahead of the server's time.")
