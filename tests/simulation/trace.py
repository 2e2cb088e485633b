"""What happened, one line a step: time, who, what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Trace:
    """Keeps lines when asked to; counts them and folds them into a fingerprint in any case when `keep` is set."""

    keep: bool
    lines: list[str] = field(default_factory=list)

    def say(self, at_s: float, who: str, what: str, outcome: str = "") -> None:
        """Add a line."""
        if self.keep:
            arrow = f"  → {outcome}" if outcome else ""
            self.lines.append(f"{at_s:9.3f}  {who:<9} {what}{arrow}")
