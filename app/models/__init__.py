"""Tables, a file a schema. Importing this package registers every table in `SQLModel.metadata`."""

from app.models import analytics, auth, execution, keys, portfolio, reconciling, strategy

SCHEMAS = ("auth", "strategy", "execution", "portfolio", "backtest", "analytics")

__all__ = ["SCHEMAS", "analytics", "auth", "execution", "keys", "portfolio", "reconciling", "strategy"]
