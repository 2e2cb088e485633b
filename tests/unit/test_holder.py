"""A lease whose holder was killed on this machine is taken over at once; anybody else's has to run out."""

from __future__ import annotations

import subprocess
import sys

from app.jobs import holder


def test_a_living_process_is_not_gone() -> None:
    assert not holder.is_gone(holder.this_process())


def test_a_process_that_ended_is_gone() -> None:
    name = subprocess.run(
        [sys.executable, "-c", "from app.jobs import holder; print(holder.this_process())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

    assert holder.is_gone(name)


def test_a_pid_used_again_is_another_process() -> None:
    host, pid, started = holder.this_process().rsplit(":", 2)

    assert holder.is_gone(f"{host}:{pid}:{int(started) - 100}")


def test_a_process_of_another_host_cannot_be_judged() -> None:
    assert not holder.is_gone("elsewhere:1:1")
    assert not holder.is_gone("")
