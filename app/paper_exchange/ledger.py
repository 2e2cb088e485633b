"""Balances of all accounts: money is locked, spent and freed here and nowhere else.

No balance is ever negative: a step that would make one so raises InvariantViolated.
"""

from __future__ import annotations

from decimal import Decimal

from app.domain.errors import require
from app.domain.money import ZERO
from app.paper_exchange.model import Balance, Changes


class Ledger:
    """Free and locked amounts by account and asset. What it touches is noted in `changes`."""

    def __init__(self) -> None:
        self.accounts: dict[int, dict[str, Balance]] = {}
        self.changes = Changes()

    def balance(self, account_id: int, asset: str) -> Balance:
        """The balance itself (made when it did not exist)."""
        return self.accounts.setdefault(account_id, {}).setdefault(asset, Balance())

    def free(self, account_id: int, asset: str) -> Decimal:
        """What may be used; 0 for an asset the account never had."""
        return self.accounts.get(account_id, {}).get(asset, Balance()).free

    def add(self, account_id: int, asset: str, amount: Decimal) -> None:
        """Credit (or, negative, debit) the free part."""
        balance = self.balance(account_id, asset)
        balance.free += amount
        self._touched(account_id, asset, balance)

    def lock(self, account_id: int, asset: str, amount: Decimal) -> None:
        """Move from free to locked."""
        balance = self.balance(account_id, asset)
        balance.free -= amount
        balance.locked += amount
        self._touched(account_id, asset, balance)

    def spend(self, account_id: int, asset: str, held: Decimal, cost: Decimal) -> None:
        """Take `held` out of the locked part, pay `cost` of it and free the rest."""
        balance = self.balance(account_id, asset)
        balance.locked -= held
        balance.free += held - cost
        self._touched(account_id, asset, balance)

    def release(self, account_id: int, asset: str, amount: Decimal) -> None:
        """Move from locked to free."""
        self.spend(account_id, asset, amount, ZERO)

    def _touched(self, account_id: int, asset: str, balance: Balance) -> None:
        require(
            balance.free >= 0 and balance.locked >= 0,
            "a balance went below zero",
            account=account_id,
            asset=asset,
            free=balance.free,
            locked=balance.locked,
        )
        self.changes.balances.add((account_id, asset))
