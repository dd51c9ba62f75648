"""Measure a bundle: profile its latency, evaluate its accuracy, compare two measurements, verify it on a device."""
