"""``python -m edge_vseg.cli``."""

from edge_vseg.cli.app import main

main()
