"""The routes, a file a subject. They check the shape of what comes in, call services, shape what goes out."""

from app.gateway.routes import accounts, auth, health, kill_switches, market, orders, users

ROUTERS = (
    health.router,
    auth.router,
    orders.router,
    accounts.router,
    kill_switches.router,
    market.router,
    users.router,
)
