"""What can go wrong with the next call to a `FakeExchange`."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from app.services.exchange.classification import Failure


@dataclass(frozen=True, slots=True)
class Fault:
    """How one call is disturbed: whether the request arrives and when, and what the caller gets instead.

    `instead` is an error answer or a connection failure; None leaves the true answer.
    """

    arrives: bool = True
    instead: Failure | Exception | None = None
    arrives_after_ms: int = 0
    visible_after_ms: int = 0


def answer_lost(*, visible_after_ms: int = 0) -> Fault:
    """The exchange carries the request out; the caller waits in vain."""
    return Fault(instead=TimeoutError("no answer"), visible_after_ms=visible_after_ms)


def request_lost() -> Fault:
    """The connection is cut and the request never arrives; the caller cannot know that."""
    return Fault(arrives=False, instead=aiohttp.ServerDisconnectedError("cut"))


def arrives_late(after_ms: int) -> Fault:
    """The caller gives up; the request reaches the engine `after_ms` later (and may then be outside its window)."""
    return Fault(instead=TimeoutError("no answer"), arrives_after_ms=after_ms)


def unknown_5xx(*, reached: bool = True, visible_after_ms: int = 0) -> Fault:
    """HTTP 503 with -1007 after (or, not `reached`, before) the exchange carried the request out."""
    message = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return Fault(arrives=reached, instead=Failure(503, -1007, message), visible_after_ms=visible_after_ms)


def visible_after(after_ms: int) -> Fault:
    """All goes well, but queries and lists show the order only `after_ms` later."""
    return Fault(visible_after_ms=after_ms)


def refuse(code: int, message: str = "refused by the test", *, status: int = 400, wait_s: float | None = None) -> Fault:
    """The exchange refuses with that code; nothing is carried out."""
    return Fault(arrives=False, instead=Failure(status, code, message, wait_s))


def not_sent() -> Fault:
    """No connection: not one byte leaves."""
    return Fault(arrives=False, instead=aiohttp.InvalidURL("no connection"))
