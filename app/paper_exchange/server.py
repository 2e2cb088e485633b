"""The web server around an exchange."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from app.domain.errors import InvariantViolated
from app.paper_exchange import rest, streams, ws_api
from app.paper_exchange.clock import SkewedClock
from app.paper_exchange.control import Control
from app.paper_exchange.errors import StartError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faulty import HEADER, Faulty
from app.paper_exchange.sockets import Sockets

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STEP_MS = 100
MAX_BODY_BYTES = 1 << 20  # of any request but a replay


class Server:
    """Listens, moves the markets, and stops in order."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sockets = Sockets()
        self._faulty: Faulty | None = None
        self._runner: web.AppRunner | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        """Listen and set the markets going. Raises StartError when the port is taken."""
        settings = self._exchange.settings
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._stop_on_broken_books])
        self._allow_faults(app)
        rest.add_routes(app, self._exchange)
        streams.add_routes(app, self._exchange, self._sockets, self._faulty)
        ws_api.add_routes(app, self._exchange, self._sockets, self._faulty)
        Control(self._exchange, settings.read_token(), self._faulty).add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise StartError(
                f"The paper exchange cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
                "Is another one running? Choose another port."
            ) from error
        self.port = self._runner.addresses[0][1]
        if settings.port_file is not None:
            settings.port_file.write_text(str(self.port))
        self._exchange.tick(self._exchange.clock.now_ms())
        self._pulse = asyncio.create_task(self._run_markets())
        log.info("paper exchange ready", url=f"http://{settings.host}:{self.port}", file=str(settings.data_file))

    def _allow_faults(self, app: web.Application) -> None:
        """If this exchange was started with faults allowed: let them work, and say so in every answer."""
        exchange = self._exchange
        if exchange.faults is None or not isinstance(exchange.clock, SkewedClock):
            return
        self._faulty = Faulty(exchange, exchange.faults, exchange.clock, self._sockets)
        app.middlewares.append(self._faulty.middleware)

        async def mark(_: web.Request, response: web.StreamResponse) -> None:
            response.headers[HEADER[0]] = HEADER[1]

        app.on_response_prepare.append(mark)
        log.warning("this paper exchange makes faults when asked to")

    async def wait(self) -> None:
        """Return never; raise what stopped the markets or the file."""
        assert self._pulse is not None
        ends = [asyncio.create_task(event.wait()) for event in (self._exchange.store.failed, self._broken)]
        try:
            await asyncio.wait({self._pulse, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if self._exchange.store.failed.is_set():
            raise StartError("The paper exchange cannot write its file and has stopped; see the log for the reason.")
        if self._pulse.done():
            self._pulse.result()
        raise StartError("The books of the paper exchange contradict themselves; see the log.")

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._pulse is not None:
            self._pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pulse
        if self._sockets.open:
            self._sockets.announce_shutdown(self._exchange.clock.exchange_now_ms())
            await asyncio.sleep(self._exchange.settings.shutdown_notice_s)
            await self._sockets.close_all()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _stop_on_broken_books(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Books that contradict themselves, or that cannot be stored, are not traded on: the process ends."""
        try:
            return await handler(request)
        except InvariantViolated as error:
            log.critical("the books contradict themselves", error=str(error), path=request.path)
            self._broken.set()
        except asyncio.CancelledError:
            if not self._exchange.store.failed.is_set():
                raise
        body = '{"code":-1000,"msg":"An unknown error occurred while processing the request."}'
        return web.Response(status=500, text=body, content_type="application/json")

    async def _run_markets(self) -> None:
        clock = self._exchange.clock
        while True:
            if self._faulty is not None:
                await self._faulty.settle()
            self._exchange.tick(clock.now_ms())
            await clock.sleep((STEP_MS - clock.now_ms() % STEP_MS) / 1000)
