"""The API gateway: authentication, authorisation, limits, validation, idempotency, routing. No business logic."""
