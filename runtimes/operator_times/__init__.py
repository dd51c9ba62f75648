"""How long each operator of a graph takes."""
