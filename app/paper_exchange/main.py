"""Run the exchange: `serve(settings)` inside a loop, `run(settings)` as a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from app.domain.clock import Clock
from app.paper_exchange.clock import SkewedClock, WallClock
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.server import Server
from app.paper_exchange.settings import PaperSettings
from app.paper_exchange.store import Store


async def serve(
    settings: PaperSettings, *, clock: Clock | None = None, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serve until cancelled or told to stop by SIGTERM or SIGINT; `on_ready` gets the port.

    Raises StartError with a clear sentence when the file cannot be opened or the port not be bound.
    """
    store = Store.open(settings.data_file)
    clock = clock or WallClock()
    exchange = Exchange(settings, SkewedClock(clock) if settings.faults else clock, store)
    try:
        await exchange.load()
        server = Server(exchange)
        try:
            await server.start()
            if on_ready is not None:
                on_ready(server.port)
            await _until_stopped(server)
        finally:
            await server.stop()
    finally:
        await exchange.mirrors.close()
        await store.close()


async def _until_stopped(server: Server) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    handled = []
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, told.set)
            handled.append(number)
        except (NotImplementedError, RuntimeError, ValueError):
            break  # not the main thread: whoever runs us cancels us
    waiting = [asyncio.create_task(told.wait()), asyncio.create_task(server.wait())]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in waiting:
            task.cancel()
        for number in handled:
            loop.remove_signal_handler(number)


def run(settings: PaperSettings) -> None:
    """Run as a process until SIGTERM or SIGINT."""
    asyncio.run(serve(settings))
