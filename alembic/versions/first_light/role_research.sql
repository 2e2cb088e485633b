-- Research (backtests): reads candles and strategies, and nothing of anybody's money.

GRANT USAGE ON SCHEMA strategy, backtest, analytics TO research;
GRANT SELECT ON public.alembic_version TO research;
GRANT SELECT ON strategy.strategies, strategy.strategy_versions TO research;
GRANT SELECT ON analytics.candles, analytics.candle_gaps, analytics.datasets TO research;
