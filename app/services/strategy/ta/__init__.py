"""Indicators beyond the basic ones of `indicators`, by family. The same conventions hold: see there.

Where a formula could be taken from a library it was not, for one reason: a live run and a backtest start at different
candles and must agree bit for bit. Libraries keep running sums, whose value depends on where the data starts. TA-Lib
is what the tests compare with; where a definition differs from its, the docstring says how.
"""
