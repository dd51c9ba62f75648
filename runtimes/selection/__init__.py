"""Choose the variant of a bundle that this machine runs fastest."""
