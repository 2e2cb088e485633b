"""The WebSocket API at /ws-api/v3: the REST endpoints by method name, and the user data stream."""

from __future__ import annotations

from aiohttp import web

from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faulty import Faulty
from app.paper_exchange.rest import refusal
from app.paper_exchange.routes import METHODS
from app.paper_exchange.session import CONNECT_WEIGHT, Session, Wishes
from app.paper_exchange.sockets import SocketRules, Sockets
from app.paper_exchange.timeunit import is_microseconds


def add_routes(app: web.Application, exchange: Exchange, sockets: Sockets, faulty: Faulty | None) -> None:
    """Serve /ws-api/v3."""
    rules = SocketRules(life_s=exchange.settings.connection_life_s)

    async def serve(request: web.Request) -> web.StreamResponse:
        address = request.remote or ""
        try:
            wishes = Wishes(
                is_microseconds(request.query.get("timeUnit")), request.query.get("returnRateLimits") != "false"
            )
            exchange.limits.connect(address, exchange.clock.now_ms(), CONNECT_WEIGHT)
        except ApiError as error:
            return refusal(error)
        session = Session(exchange, METHODS, address, wishes, faulty)
        try:
            return await sockets.run(request, session, rules)
        finally:
            session.close()

    app.router.add_get("/ws-api/v3", serve)
