"""Every answer that is not a success: one shape, one table from error to status, no traceback.

{"error": {"code": "invalid_amount", "message": "...", "field": "price", "request_id": "..."}}
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app.domain.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    NotAllowed,
    NotFound,
    PlumblineError,
    RiskRefused,
    Unavailable,
)
from app.gateway.wire import to_json
from app.logs import get_logger
from app.services.identity.errors import NotSignedIn, TooManyAttempts

log = get_logger(__name__)


class IdempotencyKeyRequired(InvalidInput):
    """A write came without a usable Idempotency-Key."""

    code = "idempotency_key_required"


class TooLarge(InvalidInput):
    """What was sent is larger than we take."""

    code = "too_large"


class CrossSite(NotAllowed):
    """A write that leans on the cookie came from another site's page."""

    code = "cross_site"


class RateLimited(TooManyAttempts):
    """Too many requests in a short time."""

    code = "rate_limited"


#: First match wins, so the special ones stand above their bases.
STATUS: tuple[tuple[type[PlumblineError], int], ...] = (
    (IdempotencyKeyRequired, 400),
    (TooLarge, 413),
    (IdempotencyMismatch, 422),
    (InvalidInput, 422),
    (NotFound, 404),
    (Conflict, 409),
    (RiskRefused, 409),
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (TooManyAttempts, 429),
    (Unavailable, 503),
)
#: Codes for answers that the routing itself gives.
_ROUTING = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
#: Facts of an error that the caller gets too.
_SHOWN_FACTS = ("problems", "reason", "row", "column")


def install(api: FastAPI) -> None:
    """Have `api` answer every error in our shape."""
    api.add_exception_handler(PlumblineError, _handle)
    api.add_exception_handler(RequestValidationError, _handle)
    api.add_exception_handler(HTTPException, _handle)
    for error in (OperationalError, InterfaceError, PoolTimeout):
        api.add_exception_handler(error, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return response_for(error, request_id=getattr(request.state, "request_id", ""))


def response_for(error: Exception, *, request_id: str) -> JSONResponse:
    """The answer for any error. What is not meant for people becomes a plain 500 and a line in the log."""
    if isinstance(error, PlumblineError):
        return _of_ours(error, request_id)
    if isinstance(error, RequestValidationError):
        field, message = _first_complaint(error.errors())
        return answer(422, "invalid_input", message, field=field, request_id=request_id)
    if isinstance(error, HTTPException):
        code = _ROUTING.get(error.status_code, "bad_request")
        return answer(error.status_code, code, str(error.detail), request_id=request_id, headers=error.headers)
    if is_database_away(error):
        log.warning("database not available", error=type(error).__name__, reason=str(getattr(error, "orig", error)))
        message = "The database cannot be reached at the moment. Nothing was changed; please try again shortly."
        return answer(503, "unavailable", message, request_id=request_id, headers={"Retry-After": "5"})
    if isinstance(error, TimeoutError):
        message = "This took too long and was given up. Repeat it with the same Idempotency-Key: it is not done twice."
        return answer(503, "unavailable", message, request_id=request_id, headers={"Retry-After": "5"})
    log.error("unexpected error", exc_info=error)
    message = "Something went wrong on our side. Please report the request id."
    return answer(500, "internal_error", message, request_id=request_id)


def is_database_away(error: Exception) -> bool:
    """Whether the error says that the database cannot be reached, or is too busy to answer in time."""
    if isinstance(error, (OperationalError, InterfaceError, PoolTimeout)):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def answer(
    status: int, code: str, message: str, *, field: str = "", request_id: str, headers: Any = None, **more: Any
) -> JSONResponse:
    """An error answer; `message` is made to look like a sentence."""
    body = {"code": code, "message": sentence(message), "field": field, "request_id": request_id, **more}
    return JSONResponse({"error": body}, status_code=status, headers=headers)


def status_of(error: PlumblineError) -> int:
    """The HTTP status that stands for `error`."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 400)


def sentence(message: str) -> str:
    """`message` with a capital letter and a full stop."""
    message = message.strip()
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?", ":")) else ".")


def _of_ours(error: PlumblineError, request_id: str) -> JSONResponse:
    headers: dict[str, str] = {}
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, NotSignedIn):
        headers["WWW-Authenticate"] = "Bearer"
    code = error.reason if isinstance(error, RiskRefused) else error.code
    more = {name: to_json(error.facts[name]) for name in _SHOWN_FACTS if name in error.facts}
    field = getattr(error, "field", "")
    return answer(status_of(error), code, error.message, field=field, request_id=request_id, headers=headers, **more)


def _first_complaint(errors: Any) -> tuple[str, str]:
    """(field, sentence) of the first thing pydantic did not like."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "", f"The body is not valid JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
    path = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    field = ".".join(path)
    named = f"The field {field}" if field else "The body"
    if first["type"] == "missing":
        return field, f"{named} is missing."
    if first["type"] == "extra_forbidden":
        return field, f"{named} is not known here."
    reason = str(first["msg"]).removeprefix("Value error, ")
    return field, f"{named}: {reason[:1].lower()}{reason[1:]}"
