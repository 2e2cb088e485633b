-- Every table, as in app/models (a test compares the two). Closed vocabularies are checked here.

-- People, their sessions and tokens, the audit log. ---------------------------------------------------------------

CREATE TABLE auth.users (
    id bigint GENERATED ALWAYS AS IDENTITY,
    email text NOT NULL CHECK (email = lower(email)),
    password_hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('trader', 'admin')),
    created_at timestamptz DEFAULT now() NOT NULL,
    disabled_at timestamptz,
    PRIMARY KEY (id),
    UNIQUE (email)
);

CREATE TABLE auth.sessions (
    id_hash text NOT NULL,
    user_id bigint NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    last_seen_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    ip text DEFAULT '' NOT NULL,
    user_agent text DEFAULT '' NOT NULL,
    PRIMARY KEY (id_hash),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);
CREATE INDEX ix_auth_sessions_user_id ON auth.sessions (user_id);

CREATE TABLE auth.refresh_tokens (
    token_hash text NOT NULL,
    family text NOT NULL,
    user_id bigint NOT NULL,
    issued_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (token_hash),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);
CREATE INDEX ix_auth_refresh_tokens_family ON auth.refresh_tokens (family);

CREATE TABLE auth.setup_links (
    token_hash text NOT NULL,
    user_id bigint,
    created_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (token_hash),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);

CREATE TABLE auth.throttle_buckets (
    bucket text NOT NULL,
    window_started_at timestamptz NOT NULL,
    count bigint DEFAULT 0 NOT NULL,
    PRIMARY KEY (bucket)
);

CREATE TABLE auth.idempotency_keys (
    user_id bigint NOT NULL,
    key text NOT NULL,
    route text NOT NULL,
    request_hash text NOT NULL,
    request_body jsonb DEFAULT '{}'::jsonb NOT NULL,
    status_code bigint,
    response_body jsonb,
    created_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (user_id, key),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);

CREATE TABLE auth.audit_head (
    id integer NOT NULL,
    seq bigint NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
);

CREATE TABLE auth.audit_log (
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object text DEFAULT '' NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    ip text DEFAULT '' NOT NULL,
    request_id text DEFAULT '' NOT NULL,
    prev_hash text NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (seq)
);

-- Candles and prices. ---------------------------------------------------------------------------------------------

CREATE TABLE analytics.candles (
    venue text NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    open_time_ms bigint NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (venue, symbol, timeframe, open_time_ms)
);

CREATE TABLE analytics.candle_gaps (
    venue text NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    from_ms bigint NOT NULL,
    missing integer NOT NULL,
    PRIMARY KEY (venue, symbol, timeframe, from_ms)
);

CREATE TABLE analytics.datasets (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint,
    venue text NOT NULL,
    name text NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    rows integer NOT NULL,
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    gaps integer NOT NULL,
    missing integer NOT NULL,
    sha256 text NOT NULL,
    warnings jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES auth.users (id),
    UNIQUE (venue)
);

CREATE TABLE analytics.prices (
    kind text NOT NULL CHECK (kind IN ('PAPER', 'TESTNET', 'LIVE')),
    symbol text NOT NULL,
    price public.amount NOT NULL,
    priced_at timestamptz NOT NULL,
    PRIMARY KEY (kind, symbol)
);

-- Accounts and what may be traded on them. ------------------------------------------------------------------------

CREATE TABLE execution.accounts (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    label text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('PAPER', 'TESTNET', 'LIVE')),
    state text DEFAULT 'REQUESTED' NOT NULL
        CHECK (state IN ('REQUESTED', 'RECOVERING', 'ACTIVE', 'FROZEN', 'FAILED', 'DISABLED', 'REMOVED')),
    state_reason text DEFAULT '' NOT NULL,
    opening_balances jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    books_agree_at timestamptz,
    stream_up boolean DEFAULT false NOT NULL,
    unfreeze_requested_at timestamptz,
    reconcile_requested_at timestamptz,
    wanted text DEFAULT 'ACTIVE' NOT NULL CHECK (wanted IN ('ACTIVE', 'DISABLED', 'REMOVED')),
    exchange_uid text DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);
CREATE INDEX ix_execution_accounts_user_id ON execution.accounts (user_id);

CREATE TABLE execution.credentials (
    account_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ED25519', 'RSA', 'HMAC')),
    api_key text DEFAULT '' NOT NULL,
    public_key_pem text DEFAULT '' NOT NULL,
    master_key_id text NOT NULL,
    private_key_box bytea NOT NULL,
    permissions jsonb DEFAULT '{}'::jsonb NOT NULL,
    checked_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);

-- A key on its way to an account: asked for or brought by its owner, checked and taken by the worker.
CREATE TABLE execution.key_requests (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ED25519', 'RSA', 'HMAC')),
    state text DEFAULT 'OPEN' NOT NULL CHECK (state IN ('OPEN', 'APPLIED', 'DROPPED')),
    api_key text DEFAULT '' NOT NULL,
    sealed_box bytea,
    sealed_to text DEFAULT '' NOT NULL,
    private_key_box bytea,
    public_key_pem text DEFAULT '' NOT NULL,
    message text DEFAULT '' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    asked_at timestamptz,
    checked_at timestamptz,
    PRIMARY KEY (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id),
    CONSTRAINT key_gone_when_done CHECK (state = 'OPEN' OR (sealed_box IS NULL AND private_key_box IS NULL))
);
CREATE INDEX key_requests_by_account ON execution.key_requests (account_id, id DESC);

-- What the web process seals secrets to. The private half is in the worker's hands only.
CREATE TABLE execution.sealing_keys (
    id text NOT NULL,
    public_key bytea NOT NULL,
    published_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE execution.symbols (
    kind text NOT NULL CHECK (kind IN ('PAPER', 'TESTNET', 'LIVE')),
    symbol text NOT NULL,
    rules jsonb DEFAULT '{}'::jsonb NOT NULL,
    refreshed_at timestamptz NOT NULL,
    PRIMARY KEY (kind, symbol)
);

CREATE TABLE execution.risk_limits (
    account_id bigint NOT NULL,
    max_order_notional public.amount NOT NULL,
    max_symbol_exposure public.amount NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);

CREATE TABLE execution.kill_switches (
    scope text NOT NULL CHECK (scope IN ('global', 'account', 'strategy', 'run')),
    scope_id bigint NOT NULL,
    engaged_at timestamptz NOT NULL,
    engaged_by text NOT NULL,
    reason text NOT NULL,
    released_at timestamptz,
    released_by text DEFAULT '' NOT NULL,
    release_reason text DEFAULT '' NOT NULL,
    action text DEFAULT 'halt' NOT NULL CHECK (action IN ('halt', 'cancel_all', 'flatten')),
    until_order_id bigint DEFAULT 0 NOT NULL,
    work jsonb DEFAULT '{}'::jsonb NOT NULL,
    PRIMARY KEY (scope, scope_id)
);

CREATE TABLE execution.paper_market_requests (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    symbol text NOT NULL,
    source text NOT NULL CHECK (source IN ('replay', 'synthetic')),
    dataset_id bigint,
    options jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'REQUESTED' NOT NULL CHECK (state IN ('REQUESTED', 'APPLIED', 'FAILED')),
    message text DEFAULT '' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    applied_at timestamptz,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);

CREATE TABLE execution.paper_markets (
    symbol text NOT NULL,
    venue text NOT NULL,
    status jsonb DEFAULT '{}'::jsonb NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (symbol)
);

-- Strategies, their versions and runs. ----------------------------------------------------------------------------

CREATE TABLE strategy.strategies (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    name text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    archived_at timestamptz,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES auth.users (id)
);
CREATE INDEX ix_strategy_strategies_user_id ON strategy.strategies (user_id);

CREATE TABLE strategy.strategy_versions (
    id bigint GENERATED ALWAYS AS IDENTITY,
    strategy_id bigint NOT NULL,
    number integer NOT NULL,
    hash text NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (strategy_id, number),
    UNIQUE (strategy_id, hash),
    FOREIGN KEY (strategy_id) REFERENCES strategy.strategies (id)
);

CREATE TABLE strategy.runs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    account_id bigint NOT NULL,
    version_id bigint NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    state text DEFAULT 'STARTING' NOT NULL CHECK (state IN ('STARTING', 'RUNNING', 'STOPPING', 'STOPPED')),
    stop_mode text CHECK (stop_mode IN ('keep_protected', 'close', 'take_over', 'take_over_and_cancel')),
    stop_reason text DEFAULT '' NOT NULL,
    venue text DEFAULT '' NOT NULL,
    warmup_from_ms bigint,
    last_decided_ms bigint,
    created_at timestamptz DEFAULT now() NOT NULL,
    started_at timestamptz,
    stopped_at timestamptz,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES auth.users (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id),
    FOREIGN KEY (version_id) REFERENCES strategy.strategy_versions (id)
);
CREATE INDEX ix_strategy_runs_user_id ON strategy.runs (user_id);

CREATE TABLE strategy.decisions (
    run_id bigint NOT NULL,
    open_time_ms bigint NOT NULL,
    action text NOT NULL,
    reason text DEFAULT '' NOT NULL,
    entry integer NOT NULL,
    exit integer NOT NULL,
    close text DEFAULT '' NOT NULL,
    order_id bigint,
    trace jsonb DEFAULT '{}'::jsonb NOT NULL,
    decided_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (run_id, open_time_ms),
    FOREIGN KEY (run_id) REFERENCES strategy.runs (id)
);

-- The books: orders, the facts about them, and their fills. -------------------------------------------------------

CREATE TABLE execution.order_transition_rules (
    from_status text NOT NULL
        CHECK (from_status IN (
            'NEW', 'SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'FILLED', 'CANCELING', 'CANCELED', 'REJECTED', 'EXPIRED')),
    to_status text NOT NULL
        CHECK (to_status IN (
            'NEW', 'SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'FILLED', 'CANCELING', 'CANCELED', 'REJECTED', 'EXPIRED')),
    resurrecting boolean DEFAULT false NOT NULL,
    PRIMARY KEY (from_status, to_status)
);

CREATE TABLE execution.orders (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    run_id bigint,
    plan_id bigint,
    client_order_id text NOT NULL,
    intent_key text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    type text NOT NULL
        CHECK (type IN (
            'LIMIT', 'MARKET', 'LIMIT_MAKER', 'STOP_LOSS', 'STOP_LOSS_LIMIT', 'TAKE_PROFIT', 'TAKE_PROFIT_LIMIT')),
    time_in_force text CHECK (time_in_force IN ('GTC', 'IOC', 'FOK')),
    quantity public.amount,
    quote_quantity public.amount,
    price public.amount,
    stop_price public.amount,
    status text NOT NULL
        CHECK (status IN (
            'NEW', 'SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'FILLED', 'CANCELING', 'CANCELED', 'REJECTED', 'EXPIRED')),
    version integer NOT NULL,
    filled public.amount DEFAULT 0 NOT NULL,
    filled_quote public.amount DEFAULT 0 NOT NULL,
    exchange_order_id bigint,
    created_at_ms bigint NOT NULL,
    deadline_ms bigint NOT NULL,
    signed_timestamp_ms bigint,
    recv_window_ms bigint,
    outcome_unknown_since_ms bigint,
    cancel_requested_at_ms bigint,
    last_report_ms bigint DEFAULT 0 NOT NULL,
    reserved_asset text DEFAULT '' NOT NULL,
    reserved public.amount DEFAULT 0 NOT NULL,
    reject_code text DEFAULT '' NOT NULL,
    reject_reason text DEFAULT '' NOT NULL,
    role text CHECK (role IN ('entry', 'stop', 'target', 'exit')),
    list_client_order_id text,
    PRIMARY KEY (id),
    UNIQUE (account_id, client_order_id),
    -- An order list has one stop and one target.
    UNIQUE (account_id, list_client_order_id, role),
    CONSTRAINT legs CHECK (list_client_order_id IS NULL OR (plan_id IS NOT NULL AND role IN ('stop', 'target'))),
    UNIQUE (account_id, symbol, exchange_order_id),
    UNIQUE (account_id, intent_key),
    CONSTRAINT sized CHECK (quantity IS NOT NULL OR quote_quantity IS NOT NULL),
    CONSTRAINT quantity_positive CHECK (quantity IS NULL OR quantity > 0),
    CONSTRAINT quote_quantity_positive CHECK (quote_quantity IS NULL OR quote_quantity > 0),
    CONSTRAINT not_overfilled CHECK (quantity IS NULL OR filled <= quantity),
    CONSTRAINT rejected_has_no_fill CHECK (status <> 'REJECTED' OR filled = 0),
    CONSTRAINT side CHECK (side IN ('BUY', 'SELL')),
    -- A late fill may complete an order that is CANCELED or EXPIRED; every other complete order is FILLED.
    CONSTRAINT filled_is_complete CHECK (status <> 'FILLED' OR (quantity IS NOT NULL AND filled = quantity)),
    CONSTRAINT complete_is_filled
        CHECK (quantity IS NULL OR filled < quantity OR status IN ('FILLED', 'CANCELED', 'EXPIRED')),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id),
    FOREIGN KEY (run_id) REFERENCES strategy.runs (id)
);
CREATE INDEX orders_by_account ON execution.orders (account_id, id DESC);
CREATE INDEX orders_by_plan ON execution.orders (plan_id, id DESC) WHERE plan_id IS NOT NULL;
CREATE INDEX orders_awaiting_answer ON execution.orders (id)
    WHERE status IN ('SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'CANCELING')
      AND (exchange_order_id IS NULL OR type = 'MARKET');
CREATE INDEX orders_unfinished ON execution.orders (account_id, status)
    WHERE status IN ('NEW', 'SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'CANCELING');

CREATE TABLE execution.order_events (
    order_id bigint NOT NULL,
    seq integer NOT NULL,
    kind text NOT NULL
        CHECK (kind IN (
            'created', 'attempt_sent', 'acknowledged', 'rejected', 'outcome_unknown', 'fill_applied', 'late_fill',
            'cancel_requested', 'cancel_refused', 'canceled', 'expired', 'resurrected', 'reconciled', 'note')),
    from_status text
        CHECK (from_status IN (
            'NEW', 'SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'FILLED', 'CANCELING', 'CANCELED', 'REJECTED', 'EXPIRED')),
    to_status text NOT NULL
        CHECK (to_status IN (
            'NEW', 'SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'FILLED', 'CANCELING', 'CANCELED', 'REJECTED', 'EXPIRED')),
    source text NOT NULL
        CHECK (source IN ('user', 'strategy', 'plan', 'executor', 'exchange', 'reconciler', 'operator')),
    epoch bigint,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    dedup_key text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (order_id, seq),
    UNIQUE (order_id, dedup_key),
    FOREIGN KEY (order_id) REFERENCES execution.orders (id)
);

CREATE TABLE execution.order_attempts (
    order_id bigint NOT NULL,
    epoch bigint NOT NULL,
    signed_timestamp_ms bigint NOT NULL,
    recv_window_ms bigint NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (order_id),
    FOREIGN KEY (order_id) REFERENCES execution.orders (id)
);

CREATE TABLE execution.fills (
    account_id bigint NOT NULL,
    symbol text NOT NULL,
    trade_id bigint NOT NULL,
    order_id bigint NOT NULL,
    run_id bigint,
    side text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    quantity public.amount NOT NULL,
    price public.amount NOT NULL,
    quote_quantity public.amount NOT NULL,
    commission public.amount NOT NULL,
    commission_asset text NOT NULL,
    commission_price public.amount,
    is_maker boolean NOT NULL,
    traded_at timestamptz NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (account_id, symbol, trade_id),
    CONSTRAINT quantity_positive CHECK (quantity > 0),
    CONSTRAINT price_positive CHECK (price > 0),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id),
    FOREIGN KEY (order_id) REFERENCES execution.orders (id)
);
CREATE INDEX ix_execution_fills_order_id ON execution.fills (order_id);
CREATE INDEX ix_execution_fills_traded_at ON execution.fills (traded_at);

CREATE TABLE execution.plans (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    run_id bigint NOT NULL,
    symbol text NOT NULL,
    state text NOT NULL CHECK (state IN ('ENTERING', 'PROTECTING', 'PROTECTED', 'EXITING', 'CLOSED')),
    entry_order_id bigint,
    stop_order_id bigint,
    exit_order_id bigint,
    stop_spec jsonb DEFAULT '{}'::jsonb NOT NULL,
    stop_price public.amount,
    time_stop_ms bigint,
    exit_reason text DEFAULT '' NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    next_try_ms bigint,
    protect jsonb DEFAULT '{}'::jsonb NOT NULL,
    entry_price public.amount,
    first_quantity public.amount,
    highest public.amount,
    trailed_ms bigint,
    entry_until_ms bigint,
    unprotected_since_ms bigint,
    opened_at timestamptz DEFAULT now() NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id),
    FOREIGN KEY (run_id) REFERENCES strategy.runs (id)
);
CREATE INDEX ix_execution_plans_run_id ON execution.plans (run_id);

CREATE TABLE execution.replacements (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    order_id bigint NOT NULL,
    intent_key text NOT NULL,
    quantity public.amount NOT NULL,
    price public.amount,
    stop_price public.amount,
    state text DEFAULT 'WAITING' NOT NULL CHECK (state IN ('WAITING', 'PLACED', 'NOT_MADE')),
    new_order_id bigint,
    reason text DEFAULT '' NOT NULL,
    requested_ms bigint NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id),
    FOREIGN KEY (order_id) REFERENCES execution.orders (id),
    UNIQUE (account_id, intent_key)
);
CREATE INDEX ix_execution_replacements_order_id ON execution.replacements (order_id);
CREATE UNIQUE INDEX replacements_waiting ON execution.replacements (order_id) WHERE state = 'WAITING';

-- The worker, and what it tells. ----------------------------------------------------------------------------------

CREATE TABLE execution.worker_lease (
    id integer NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    holder text DEFAULT '' NOT NULL,
    state text DEFAULT 'STOPPED' NOT NULL CHECK (state IN ('RECOVERING', 'HEALTHY', 'STOPPED')),
    state_reason text DEFAULT '' NOT NULL,
    acquired_at timestamptz,
    renewed_at timestamptz,
    recovered_at timestamptz,
    clock_offset_ms bigint,
    clock_checked_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
);

CREATE TABLE execution.reconciliation_passes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    trigger text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    checked integer NOT NULL,
    repaired integer NOT NULL,
    unresolved integer NOT NULL,
    agrees boolean NOT NULL,
    differences jsonb DEFAULT '[]'::jsonb NOT NULL,
    error text DEFAULT '' NOT NULL,
    covered jsonb DEFAULT '[]'::jsonb NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);
CREATE INDEX passes_by_account ON execution.reconciliation_passes (account_id, id DESC);

-- What the exchange has and our books have not, or the other way round, for as long as it stays.
CREATE TABLE execution.differences (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('order', 'balance')),
    key text NOT NULL,
    state text DEFAULT 'OPEN' NOT NULL CHECK (state IN ('OPEN', 'IGNORED', 'ADOPTED', 'BOOKED', 'GONE')),
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    looks integer DEFAULT 1 NOT NULL,
    first_seen_ms bigint NOT NULL,
    last_seen_ms bigint NOT NULL,
    wanted text DEFAULT '' NOT NULL CHECK (wanted IN ('', 'adopt', 'flatten')),
    wanted_by text DEFAULT '' NOT NULL,
    note text DEFAULT '' NOT NULL,
    closed_at timestamptz,
    closed_by text DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);
CREATE UNIQUE INDEX differences_standing ON execution.differences (account_id, kind, key) WHERE closed_at IS NULL;
CREATE INDEX differences_by_account ON execution.differences (account_id, id DESC);

-- Every trade of the account and symbol below this id is in our books.
CREATE TABLE execution.trade_cursors (
    account_id bigint NOT NULL,
    symbol text NOT NULL,
    next_trade_id bigint NOT NULL,
    moved_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id, symbol),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);

CREATE TABLE execution.incidents (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint,
    order_id bigint,
    kind text NOT NULL,
    message text NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    opened_at timestamptz DEFAULT now() NOT NULL,
    closed_at timestamptz,
    closed_by text DEFAULT '' NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text DEFAULT '' NOT NULL,
    note text DEFAULT '' NOT NULL,
    key text DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE execution.notices (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint,
    kind text NOT NULL,
    message text NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE execution.job_runs (
    name text NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    duration_ms bigint,
    error text DEFAULT '' NOT NULL,
    runs bigint DEFAULT 0 NOT NULL,
    failures bigint DEFAULT 0 NOT NULL,
    PRIMARY KEY (name)
);

-- What an account holds. ------------------------------------------------------------------------------------------

CREATE TABLE portfolio.balances (
    account_id bigint NOT NULL,
    asset text NOT NULL,
    total public.signed_amount DEFAULT 0 NOT NULL,
    exchange_total public.amount,
    exchange_seen_at timestamptz,
    updated_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id, asset),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);

CREATE TABLE portfolio.balance_adjustments (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    asset text NOT NULL,
    change public.signed_amount NOT NULL,
    reason text NOT NULL,
    kind text DEFAULT 'opening' NOT NULL CHECK (kind IN ('opening', 'trade', 'deposit', 'withdrawal', 'adopted')),
    reference text,
    occurred_at timestamptz,
    recorded_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (account_id, asset, reference),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);
CREATE INDEX ix_portfolio_balance_adjustments_account_id ON portfolio.balance_adjustments (account_id);

-- Coins that left a run's position by no fill of its own: taken out at cost.
CREATE TABLE portfolio.position_adjustments (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    run_id bigint NOT NULL,
    symbol text NOT NULL,
    change public.signed_amount NOT NULL,
    reason text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);
CREATE INDEX position_adjustments_by_position ON portfolio.position_adjustments (account_id, run_id, symbol);

CREATE TABLE portfolio.positions (
    account_id bigint NOT NULL,
    run_id bigint NOT NULL,
    symbol text NOT NULL,
    base_asset text NOT NULL,
    quote_asset text NOT NULL,
    quantity public.signed_amount DEFAULT 0 NOT NULL,
    cost public.signed_amount DEFAULT 0 NOT NULL,
    realised public.signed_amount DEFAULT 0 NOT NULL,
    fees_quote public.signed_amount DEFAULT 0 NOT NULL,
    last_traded_at timestamptz,
    last_trade_id bigint,
    updated_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id, run_id, symbol),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);

CREATE TABLE portfolio.equity_snapshots (
    account_id bigint NOT NULL,
    hour_at timestamptz NOT NULL,
    quote_asset text NOT NULL,
    equity public.signed_amount,
    balances jsonb DEFAULT '{}'::jsonb NOT NULL,
    prices jsonb DEFAULT '{}'::jsonb NOT NULL,
    taken_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (account_id, hour_at),
    FOREIGN KEY (account_id) REFERENCES execution.accounts (id)
);
