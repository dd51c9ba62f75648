"""Numbers that decide what an export accepts, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_vseg.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportThresholds:
    """Thresholds of an export; the defaults suit networks of 1 to 10 GMAC.

    Attributes:
        source_agreement: Share of pixels in which the float graph must give the class that the source gives. Both
            compute the same in another order, so only ties may differ.
        source_check_frames: Validation frames for that check: the source may be slow.
        int8_agreement: Share of output cells at which an int8 graph is good enough, and mixed precision stops.
        int8_accepted: Share at which an int8 graph is good enough if one that agrees better takes much longer; ``None``
            for what ``int8_margin`` makes of ``--max-drop``.
        int8_margin: Share of ``--max-drop`` that may be used up on calibration frames: validation frames differ more.
        int8_speedup: How many times as fast as float int8 should be: where ``--min-speedup`` is not given, a graph that
            agrees well enough and is so fast goes before one that agrees better and is not; 1 for no such preference.
        float_layer_counts: Numbers of activations that mixed precision tries to keep in float, until
            ``int8_agreement`` is reached.
        int8_check_frames: Calibration frames for that comparison.
        constant_share: Share of the pixels of all frames that one class must fill for a warning: a wrong
            normalization looks like that.
        timing_rounds: Runs per timing.
        max_timing_threads: Timings use at most so many threads, as a robot would.
        slice_counts: Numbers of slices that are tried, until ``slice_overhead`` is met.
        slice_agreement: Share of output cells in which chained slices must agree with the whole graph. OpenVINO fuses a
            slice in other ways than the whole, and so rounds in other places.
        slice_overhead: How much longer than the whole graph all slices together may take, as a share.
        slice_share: Largest share of the whole graph's time that one slice may take: a longer one fits into hardly any
            deadline, so a larger overhead is the lesser evil.
        slice_check_frames: Validation frames on which slices are compared with the whole graph.
        tile_agreement: Share of cells inside the halo in which a tile graph must agree with the whole graph.
        tile_check_frames: Validation frames for that comparison.
        tile_halo_px: Pixels at each side of a tile whose logits are dropped, for they lack what surrounds them.
    """

    source_agreement: float = 0.98
    source_check_frames: int = 3
    int8_agreement: float = 0.992
    int8_accepted: float | None = None
    int8_margin: float = 0.75
    int8_speedup: float = 1.8
    float_layer_counts: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    int8_check_frames: int = 12
    constant_share: float = 0.995
    timing_rounds: int = 15
    max_timing_threads: int = 4
    slice_counts: tuple[int, ...] = (12, 10, 8, 6, 4, 3, 2)
    slice_agreement: float = 0.995
    slice_overhead: float = 0.10
    slice_share: float = 0.4
    slice_check_frames: int = 4
    tile_agreement: float = 0.9
    tile_check_frames: int = 8
    tile_halo_px: int = 32

    def __post_init__(self) -> None:
        """Raise OptionError for a share outside 0 to 1, a count below 1, or an empty list."""
        for name in ("source_agreement", "int8_agreement", "int8_accepted", "int8_margin", "constant_share",
                     "slice_agreement", "slice_share", "tile_agreement"):  # fmt: skip
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"threshold {name} is a share between 0 and 1, got {getattr(self, name)}")
        if self.int8_margin == 0:
            raise OptionError("threshold int8_margin must be above 0")
        for name in ("source_check_frames", "int8_check_frames", "timing_rounds", "max_timing_threads",
                     "slice_check_frames", "tile_check_frames"):  # fmt: skip
            if getattr(self, name) < 1:
                raise OptionError(f"threshold {name} must be 1 or more, got {getattr(self, name)}")
        if self.int8_speedup < 1:
            raise OptionError(f"threshold int8_speedup must be 1 or more, got {self.int8_speedup}")
        if self.slice_overhead < 0 or self.tile_halo_px < 0:
            raise OptionError("thresholds slice_overhead and tile_halo_px must not be negative")
        if not self.float_layer_counts or min(self.float_layer_counts) < 0:
            raise OptionError(f"threshold float_layer_counts holds numbers from 0, got {self.float_layer_counts}")
        if not self.slice_counts or min(self.slice_counts) < 2:
            raise OptionError(f"threshold slice_counts holds numbers from 2, got {self.slice_counts}")

    def max_drop_for(self, agreement: float) -> float:
        """The ``--max-drop`` at which an int8 graph with that agreement is accepted, rounded up to a thousandth."""
        return min(1.0, math.ceil(1000 * (1 - agreement) / self.int8_margin - 1e-9) / 1000)
