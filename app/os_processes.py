"""Small things about processes and ports that the operating systems do differently."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

PARENT_VARIABLE = "PLUMBLINE_PARENT_PID"


def die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send `signal_number` when the parent dies (Linux; None elsewhere)."""
    libc = _LIBC  # looked up before the fork: nothing may be loaded after it
    if libc is None:
        return None
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal_number)


def end_with_parent(parent: int | None = None) -> None:
    """End this process when its parent is gone, whatever took it.

    `parent` is that process; None: the supervisor named in the environment, if any. SIGTERM first, so
    that there is time to tidy up; after 10 s the hard way.
    """
    if parent is None:
        parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


@contextmanager
def loading() -> Iterator[None]:
    """Around a process's big imports: nothing they make is garbage, so looking for it wastes a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was loaded stays: later collections need not look at it again
        gc.enable()


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(host: str, port: int) -> bool:
    """Whether we could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
