"""Fine-tune int8 graphs on sample frames, taught by the float graph; no labels are needed."""
