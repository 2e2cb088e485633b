"""Tables of the exchange's own file, and the way from earlier layouts to this one."""

VERSION = 3

_ACCOUNTS_2 = """
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  label TEXT NOT NULL,
  api_key TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('hmac', 'ed25519', 'rsa')),
  key_material TEXT NOT NULL,
  created_ms INTEGER NOT NULL
);
"""
_RIGHTS = "ALTER TABLE accounts ADD COLUMN rights TEXT NOT NULL DEFAULT '{}';"  # of the key; {}: what every key may do
_ACCOUNTS = f"{_ACCOUNTS_2}{_RIGHTS}\n"
_TRADES = """
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
  PRIMARY KEY (symbol, id, order_id)
) WITHOUT ROWID;
CREATE INDEX trades_by_account ON trades (account_id, symbol, id);
CREATE INDEX trades_by_order ON trades (symbol, order_id, id);
CREATE INDEX trades_by_time ON trades (account_id, symbol, traded_ms);
"""
_LISTS = """
CREATE TABLE order_lists (
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  symbol TEXT NOT NULL,
  client_id TEXT NOT NULL,
  contingency TEXT NOT NULL,
  order_ids TEXT NOT NULL,
  is_done INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
);
CREATE INDEX order_lists_by_account ON order_lists (account_id, id);
CREATE INDEX order_lists_by_client_id ON order_lists (account_id, client_id, id);
CREATE INDEX order_lists_open ON order_lists (is_done) WHERE is_done = 0;
CREATE TABLE amendments (
  symbol TEXT NOT NULL,
  order_id INTEGER NOT NULL,
  execution_id INTEGER NOT NULL,
  account_id INTEGER NOT NULL,
  old_client_id TEXT NOT NULL,
  new_client_id TEXT NOT NULL,
  old_quantity TEXT NOT NULL,
  new_quantity TEXT NOT NULL,
  amended_ms INTEGER NOT NULL,
  PRIMARY KEY (symbol, order_id, execution_id)
) WITHOUT ROWID;
CREATE TABLE prevented_matches (
  symbol TEXT NOT NULL,
  id INTEGER NOT NULL,
  account_id INTEGER NOT NULL,
  taker_order_id INTEGER NOT NULL,
  maker_order_id INTEGER NOT NULL,
  stp_mode TEXT NOT NULL,
  price TEXT NOT NULL,
  taker_quantity TEXT NOT NULL,
  maker_quantity TEXT NOT NULL,
  prevented_ms INTEGER NOT NULL,
  PRIMARY KEY (symbol, id)
) WITHOUT ROWID;
CREATE INDEX prevented_matches_by_taker ON prevented_matches (symbol, taker_order_id);
CREATE INDEX prevented_matches_by_maker ON prevented_matches (symbol, maker_order_id);
"""
SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
{_ACCOUNTS}CREATE TABLE balances (
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
  list_id INTEGER NOT NULL DEFAULT -1,
  amends INTEGER NOT NULL DEFAULT 0,
  prevented TEXT NOT NULL DEFAULT '0',
  prevented_match_id INTEGER NOT NULL DEFAULT -1,
  PRIMARY KEY (symbol, id)
) WITHOUT ROWID;
CREATE INDEX orders_by_account ON orders (account_id, symbol, id);
CREATE INDEX orders_by_client_id ON orders (account_id, symbol, client_id, id);
CREATE INDEX orders_by_time ON orders (account_id, symbol, created_ms);
CREATE INDEX orders_open ON orders (status) WHERE status IN ('NEW', 'PENDING_NEW', 'PARTIALLY_FILLED');
{_TRADES}{_LISTS}CREATE TABLE counters (
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
"""

#: From a layout to the next. A table whose keys or checks change is made anew and filled from the old one.
MIGRATIONS = {
    1: f"""
ALTER TABLE accounts RENAME TO old_accounts;
{_ACCOUNTS_2}
INSERT INTO accounts SELECT * FROM old_accounts;
DROP TABLE old_accounts;
ALTER TABLE trades RENAME TO old_trades;
DROP INDEX trades_by_account;
DROP INDEX trades_by_order;
DROP INDEX trades_by_time;
{_TRADES}
INSERT INTO trades SELECT * FROM old_trades;
DROP TABLE old_trades;
ALTER TABLE orders ADD COLUMN list_id INTEGER NOT NULL DEFAULT -1;
ALTER TABLE orders ADD COLUMN amends INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN prevented TEXT NOT NULL DEFAULT '0';
ALTER TABLE orders ADD COLUMN prevented_match_id INTEGER NOT NULL DEFAULT -1;
DROP INDEX orders_open;
CREATE INDEX orders_open ON orders (status) WHERE status IN ('NEW', 'PENDING_NEW', 'PARTIALLY_FILLED');
{_LISTS}""",  # noqa: S608 - fixed words only
    2: _RIGHTS,
}
