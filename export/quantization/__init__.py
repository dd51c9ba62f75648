"""From the canonical float graph to int8 graphs, one file per runtime."""
