"""Measure what a bundle costs on this machine, and how fast carried label maps drift."""
