"""Candles, imported data sets, last prices, and what the paper market shows."""
