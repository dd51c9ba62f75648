"""Measure a bundle: profile its latency, evaluate its accuracy, compare and report."""
