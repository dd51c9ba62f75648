"""Slices and tile graphs: parts of a network that the scheduler runs one at a time."""
