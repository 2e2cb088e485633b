"""The pages, one module each (a module's components share one JavaScript file). Importing this registers them all."""

from app.pages import dashboard, login, order, orders, setup

__all__ = ["dashboard", "login", "order", "orders", "setup"]
