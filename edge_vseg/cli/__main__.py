"""``python -m edge_vseg.cli``."""

from edge_vseg.cli import main

main()
