"""The pages, one module each (a module's components share one JavaScript file). Importing this registers them all."""

from app.pages import (
    admin,
    dashboard,
    incidents,
    login,
    market,
    order,
    orders,
    portfolio,
    reconciliation,
    risk,
    run,
    runs,
    settings,
    setup,
    strategies,
    strategy,
)

__all__ = [
    "admin",
    "dashboard",
    "incidents",
    "login",
    "market",
    "order",
    "orders",
    "portfolio",
    "reconciliation",
    "risk",
    "run",
    "runs",
    "settings",
    "setup",
    "strategies",
    "strategy",
]
