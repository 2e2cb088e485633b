"""Commission: how much of a fill, and in which asset it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

from app.domain.money import ZERO
from app.paper_exchange.ledger import Ledger
from app.paper_exchange.model import ASSET_QUANTUM
from app.paper_exchange.orderbook import Market

BNB = "BNB"
#: What is paid of the standard commission when it is paid in BNB.
BNB_SHARE = Decimal("0.75")
_BRIDGE = "USDT"


@dataclass(frozen=True, slots=True)
class Fees:
    """Standard commission rates."""

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")


@dataclass(slots=True)
class Commissions:
    """Takes commission from the asset that was received, or from BNB where the account wants that and has enough."""

    fees: Fees
    ledger: Ledger
    markets: Mapping[str, Market]
    bnb_payers: set[int] = field(default_factory=set)  # accounts that pay in BNB

    def charge(self, account_id: int, received: Decimal, asset: str, *, is_maker: bool) -> tuple[Decimal, str]:
        """Take the commission of a fill whose proceeds are credited already. Returns what was taken, and of what."""
        due = received * (self.fees.maker if is_maker else self.fees.taker)
        paid, paid_in = due.quantize(ASSET_QUANTUM, ROUND_DOWN), asset
        if account_id in self.bnb_payers:
            price = self._bnb_for(asset)
            in_bnb = None if price is None else (due * BNB_SHARE * price).quantize(ASSET_QUANTUM, ROUND_DOWN)
            if in_bnb is not None and self.ledger.free(account_id, BNB) >= in_bnb:
                paid, paid_in = in_bnb, BNB
        self.ledger.add(account_id, paid_in, -paid)
        return paid, paid_in

    def _bnb_for(self, asset: str) -> Decimal | None:
        """What one of an asset is worth in BNB at the markets' last prices; None where no market tells."""
        if asset == BNB:
            return Decimal(1)
        if direct := self._price(BNB + asset):
            return 1 / direct
        if inverse := self._price(asset + BNB):
            return inverse
        bridge, bnb = self._price(asset + _BRIDGE), self._price(BNB + _BRIDGE)
        return bridge / bnb if bridge and bnb else None

    def _price(self, symbol: str) -> Decimal:
        market = self.markets.get(symbol)
        return market.liquidity.price or ZERO if market is not None else ZERO
