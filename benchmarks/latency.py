"""How long things take, on this machine, through the real stack: `python benchmarks/latency.py [--clone]`.

    intent commit → exchange ack   from the commit of an order's intent to the moment the exchange's answer (or its
                                   stream, whichever is first) is about to be booked
    fill commit → DOM              from the commit of a fill to its row standing in Chromium's dashboard, unasked
    start                          first start (fresh DATA_DIR, browser app built) and second start until "ready"
    --clone                        also `make run` in a fresh clone: packages installed, browser app built

A stack of its own is started in a temporary folder and removed. It measures one order at a time; nothing else
should be busy on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from api_client import EMAIL, FINAL, PASSWORD, Api, use_setup_link  # noqa: E402
from browser import find_browser, launch_arguments  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402
from stack import READY, Stack, clean_environment, new_stack, wait_for  # noqa: E402

from app.frontend import ensure_built  # noqa: E402
from app.os_processes import free_port  # noqa: E402

#: The time at which each order's fill is first seen in the dashboard's table, ms since 1970.
_WATCH_FILLS = """() => {
  const seen = (window.__seen = {});
  const look = () => {
    const now = performance.timeOrigin + performance.now();
    document.querySelectorAll('[data-testid="fills"] tbody a').forEach((a) => { seen[a.textContent] ??= now; });
  };
  look();
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


class Commits:
    """When transactions were committed, by the notification that each sends: (s since 1970, channel, payload)."""

    def __init__(self, stack: Stack) -> None:
        self.heard: list[tuple[float, str, str]] = []
        self._over = threading.Event()
        url = (stack.home / "secrets" / "web.url").read_text().strip()
        self._thread = threading.Thread(target=self._listen, args=(url,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def first(self, since: float, matches: Callable[[str, str], bool]) -> float:
        """When the first matching one since then was committed."""

        def look() -> float | None:
            return next((at for at, channel, what in list(self.heard) if at >= since and matches(channel, what)), None)

        return wait_for(look, "a notification", within_s=10, every_s=0.005)

    def _listen(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("LISTEN plumbline_work")
            connection.execute("LISTEN plumbline_ui")
            while not self._over.is_set():
                for note in connection.notifies(timeout=0.2):
                    self.heard.append((time.time(), note.channel, note.payload))


def intent_to_ack_ms(api: Api, commits: Commits, account_id: int, count: int) -> list[float]:
    """Resting limit orders, one after the other; each is cancelled again."""
    times = []
    for _ in range(count):
        body = {"account_id": account_id, "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT"}
        body |= {"time_in_force": "GTC", "quantity": "0.001", "price": "70000"}
        before = time.time()
        order_id = api.post("/orders", body)["id"]
        committed = commits.first(before, lambda channel, what: (channel, what) == ("plumbline_work", "orders"))
        events = api.wait_for_order(order_id, {"OPEN"})["events"]
        answered = next(event["recorded_at"] for event in events if event["kind"] == "acknowledged")
        times.append((datetime.fromisoformat(answered).timestamp() - committed) * 1000)
        api.delete(f"/orders/{order_id}")
        api.wait_for_order(order_id, FINAL)
    return times


def fill_to_dom_ms(api: Api, commits: Commits, page: Page, account_id: int, count: int) -> list[float]:
    """Market orders, one after the other, watched on an open dashboard."""
    page.evaluate(_WATCH_FILLS)
    times = []
    for number in range(count):
        side = "SELL" if number % 2 else "BUY"
        body = {"account_id": account_id, "symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": "0.001"}
        before = time.time()
        order_id = api.post("/orders", body)["id"]
        committed = commits.first(before, _is_fill)

        def seen(order_id: int = order_id) -> float | None:
            at: float | None = page.evaluate(f"window.__seen['{order_id}'] ?? null")
            return at

        times.append(wait_for(seen, f"the fill of order {order_id} on the page") - committed * 1000)
        time.sleep(0.3)
    return times


def _is_fill(channel: str, payload: str) -> bool:
    return channel == "plumbline_ui" and json.loads(payload).get("kind") == "fill"


@contextmanager
def dashboard(stack: Stack) -> Iterator[Page]:
    """A signed-in browser on the first page."""
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=launch_arguments())
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{stack.url}/login")
        page.get_by_label("E-mail").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.locator('[data-testid="shell"][data-ready="true"]').wait_for()
        yield page
        browser.close()


def clone_starts_s() -> dict[str, float]:
    """Seconds until ready of two `make run` in a fresh clone of what is committed."""
    folder = Path(tempfile.mkdtemp(prefix="plumbline-clone-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "plumbline")], check=True)
        names = ("make run, fresh clone", "make run, second time")
        return {name: _make_run_s(folder / "plumbline", folder / "data") for name in names}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_run_s(clone: Path, data: Path) -> float:
    environment = clean_environment(PORT=str(free_port()), PAPER_PORT=str(free_port()), DATA_DIR=str(data))
    environment.pop("VIRTUAL_ENV", None)
    begun = time.monotonic()
    process = subprocess.Popen(
        ["make", "run"], cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if READY.search(line):
                return time.monotonic() - begun
        raise SystemExit("make run ended:\n" + "".join(lines[-30:]))
    finally:
        process.send_signal(signal.SIGTERM)  # make has become the command itself (exec)
        process.wait(60)


def percentiles(times: list[float]) -> str:
    """p50, p95 and the worst, in ms."""
    cut = statistics.quantiles(times, n=20, method="inclusive")
    return f"p50 {cut[9]:.0f} ms, p95 {cut[18]:.0f} ms, worst {max(times):.0f} ms ({len(times)} times)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=60, help="how many orders of each kind")
    parser.add_argument("--clone", action="store_true", help="also time `make run` in a fresh clone (minutes)")
    wanted = parser.parse_args()
    results: dict[str, Any] = {}
    ensure_built(lambda line: print(line, file=sys.stderr))
    with new_stack() as stack:
        results["first start"] = _timed(stack)
        use_setup_link(stack)
        with Api(stack.url) as api, dashboard(stack) as page:
            account_id = api.paper_account(usdt="100000", BTC="1")
            page.reload()
            page.locator('[data-testid="shell"][data-ready="true"]').wait_for()
            commits = Commits(stack)
            time.sleep(2)
            results["intent commit → exchange ack"] = percentiles(
                intent_to_ack_ms(api, commits, account_id, wanted.orders)
            )
            results["fill commit → DOM"] = percentiles(fill_to_dom_ms(api, commits, page, account_id, wanted.orders))
            commits.stop()
        stack.stop()
        results["second start"] = _timed(stack)
    if wanted.clone:
        results |= {name: f"{seconds:.1f} s" for name, seconds in clone_starts_s().items()}
    print(f"\n{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for name, value in results.items():
        print(f"{name:32} {value}")


def _timed(stack: Stack) -> str:
    begun = time.monotonic()
    stack.launch()
    stack.wait_for(re.compile(READY.pattern), within_s=300)
    return f"{time.monotonic() - begun:.1f} s"


if __name__ == "__main__":
    main()
