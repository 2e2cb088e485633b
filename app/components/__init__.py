"""Pieces the pages are made of. They show what a state holds and know nothing else."""
