"""Open the trained network, whatever it comes as."""
