"""Loops over arrays, compiled by numba where it is installed; where it is not, the same functions run as plain Python.

Both give the same bits: a loop is one sequence of IEEE 754 double operations, without fastmath (so no reordering and no
fused multiply-add) and without parallel reductions. numba's own switch NUMBA_DISABLE_JIT=1 turns compiling off.

Compiled code is cached beside the source (or in NUMBA_CACHE_DIR), keyed by the source file and the CPU. A compiled
function therefore calls no other compiled function: the cache would not notice that the other has changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

#: Shorter arrays are not worth loading numba for, which takes half a second.
WORTH_COMPILING = 10_000

P = ParamSpec("P")
R = TypeVar("R")


def can_compile() -> bool:
    """Whether numba is installed and not switched off."""
    try:
        import numba
    except ImportError:
        return False
    return not getattr(numba.config, "DISABLE_JIT", 0)


def pays(length: int) -> bool:
    """Whether loops over arrays as long as this are worth compiling here."""
    return length >= WORTH_COMPILING and can_compile()


def _argument(value: Any) -> Any:
    # Memory-mapped and pandas arrays are read-only; seeing all arrays so keeps it to one compiled version.
    if not isinstance(value, np.ndarray):
        return value
    view = np.ascontiguousarray(value).view()
    view.flags.writeable = False
    return view


class compiled(Generic[P, R]):  # noqa: N801 - used as a decorator
    """Decorator: compile at the first call. Array arguments are inputs only; results are returned."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.plain = function
        self._ready: Callable[..., R] | None = None

    def __call__(self, *args: P.args, **_none: P.kwargs) -> R:
        ready = self._ready or self._get_ready(args)
        with np.errstate(all="ignore"):
            return ready(*map(_argument, args))

    def load(self) -> None:
        """Compile now, or load what was compiled before."""
        self._ready = self._ready or self._compile()

    def _get_ready(self, args: tuple[object, ...]) -> Callable[..., R]:
        longest = max((value.size for value in args if isinstance(value, np.ndarray)), default=0)
        if longest < WORTH_COMPILING and "numba" not in sys.modules:
            return self.plain
        self.load()
        return self._ready or self.plain

    def _compile(self) -> Callable[..., R]:
        if not can_compile():
            return self.plain
        import numba

        options: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
        try:
            ready: Callable[..., R] = numba.njit(cache=True, **options)(self.plain)
        except RuntimeError:  # no folder that can be written to: compiled anew in each process
            ready = numba.njit(**options)(self.plain)
        return ready
