"""From the float graph to int8 graphs, one module per runtime."""
