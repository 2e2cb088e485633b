"""The venue of an exchange's candles: a decision on an account is made on its own exchange's and no other."""

from __future__ import annotations

from app.models.execution import AccountKind

#: A paper symbol's venue is that of its market (`paper:3`): another replay is another venue.
VENUES: dict[str, str] = {AccountKind.LIVE.value: "binance", AccountKind.TESTNET.value: "testnet"}
