"""Measure the costs of a bundle on this machine, and the drift of carried label maps."""
