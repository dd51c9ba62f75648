"""Video consistency: whether the prediction is constant where the truth is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import RunningMean
from edge_vseg.analysis.metrics.label_checks import check_pair, check_same_video
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap, Mask

MAX_WINDOW_FRAMES = 65535
"""Run lengths are stored as uint16."""


class VideoConsistency:
    """VC_n: share of pixels with a constant prediction among those of constant true class, over clips of n frames.

    Every frame ends one clip of each length, so clips overlap. Three run lengths per pixel are kept instead of frames,
    in constant memory. A pixel that is :data:`~edge_vseg.types.IGNORE_ID` in a frame, in either map, is not constant in
    clips with that frame.

    Args:
        windows: Lengths n of the clips in frames, at least 2.

    Raises:
        OptionError: If there is none, or one is out of range.

    Reference: Miao et al., VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild, CVPR 2021. Their script
    leaves out the last clip of every video; here it counts. Clips without constant pixels are left out.
    :attr:`vc_right` is our own.
    """

    def __init__(self, windows: Sequence[int] = (8, 16)) -> None:
        valid = all(type(n) is int and 2 <= n <= MAX_WINDOW_FRAMES for n in windows)
        if not windows or not valid:
            raise OptionError(
                f"windows must be lengths of clips, ints from 2 to {MAX_WINDOW_FRAMES} frames; got {windows!r}; "
                "(8, 16) is usual"
            )
        self._windows = tuple(sorted(set(windows)))
        self._constant = {window: RunningMean() for window in self._windows}
        self._correct = {window: RunningMean() for window in self._windows}
        self._runs: _Runs | None = None

    def add(self, truth: LabelMap, labels: LabelMap) -> None:
        """Add a frame, and count the clips that end with it.

        Args:
            truth: ``(H, W)`` uint8.
            labels: ``(H, W)`` uint8, the prediction; any ids, because they are only compared.

        Raises:
            OptionError: If one is not a label map, or a shape differs from the other's or the previous frame's. Then
                nothing is counted.
        """
        check_pair(truth, labels)
        if self._runs is None:
            self._runs = _Runs(truth.shape, self._windows[-1])
        check_same_video(truth.shape, self._runs.size_hw, "call cut() before its first frame")
        self._runs.extend(truth, labels)
        for window in self._windows:
            shares = self._runs.shares(window)
            if shares is not None:
                self._constant[window].add(shares[0])
                self._correct[window].add(shares[1])

    def cut(self) -> None:
        """The next frame belongs to another video; no clip spans the cut."""
        self._runs = None

    @property
    def vc(self) -> dict[int, float]:
        """By window, mean over clips of the share with a constant prediction; NaN without clips."""
        return {window: mean.value for window, mean in self._constant.items()}

    @property
    def vc_right(self) -> dict[int, float]:
        """The same for predictions that are also correct in the whole clip, so that a frozen map does not win."""
        return {window: mean.value for window, mean in self._correct.items()}

    @property
    def clips(self) -> dict[int, int]:
        """By window, the number of clips that counted: long enough, and with a pixel of constant true class."""
        return {window: mean.count for window, mean in self._constant.items()}


class _Runs:
    """For how many frames each pixel has been constant, and correct, up to ``longest``."""

    def __init__(self, size_hw: tuple[int, ...], longest: int) -> None:
        self.size_hw = size_hw
        self._longest = longest
        self._previous = [np.full(size_hw, IGNORE_ID, np.uint8) for _ in range(2)]
        dtype = np.uint8 if longest <= 255 else np.uint16
        self._constant_runs: list[NDArray[np.uint8 | np.uint16]] = [np.zeros(size_hw, dtype) for _ in range(2)]
        self._correct_run: NDArray[np.uint8 | np.uint16] = np.zeros(size_hw, dtype)

    def extend(self, truth: LabelMap, labels: LabelMap) -> None:
        for run, previous, present in zip(self._constant_runs, self._previous, (truth, labels), strict=True):
            self._extend_run(run, previous == present)
            run[present == IGNORE_ID] = 0
            previous[...] = present
        correct = truth == labels
        self._extend_run(self._correct_run, correct)
        self._correct_run *= correct

    def _extend_run(self, run: NDArray[np.uint8 | np.uint16], same: Mask) -> None:
        run *= same
        np.minimum(run, self._longest - 1, out=run)
        run += 1

    def shares(self, window: int) -> tuple[float, float] | None:
        """Shares of constant and of correct predictions among pixels of constant true class; ``None`` if none."""
        constant_truth = self._constant_runs[0] >= window
        total = int(np.count_nonzero(constant_truth))
        if not total:
            return None
        constant = int(np.count_nonzero(constant_truth & (self._constant_runs[1] >= window)))
        correct = int(np.count_nonzero(constant_truth & (self._correct_run >= window)))
        return constant / total, correct / total
