"""The pages, one module each (a module's components share one JavaScript file). Importing this registers them all."""

from app.pages import (
    admin,
    dashboard,
    login,
    market,
    order,
    orders,
    portfolio,
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
    "login",
    "market",
    "order",
    "orders",
    "portfolio",
    "risk",
    "run",
    "runs",
    "settings",
    "setup",
    "strategies",
    "strategy",
]
