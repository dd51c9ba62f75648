"""Choose the frames of a video that calibrate and validate int8 graphs."""
