"""Settings of the paper exchange."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from app.domain.intrabar import RULES, Preset, PresetRules
from app.paper_exchange.errors import StartError

DEFAULT_PORT = 8701


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
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")  # synthetic markets made at the first start
    seed: int = 1
    preset: Preset = Preset.REALISTIC
    half_spread_bps: Decimal | None = None  # instead of the preset's own
    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    weight_limit_per_minute: int = 6000  # per address; 0: none
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
