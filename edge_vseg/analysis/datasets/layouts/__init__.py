"""One file for each layout; each has a ``LAYOUT``."""
