"""The part of reconciliation that compares balances: the checksum of all that was booked.

A difference is shown as long as it stays. It may be a fill on its way, so only one that has stayed the same over
several looks, with no order in doubt, is taken for what it then must be: money that came or went elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from app.domain.clock import Clock, Ids
from app.domain.errors import PlumblineError
from app.domain.money import ZERO, plain
from app.domain.orders import OrderType, Side
from app.domain.symbols import market_part
from app.models.portfolio import AdjustmentKind
from app.models.reconciling import DifferenceKind, DifferenceState
from app.services.exchange.protocol import TradingSession
from app.services.execution import foreign
from app.services.execution.differences import FLATTEN, QUOTE_ASSET
from app.services.execution.intents import OrderDraft, commit_intent
from app.services.execution.store import Store, Transaction
from app.services.execution.store_reconciling import Adjustment, DifferenceRecord, PassResult
from app.services.execution.submit import session_of

#: Pauses between looks at balances that differ: a fill may be on its way while we look.
PAUSES_S = (0.3, 1.0)
#: A difference is booked once it was seen so often, and for so long, unchanged.
LOOKS, STAYS_MS = 3, 120_000
#: For so long after it was sent an order that the exchange did not confirm may still turn out to have traded.
DOUBT_MS = 300_000
BALANCE = DifferenceKind.BALANCE.value
MISMATCH = "BALANCE_MISMATCH"


class Pair(NamedTuple):
    """Totals of one asset."""

    ours: Decimal
    theirs: Decimal

    @property
    def gap(self) -> Decimal:
        """What the exchange has more than our books."""
        return self.theirs - self.ours


class BalanceLooks:
    """Compares an account's totals by asset. `sessions` by account id."""

    def __init__(self, store: Store, sessions: Mapping[int, TradingSession], clock: Clock, ids: Ids | None) -> None:
        self._store = store
        self._ids = ids
        self._sessions = sessions
        self._clock = clock

    async def standing(self, account_id: int) -> dict[str, DifferenceRecord]:
        """Differences of balances that are known already, by asset."""
        async with self._store.transaction() as tx:
            return await _standing(tx, account_id)

    async def differing(self, account_id: int, known: Mapping[str, DifferenceRecord]) -> dict[str, Pair]:
        """Assets whose totals differ. A fill may be on its way, so one that is not known has to stay for a moment."""
        for pause_s in (*PAUSES_S, None):
            theirs = await session_of(self._sessions, account_id).balances()
            totals = {asset: balance.free + balance.locked for asset, balance in theirs.items()}
            async with self._store.transaction() as tx:
                ours = await tx.balances(account_id)
                await tx.see_balances(account_id, totals)
            pairs = {a: Pair(ours.get(a, ZERO), totals.get(a, ZERO)) for a in sorted(ours.keys() | totals.keys())}
            found = {asset: pair for asset, pair in pairs.items() if pair.gap}
            if pause_s is None or all(_is_same(known.get(asset), pair) for asset, pair in found.items()):
                break
            await self._clock.sleep(pause_s)
        return found

    async def settle(self, result: PassResult, differing: Mapping[str, Pair]) -> bool:
        """Keep what differs, book what has stayed, close what has healed. True: our books agree with the exchange."""
        account_id, now_ms = result.account_id, self._clock.exchange_now_ms()
        agrees = True
        async with self._store.transaction() as tx:
            known = await _standing(tx, account_id)
            ours = await tx.balances(account_id)
            doubt = await tx.in_doubt(account_id, now_ms - DOUBT_MS)
            for asset, pair in differing.items():
                same = _is_same(known.get(asset), pair)
                seen = await tx.see_difference(account_id, BALANCE, asset, _facts(asset, pair), same=same, at_ms=now_ms)
                moved = ours.get(asset, ZERO) != pair.ours
                if seen.state == DifferenceState.IGNORED.value:
                    continue
                booked = not moved and (bool(seen.wanted) or (_is_ripe(seen) and not doubt))
                if booked:
                    await self._book(tx, seen, asset, pair.gap, now_ms)
                elif seen.looks >= LOOKS:
                    await tx.add_incident(MISMATCH, _words(asset, pair), account_id=account_id, key=asset)
                agrees = agrees and booked
                result.differences.append({"what": "balance", **_facts(asset, pair), "repaired": booked})
            await self._heal(tx, account_id, known, differing, now_ms)
            await foreign.fit_positions(tx, account_id, clock=self._clock)
        return agrees

    async def _sell(self, tx: Transaction, seen: DifferenceRecord, asset: str, gap: Decimal) -> str:
        """Sell what came, as its owner wants: an order by hand. Returns what came of it."""
        symbol = asset + QUOTE_ASSET
        facts = await tx.trading_facts(seen.account_id, symbol, None, now_ms=self._clock.now_ms())
        quantity = market_part(facts.rules, gap, facts.good_price) if facts is not None and facts.rules else ZERO
        if quantity == 0 or self._ids is None:
            return f"; {plain(gap)} {asset} cannot be sold for {QUOTE_ASSET} here"
        draft = OrderDraft(seen.account_id, symbol, Side.SELL, OrderType.MARKET, quantity=quantity)
        try:
            order = await commit_intent(tx, draft, intent_key=f"difference:{seen.id}", clock=self._clock, ids=self._ids)
        except PlumblineError as refusal:
            return f"; it could not be sold: {refusal.message}"
        return f"; order {order.id} sells {plain(quantity)} of it"

    async def _book(self, tx: Transaction, seen: DifferenceRecord, asset: str, gap: Decimal, now_ms: int) -> None:
        kind = AdjustmentKind.DEPOSIT if gap > 0 else AdjustmentKind.WITHDRAWAL
        words = f"{plain(abs(gap))} {asset} {'came from' if gap > 0 else 'went'} outside, by no trade of this account"
        adjustment = Adjustment(
            account_id=seen.account_id,
            asset=asset,
            change=gap,
            kind=kind.value,
            reason=words,
            reference=f"difference:{seen.id}",
            occurred_ms=seen.first_seen_ms,
        )
        await tx.adjust(adjustment)
        more = await self._sell(tx, seen, asset, gap) if seen.wanted == FLATTEN else ""
        by = seen.wanted_by or foreign.WORKER
        await tx.close_difference(seen.id, DifferenceState.BOOKED.value, by=by, note=words + more, at_ms=now_ms)
        await tx.close_incidents(MISMATCH, account_id=seen.account_id, key=asset)
        details: dict[str, Any] = {"asset": asset, "change": plain(gap), "difference": seen.id, "looks": seen.looks}
        name = f"account:{seen.account_id}"
        await tx.audit(foreign.WORKER, "reconciliation.external_change", name, details, at_ms=now_ms)

    async def _heal(
        self,
        tx: Transaction,
        account_id: int,
        known: Mapping[str, DifferenceRecord],
        differing: Mapping[str, Pair],
        now_ms: int,
    ) -> None:
        healed = [record for asset, record in known.items() if asset not in differing]
        for record in healed:
            state = DifferenceState.GONE.value
            await tx.close_difference(record.id, state, by=foreign.WORKER, note="the totals agree again", at_ms=now_ms)
        for kind, asset in await tx.incident_keys(account_id):
            if kind == MISMATCH and asset not in differing:
                await tx.close_incidents(MISMATCH, account_id=account_id, key=asset)


async def _standing(tx: Transaction, account_id: int) -> dict[str, DifferenceRecord]:
    return {d.key: d for d in await tx.differences(account_id) if d.kind == BALANCE}


def _is_same(known: DifferenceRecord | None, pair: Pair) -> bool:
    """Whether it is the difference that is known already: both totals may have moved meanwhile."""
    return known is not None and known.facts.get("difference") == plain(pair.gap)


def _is_ripe(seen: DifferenceRecord) -> bool:
    return seen.looks >= LOOKS and seen.last_seen_ms - seen.first_seen_ms >= STAYS_MS


def _facts(asset: str, pair: Pair) -> dict[str, Any]:
    return {"asset": asset, "ours": plain(pair.ours), "exchange": plain(pair.theirs), "difference": plain(pair.gap)}


def _words(asset: str, pair: Pair) -> str:
    return (
        f"the exchange holds {plain(pair.theirs)} {asset}, our books say {plain(pair.ours)}, and an order of unknown"
        " outcome may explain it"
    )
