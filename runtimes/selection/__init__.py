"""Select the variant of a bundle to open: by id, by runtime, or the fastest on this machine."""
