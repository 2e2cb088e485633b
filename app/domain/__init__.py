"""Pure trading rules: no I/O, no clock, no randomness, no float where money is concerned."""
