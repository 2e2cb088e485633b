-- The file's layout 1, of the first release.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  label TEXT NOT NULL,
  api_key TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('hmac', 'ed25519')),
  key_material TEXT NOT NULL,
  created_ms INTEGER NOT NULL
);
CREATE TABLE balances (
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  asset TEXT NOT NULL,
  free TEXT NOT NULL,
  locked TEXT NOT NULL,
  PRIMARY KEY (account_id, asset)
) WITHOUT ROWID;
CREATE TABLE orders (
  symbol TEXT NOT NULL,
  id INTEGER NOT NULL,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  client_id TEXT NOT NULL,
  side TEXT NOT NULL,
  type TEXT NOT NULL,
  time_in_force TEXT NOT NULL,
  price TEXT NOT NULL,
  quantity TEXT NOT NULL,
  quote_quantity TEXT NOT NULL,
  stop_price TEXT NOT NULL,
  stp_mode TEXT NOT NULL,
  strategy_id INTEGER,
  strategy_type INTEGER,
  status TEXT NOT NULL,
  executed TEXT NOT NULL,
  executed_quote TEXT NOT NULL,
  locked TEXT NOT NULL,
  lock_asset TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  working_ms INTEGER NOT NULL,
  expiry_reason TEXT NOT NULL,
  queue_ahead TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  PRIMARY KEY (symbol, id)
) WITHOUT ROWID;
CREATE INDEX orders_by_account ON orders (account_id, symbol, id);
CREATE INDEX orders_by_client_id ON orders (account_id, symbol, client_id, id);
CREATE INDEX orders_by_time ON orders (account_id, symbol, created_ms);
CREATE INDEX orders_open ON orders (status) WHERE status IN ('NEW', 'PARTIALLY_FILLED');
CREATE TABLE trades (
  symbol TEXT NOT NULL,
  id INTEGER NOT NULL,
  order_id INTEGER NOT NULL,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  price TEXT NOT NULL,
  quantity TEXT NOT NULL,
  quote_quantity TEXT NOT NULL,
  commission TEXT NOT NULL,
  commission_asset TEXT NOT NULL,
  is_buyer INTEGER NOT NULL,
  is_maker INTEGER NOT NULL,
  traded_ms INTEGER NOT NULL,
  PRIMARY KEY (symbol, id, account_id)
) WITHOUT ROWID;
CREATE INDEX trades_by_account ON trades (account_id, symbol, id);
CREATE INDEX trades_by_order ON trades (symbol, order_id, id);
CREATE INDEX trades_by_time ON trades (account_id, symbol, traded_ms);
CREATE TABLE counters (
  symbol TEXT PRIMARY KEY,
  next_order_id INTEGER NOT NULL,
  next_trade_id INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE markets (
  symbol TEXT PRIMARY KEY,
  market_id INTEGER NOT NULL,
  rules TEXT NOT NULL,
  source TEXT NOT NULL,
  state TEXT NOT NULL,
  halted INTEGER NOT NULL,
  tape BLOB,
  history BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE candles (
  symbol TEXT NOT NULL,
  seconds INTEGER NOT NULL CHECK (seconds IN (1, 60)),
  open_ms INTEGER NOT NULL,
  open INTEGER NOT NULL,
  high INTEGER NOT NULL,
  low INTEGER NOT NULL,
  close INTEGER NOT NULL,
  volume INTEGER NOT NULL,
  quote REAL NOT NULL,
  prints INTEGER NOT NULL,
  PRIMARY KEY (symbol, seconds, open_ms)
) WITHOUT ROWID;
