"""Networks and video of our own: trained reference networks, their training, rendered streets, the demo."""
