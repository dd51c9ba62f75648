"""Schedule frames: decide what to compute for each and what to carry over from older ones, and do it."""
