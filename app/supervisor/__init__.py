"""`plumbline up`: every process of an installation on one machine, started, watched and stopped together."""
