"""Settings of the paper exchange."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.domain.intrabar import RULES, Preset, PresetRules
from app.paper_exchange.errors import StartError
from app.paper_exchange.mirror import BINANCE, Upstream

DEFAULT_PORT = 8701
DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT")
DEFAULT_HISTORY_DAYS = 1095
#: All limits away: `replace(settings, **NO_LIMITS)`.
NO_LIMITS: dict[str, Any] = dict.fromkeys(
    (
        "weight_limit_per_minute", "raw_limit_per_5_minutes", "connection_limit_per_5_minutes",
        "order_limit_per_10_s", "order_limit_per_day", "stream_messages_per_s",
    ), 0
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """Everything `serve` needs. `control_token` or `control_token_file` guards the control endpoints that change
    something; with neither they answer 403.
    """

    data_file: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT  # 0: the system picks one
    control_token: str | None = None
    control_token_file: Path | None = None
    #: Markets made at the first start; synthetic ones with that many days of history.
    symbols: tuple[str, ...] = DEFAULT_SYMBOLS
    history_days: int = DEFAULT_HISTORY_DAYS
    source: str = "synthetic"  # of the first start: "synthetic", "mirror", or "replay" of `replay_file`
    replay_file: Path | None = None
    upstream: Upstream = BINANCE  # what mirrored markets follow
    seed: int = 1
    preset: Preset = Preset.REALISTIC
    half_spread_bps: Decimal | None = None  # instead of the preset's own
    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    weight_limit_per_minute: int = 6000  # per address; 0: none, as for every limit below
    raw_limit_per_5_minutes: int = 300_000  # requests, per address
    connection_limit_per_5_minutes: int = 300  # WebSocket connections, per address
    order_limit_per_10_s: int = 50  # unfilled orders, per account
    order_limit_per_day: int = 160_000
    stream_messages_per_s: int = 5  # that a client sends on a stream connection
    refusals_before_ban: int = 5  # in a minute
    first_ban_s: float = 120.0  # each further one is twice as long
    connection_life_s: float = 86_400.0
    shutdown_notice_s: float = 0.1  # between serverShutdown and the end of the connections
    faults: bool = False  # whether faults may be asked for
    port_file: Path | None = None  # the port is written here once it is listened on

    def preset_rules(self) -> PresetRules:
        """The preset's numbers, with the spread of these settings."""
        rules = RULES[self.preset]
        return rules if self.half_spread_bps is None else replace(rules, half_spread_bps=self.half_spread_bps)

    def read_token(self) -> str | None:
        """The control token. Raises StartError when its file cannot be read or is empty."""
        if self.control_token is not None:
            return self.control_token
        if self.control_token_file is None:
            return None
        try:
            token = self.control_token_file.read_text().strip()
        except OSError as error:
            raise StartError(f"The control token file {self.control_token_file} cannot be read: {error}") from error
        if not token:
            raise StartError(f"The control token file {self.control_token_file} is empty")
        return token
