"""Cut the graphs of a bundle into slices, so that the scheduler can run a network piece by piece."""
