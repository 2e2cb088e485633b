"""Which process holds the worker's lease, and whether it still lives, as far as this machine can tell."""

from __future__ import annotations

import os
import socket

import psutil


def this_process() -> str:
    """`host:pid:start time`: unique even when the system uses a pid again."""
    return _name(os.getpid())


def is_gone(holder: str) -> bool:
    """Whether `holder` was a process of this host that certainly runs no more. False when that cannot be told."""
    host, _, rest = holder.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return False
    return not psutil.pid_exists(int(rest)) or _name(int(rest)) != holder


def _name(pid: int) -> str:
    try:
        started = int(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        started = 0
    return f"{socket.gethostname()}:{pid}:{started}"
