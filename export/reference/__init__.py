"""Reference networks with weights, their training, rendered street videos, and the demo."""
