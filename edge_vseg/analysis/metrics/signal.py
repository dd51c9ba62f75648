"""Signal-to-noise ratio of quantized scores."""

from __future__ import annotations

import numpy as np

from edge_vseg.types import Logits


def sqnr_db(reference: Logits, quantized: Logits) -> float:
    """Signal-to-quantization-noise ratio in dB: ``10 log10(sum(ref^2) / sum((ref - q)^2))``.

    Args:
        reference: Logits of the float graph, any shape.
        quantized: Logits of the int8 graph, same shape.

    Returns:
        The ratio in dB; 200.0 when there is no noise, and never more.
    """
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference - quantized, dtype=np.float64).sum())
    if noise == 0 or signal == 0:
        return 200.0 if noise == 0 else -200.0
    return float(np.clip(10 * np.log10(signal / noise), -200.0, 200.0))
