"""Limits and the pre-trade check."""
