"""Time per operator of a graph, by the runtime's profiler."""
