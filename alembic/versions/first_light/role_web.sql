-- The web process: what people do. It decides orders (T1) and asks for cancels; it books nothing, holds no
-- lease and never sees a private key.

GRANT USAGE ON SCHEMA auth, strategy, execution, portfolio, analytics TO web;
GRANT SELECT ON public.alembic_version TO web;

-- People and their sessions. The audit log is written through its function only.
GRANT SELECT, INSERT ON auth.users TO web;
GRANT UPDATE (email, password_hash, role, disabled_at) ON auth.users TO web;
GRANT SELECT, INSERT, DELETE ON auth.sessions, auth.refresh_tokens, auth.setup_links, auth.idempotency_keys TO web;
GRANT UPDATE (last_seen_at, expires_at, revoked_at) ON auth.sessions TO web;
GRANT UPDATE (used_at, revoked_at) ON auth.refresh_tokens TO web;
GRANT UPDATE (used_at) ON auth.setup_links TO web;
GRANT UPDATE (status_code, response_body) ON auth.idempotency_keys TO web;
GRANT SELECT, INSERT, UPDATE, DELETE ON auth.throttle_buckets TO web;
GRANT SELECT ON auth.audit_log TO web;
GRANT EXECUTE ON FUNCTION auth.append_audit, auth.verify_audit TO web;

-- Strategies; runs are asked for and asked to stop, the worker does the rest.
GRANT SELECT, INSERT ON strategy.strategies, strategy.strategy_versions, strategy.runs TO web;
GRANT UPDATE (name, archived_at) ON strategy.strategies TO web;
GRANT UPDATE (state, stop_mode, stop_reason, stopped_at) ON strategy.runs TO web;
GRANT SELECT ON strategy.decisions TO web;

-- Accounts are asked for; of their keys only the public part can be read.
GRANT SELECT ON execution.accounts TO web;
GRANT INSERT (user_id, label, kind, opening_balances) ON execution.accounts TO web;
GRANT UPDATE (label, wanted, unfreeze_requested_at, reconcile_requested_at) ON execution.accounts TO web;
GRANT SELECT (account_id, kind, api_key, public_key_pem, permissions, checked_at, created_at)
    ON execution.credentials TO web;
-- A secret is handed over sealed, and cannot be read back even so.
GRANT SELECT (id, account_id, kind, state, api_key, public_key_pem, message, created_at, asked_at, checked_at),
    INSERT (account_id, kind, api_key, sealed_box, sealed_to, asked_at), UPDATE (api_key, asked_at)
    ON execution.key_requests TO web;
GRANT SELECT ON execution.sealing_keys TO web;
GRANT SELECT ON execution.symbols TO web;
GRANT SELECT, INSERT, UPDATE ON execution.risk_limits, execution.kill_switches TO web;

-- Orders: decided, refused, asked to be cancelled. The trigger on orders narrows the UPDATE to what an event
-- without an epoch may change; the columns here are those that any event may change.
GRANT SELECT, INSERT ON execution.orders, execution.order_events TO web;
GRANT UPDATE (
    status, version, quantity, filled, filled_quote, exchange_order_id, signed_timestamp_ms, recv_window_ms,
    outcome_unknown_since_ms, cancel_requested_at_ms, last_report_ms, reserved, reject_code, reject_reason
) ON execution.orders TO web;
GRANT SELECT ON execution.order_transition_rules, execution.fills, execution.order_attempts, execution.plans TO web;
GRANT EXECUTE ON FUNCTION execution.needs_no_epoch, execution.require_epoch TO web;
GRANT SELECT, INSERT ON execution.replacements TO web;

-- What the worker tells.
GRANT SELECT ON execution.worker_lease, execution.reconciliation_passes, execution.incidents, execution.notices,
    execution.job_runs, execution.paper_markets TO web;
GRANT UPDATE (closed_at, closed_by, acknowledged_at, acknowledged_by, note) ON execution.incidents TO web;
GRANT SELECT ON execution.differences TO web;
GRANT UPDATE (state, wanted, wanted_by, note, closed_at, closed_by) ON execution.differences TO web;
GRANT INSERT ON execution.notices TO web;
GRANT SELECT, INSERT ON execution.paper_market_requests TO web;
GRANT SELECT ON ALL TABLES IN SCHEMA portfolio TO web;

-- Imported candles.
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics.candles, analytics.candle_gaps, analytics.datasets TO web;
GRANT SELECT ON analytics.prices TO web;
