"""PostgreSQL: the engine, notifications, migrations and the embedded server."""
