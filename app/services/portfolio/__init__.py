"""From fills to balances, positions, PnL and hourly snapshots."""
