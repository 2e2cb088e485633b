"""The exchange as the rest of the platform sees it. Only `protocol` is for everybody; the rest is the worker's."""
