"""Carry out what a policy decides: run graphs and slices, carry the rest along the motion."""

from edge_vseg.scheduler.scheduler import Outcome, Scheduler

__all__ = ["Outcome", "Scheduler"]
