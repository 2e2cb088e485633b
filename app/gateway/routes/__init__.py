"""The routes, a file a subject. They check the shape of what comes in, call services, shape what goes out."""

from app.gateway.routes import (
    accounts,
    auth,
    health,
    incidents,
    kill_switches,
    market,
    orders,
    paper_markets,
    portfolio,
    reconciliation,
    strategies,
    users,
)

ROUTERS = (
    health.router,
    auth.router,
    orders.router,
    accounts.router,
    portfolio.router,
    strategies.router,
    market.router,
    paper_markets.router,
    kill_switches.router,
    reconciliation.router,
    incidents.router,
    users.router,
)
