-- The worker: trades and keeps the books, within the guards. Of people it knows who they are, not how they
-- sign in.

GRANT USAGE ON SCHEMA auth, strategy, execution, portfolio, analytics TO worker;
GRANT SELECT ON public.alembic_version TO worker;

GRANT SELECT (id, email, role, created_at, disabled_at) ON auth.users TO worker;
GRANT EXECUTE ON FUNCTION auth.append_audit, auth.verify_audit TO worker;

GRANT SELECT ON strategy.strategies, strategy.strategy_versions, strategy.runs TO worker;
GRANT UPDATE (state, stop_mode, stop_reason, venue, warmup_from_ms, last_decided_ms, started_at, stopped_at)
    ON strategy.runs TO worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON strategy.decisions TO worker;

GRANT SELECT ON execution.accounts TO worker;
GRANT UPDATE (state, state_reason, exchange_uid, books_agree_at, stream_up, unfreeze_requested_at,
    reconcile_requested_at) ON execution.accounts TO worker;
GRANT SELECT, INSERT, UPDATE ON execution.credentials, execution.symbols, execution.sealing_keys TO worker;
GRANT DELETE ON execution.credentials TO worker;
GRANT SELECT ON execution.key_requests TO worker;
GRANT UPDATE (state, sealed_box, private_key_box, public_key_pem, message, checked_at)
    ON execution.key_requests TO worker;
GRANT SELECT ON execution.risk_limits TO worker;
GRANT SELECT, INSERT, UPDATE ON execution.kill_switches TO worker;

GRANT SELECT, INSERT ON execution.orders, execution.order_events, execution.order_attempts, execution.fills TO worker;
GRANT UPDATE (
    status, version, quantity, filled, filled_quote, exchange_order_id, signed_timestamp_ms, recv_window_ms,
    outcome_unknown_since_ms, cancel_requested_at_ms, last_report_ms, reserved, reject_code, reject_reason
) ON execution.orders TO worker;
GRANT SELECT ON execution.order_transition_rules TO worker;
GRANT SELECT, INSERT, UPDATE ON execution.plans TO worker;
GRANT SELECT ON execution.replacements TO worker;
GRANT UPDATE (state, new_order_id, reason) ON execution.replacements TO worker;
GRANT EXECUTE ON FUNCTION execution.needs_no_epoch, execution.require_epoch TO worker;

GRANT SELECT, INSERT, UPDATE ON execution.worker_lease, execution.job_runs TO worker;
GRANT SELECT, INSERT ON execution.reconciliation_passes, execution.notices TO worker;
GRANT DELETE ON execution.reconciliation_passes TO worker;
GRANT SELECT, INSERT, UPDATE ON execution.incidents, execution.differences, execution.trade_cursors TO worker;
GRANT SELECT ON execution.paper_market_requests TO worker;
GRANT UPDATE (state, message, applied_at) ON execution.paper_market_requests TO worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON execution.paper_markets TO worker;

GRANT SELECT, INSERT, UPDATE, DELETE ON portfolio.balances, portfolio.positions TO worker;
GRANT SELECT, INSERT ON portfolio.balance_adjustments, portfolio.position_adjustments, portfolio.equity_snapshots
    TO worker;

GRANT SELECT, INSERT, UPDATE, DELETE ON analytics.candles, analytics.candle_gaps TO worker;
GRANT SELECT ON analytics.datasets TO worker;
GRANT SELECT, INSERT, UPDATE ON analytics.prices TO worker;
