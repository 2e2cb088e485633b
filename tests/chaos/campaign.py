"""A round on a stack: trade, strike, calm down, compare. Several rounds share a stack; a failed one ends it."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from api_client import Api, use_setup_link
from both_books import DUPLICATE, OTHER, Difference
from stack import ROOT, wait_for
from strategies import busy, hold, paired

from tests.chaos import chaos_books
from tests.chaos.chaos_stack import ChaosStack
from tests.chaos.draw import LOAD_S, Draw
from tests.chaos.nemesis import Nemesis, Say
from tests.chaos.people import SYMBOL, Person

#: Logs of failed rounds are kept here.
KEPT = ROOT / "test-results" / "chaos"
#: Rounds after which a stack is replaced: histories stay short, and the comparisons quick.
ROUNDS_A_STACK = 25
BY_HAND, TRADING = 2, 2  # accounts with people, accounts with a strategy that trades at every candle
#: How long the books may take to agree besides twice the death bound, s; on a busy machine most of it is waiting.
PATIENCE_S = 60.0
#: Deaths that nobody ordered: the worker or the exchange ended by itself.
_BY_ITSELF = re.compile(r"(worker|paper|web) ended unexpectedly \(exit code (\d+)\)")
_FENCED = "LeaseLost"


@dataclass
class Result:
    """What came of a round."""

    draw: Draw
    differences: list[Difference] = field(default_factory=list)
    missed: str = ""
    orders: int = 0
    settled_s: float = 0.0
    took_s: float = 0.0
    kept: Path | None = None


class Field:
    """A stack with its accounts, runs and resting orders, over some rounds."""

    def __init__(self, *, real_bound: bool, mutant: str = "", say: Say = lambda _: None) -> None:
        self.stack = ChaosStack(real_bound=real_bound, mutant=mutant)
        self.rounds = 0
        self._say = say
        self._resting: dict[int, list[int]] = {}
        self._kept: list[int] = []  # runs of the last round that still hold a protected position
        self._lines_read = 0
        self._orders = 0

    def open(self) -> Field:
        """Start it, with accounts and strategies."""
        use_setup_link(self.stack.start())
        self.api = Api(self.stack.url)
        people = [self.api.paper_account(f"By hand {n}", usdt="2000000", BTC="20") for n in range(BY_HAND)]
        trading = [self.api.paper_account(f"Trading {n}", usdt="100000", BTC="1") for n in range(TRADING)]
        self.accounts = {account_id: n for n, account_id in enumerate([*people, *trading], start=1)}
        self._resting = {account_id: [] for account_id in people}
        at_every_candle, in_pairs = self._strategy(busy()), self._strategy(paired())
        self._trades = [(at_every_candle, people[1]), (at_every_candle, trading[0]), (in_pairs, trading[1])]
        self._held = self._start(self._strategy(hold()), people[0])
        wait_for(lambda: self._plan(self._held) == "PROTECTED", "the held position is protected", within_s=60)
        return self

    def close(self) -> None:
        """Stop and remove it."""
        self.stack.awake()
        try:
            self.stack.stop()
        finally:
            self.stack.remove()

    # --- one round -------------------------------------------------------------------------------------

    def play(self, draw: Draw) -> Result:
        """Play a round. Never raises for what the product does: it is among the differences."""
        began = time.monotonic()
        self.rounds += 1
        result = Result(draw)
        try:
            self._play(draw, result)
        except (AssertionError, httpx.HTTPError, psycopg.Error) as failure:
            result.differences.append(Difference(OTHER, f"{type(failure).__name__}: {failure}"[:1500]))
        result.differences += self._deaths(may_be_fenced=draw.kind in ("two workers", "worker stopped") or draw.stops)
        result.took_s = time.monotonic() - began
        if result.differences:
            result.kept = self._keep_logs(draw, result)
        return result

    def _play(self, draw: Draw, result: Result) -> None:
        stack = self.stack
        self._sell_what_was_kept()
        runs = [self._start(strategy_id, account_id) for strategy_id, account_id in self._trades]
        price = stack.price(SYMBOL)
        people = [
            Person(stack, account_id, draw.people + n, resting, price)
            for n, (account_id, resting) in enumerate(self._resting.items())
        ]
        nemesis = Nemesis(stack, draw, self._say)
        load = threading.Timer(LOAD_S, lambda: None)
        for thread in (*people, load):
            thread.start()
        try:
            nemesis.strike()
            load.join()
        finally:
            for person in people:
                person.stop()
            nemesis.calm()
        self._say("calm")
        stack.wait_until_healthy(within_s=60 + stack.bound_s)
        for person in people:
            person.join(60)
        self._settle(draw, runs, result)
        result.missed = nemesis.missed
        for person in people:
            result.differences += [Difference(OTHER, words) for words in person.done.troubles]
            result.differences += self._keys(person)

    def _settle(self, draw: Draw, runs: list[int], result: Result) -> None:
        """Strategies stop, what is unknown becomes known; then both books must say the same."""
        began = time.monotonic()
        for run_id in runs:
            self._stop(run_id, "keep_protected" if draw.keeps else "close")
        deadline = began + self.stack.bound_s * 2 + PATIENCE_S
        compared = 0.0
        while True:
            if time.monotonic() - compared > 4:  # a reconciliation pass, which otherwise comes each minute
                self.stack.compare_now()
                compared = time.monotonic()
            try:
                result.differences = [*self._unstopped(runs, draw), *chaos_books.look(self.stack, self.accounts)]
            except psycopg.Error as error:  # the database has just come back
                result.differences = [Difference(OTHER, f"the database cannot be asked: {error}")]
            if not result.differences or time.monotonic() > deadline:
                break
            time.sleep(0.25)
        result.settled_s = time.monotonic() - began
        self._kept = runs if draw.keeps else []
        if not result.differences:
            result.differences += chaos_books.rebuilt(self.stack, self.accounts)
        with self.stack.superuser() as database:
            [row] = database.execute("SELECT count(*) AS n FROM execution.orders").fetchall()
        result.orders, self._orders = row["n"] - self._orders, row["n"]

    def _sell_what_was_kept(self) -> None:
        for run_id in self._kept:
            self._stop(run_id, "close")
        for run_id in self._kept:
            wait_for(lambda run=run_id: self._is_over(run), f"run {run_id} is sold", within_s=30, every_s=0.2)

    def _is_over(self, run_id: int) -> bool:
        found = self.api.get(f"/runs/{run_id}")
        return found["run"]["state"] == "STOPPED" and (found["plan"] or {}).get("state", "CLOSED") == "CLOSED"

    def _unstopped(self, runs: list[int], draw: Draw) -> list[Difference]:
        """Runs of this round that are not over yet."""
        with self.stack.superuser() as database:
            rows = database.execute(
                "SELECT r.id, r.state, p.state AS plan FROM strategy.runs r LEFT JOIN execution.plans p"
                " ON p.run_id = r.id AND p.state <> 'CLOSED' WHERE r.id = ANY(%s)", (runs,)
            ).fetchall()  # fmt: skip
        waiting = [r for r in rows if r["state"] != "STOPPED" or (r["plan"] and not draw.keeps)]
        moving = [r for r in rows if r["plan"] in ("ENTERING", "PROTECTING", "EXITING")]
        return [
            Difference(OTHER, f"run {r['id']} is {r['state']}, its plan {r['plan']}")
            for r in {r["id"]: r for r in (*waiting, *moving)}.values()
        ]

    def _keys(self, person: Person) -> list[Difference]:
        """What was answered 201 is there, and one key is one order (the rest is in `chaos_books.RULES`)."""
        with self.stack.superuser() as database:
            sql = "SELECT id, intent_key FROM execution.orders WHERE intent_key LIKE %s"
            rows = database.execute(sql, (f"user:%:{person.done.keys}-%",)).fetchall()
        there = Counter(row["intent_key"].split(":", 2)[2] for row in rows)
        ids = {row["intent_key"].split(":", 2)[2]: row["id"] for row in rows}
        twice = [Difference(DUPLICATE, f"{n} orders for the key {key}") for key, n in there.items() if n > 1]
        wrong = [
            Difference(OTHER, f"the key {key} was answered with order {order_id}, our books have {ids.get(key)}")
            for key, order_id in person.done.orders.items()
            if ids.get(key) != order_id
        ]
        return twice + wrong

    # --- strategies ------------------------------------------------------------------------------------

    def _strategy(self, document: dict[str, Any]) -> int:
        return int(self.api.post("/strategies", {"name": document["name"], "document": document})["id"])

    def _start(self, strategy_id: int, account_id: int) -> int:
        return int(self.api.post(f"/strategies/{strategy_id}/start", {"account_id": account_id})["id"])

    def _plan(self, run_id: int) -> str:
        plan = self.api.get(f"/runs/{run_id}")["plan"]
        return str(plan["state"]) if plan else ""

    def _stop(self, run_id: int, mode: str) -> None:
        """Stop a run; one that was stopped by a recovery is sold all the same when `mode` says so."""

        def answered() -> bool:
            try:
                answer = self.api.send("POST", f"/runs/{run_id}/stop", json={"mode": mode})
            except (httpx.HTTPError, AssertionError):
                return False
            assert answer.status_code in (200, 409, 429, 503), answer.text
            return answer.status_code in (200, 409)

        wait_for(answered, f"run {run_id} is told to stop", within_s=30, every_s=0.3)

    # --- what was printed ------------------------------------------------------------------------------

    def _deaths(self, *, may_be_fenced: bool) -> list[Difference]:
        """Processes that ended although nobody hit them."""
        new, self._lines_read = self.stack.lines[self._lines_read :], len(self.stack.lines)
        found = []
        for place, line in enumerate(new):
            match = _BY_ITSELF.search(line)
            if match and not (may_be_fenced and _FENCED in "\n".join(new[max(0, place - 30) : place + 12])):
                told = " | ".join(new[place : place + 7])
                found.append(Difference(OTHER, f"the {match[1]} ended by itself: {told}"[:1500]))
        return found

    def _keep_logs(self, draw: Draw, result: Result) -> Path:
        place = KEPT / f"round-{draw.number}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.stack.home / "logs", place)
        words = [draw.words(), *(f"{d.kind}: {d.words}" for d in result.differences)]
        try:
            words += ["", "incidents:", *chaos_books.incidents(self.stack), "", "printed:", *self.stack.lines]
        except psycopg.Error as error:
            words.append(f"the database cannot be asked: {error}")
        (place / "round.txt").write_text("\n".join(words))
        return place
