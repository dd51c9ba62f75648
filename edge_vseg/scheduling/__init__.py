"""Decide for every frame what to compute and what to carry forward from older frames."""
