"""Video consistency: whether the prediction keeps still where the truth does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.label_checks import check_pair, check_same_video
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap, Mask

MAX_WINDOW_FRAMES = 65535
"""Run lengths are uint16 at most."""


class VideoConsistency:
    """VC_n: over clips of n frames, what share of the pixels with a constant true class keeps a constant prediction.

    Every frame ends one clip of each length; clips of one video overlap. Per pixel, three run lengths are kept instead
    of frames, so memory does not grow. A pixel that is :data:`~edge_vseg.types.IGNORE_ID` in a frame is constant in no
    clip with that frame, in truth and prediction alike.

    Args:
        windows: Lengths n of the clips, frames, 2 and more.

    Raises:
        OptionError: If there is no window, or one is out of range.

    Reference: Miao et al., VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild, CVPR 2021. Their script
    leaves out the last clip of every video, which is counted here; clips without any constant pixel have no
    share and are left out. :attr:`vc_right` is this project's.
    """

    def __init__(self, windows: Sequence[int] = (8, 16)) -> None:
        valid = all(type(n) is int and 2 <= n <= MAX_WINDOW_FRAMES for n in windows)
        if not windows or not valid:
            raise OptionError(
                f"windows must be lengths of clips, ints from 2 to {MAX_WINDOW_FRAMES} frames; got {windows!r}; "
                "(8, 16) is usual"
            )
        self._windows = tuple(sorted(set(windows)))
        self._sums = dict.fromkeys(self._windows, 0.0)
        self._right_sums = dict.fromkeys(self._windows, 0.0)
        self._clips = dict.fromkeys(self._windows, 0)
        self._runs: _Runs | None = None

    def add(self, truth: LabelMap, labels: LabelMap) -> None:
        """Count the clips that end with this frame.

        Args:
            truth: ``(H, W)`` uint8.
            labels: ``(H, W)`` uint8, the prediction; nothing is asked of its ids, for they are only compared.

        Raises:
            OptionError: If one is no label map, or a shape differs from the other's or from the frame before. Then
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
                self._sums[window] += shares[0]
                self._right_sums[window] += shares[1]
                self._clips[window] += 1

    def cut(self) -> None:
        """The next frame begins another video; no clip reaches over the cut."""
        self._runs = None

    @property
    def vc(self) -> dict[int, float]:
        """By window, mean over clips of the share that stays constant; NaN if no clip counted."""
        return {n: self._sums[n] / self._clips[n] if self._clips[n] else math.nan for n in self._windows}

    @property
    def vc_right(self) -> dict[int, float]:
        """The same where the prediction must also be right in all frames of the clip: a frozen map does not win."""
        return {n: self._right_sums[n] / self._clips[n] if self._clips[n] else math.nan for n in self._windows}

    @property
    def clips(self) -> dict[int, int]:
        """By window, the number of clips that counted: long enough, with a pixel of constant true class."""
        return dict(self._clips)


class _Runs:
    """For how many frames up to the present each pixel has been what it is, at most ``longest``."""

    def __init__(self, size_hw: tuple[int, ...], longest: int) -> None:
        self.size_hw = size_hw
        self._longest = longest
        self._before = [np.full(size_hw, IGNORE_ID, np.uint8) for _ in range(2)]
        dtype = np.uint8 if longest <= 255 else np.uint16
        self._steady: list[NDArray[np.uint8 | np.uint16]] = [np.zeros(size_hw, dtype) for _ in range(2)]
        self._right: NDArray[np.uint8 | np.uint16] = np.zeros(size_hw, dtype)

    def extend(self, truth: LabelMap, labels: LabelMap) -> None:
        for run, before, now in zip(self._steady, self._before, (truth, labels), strict=True):
            self._go_on(run, before == now)
            run[now == IGNORE_ID] = 0
            before[...] = now
        right = truth == labels
        self._go_on(self._right, right)
        self._right *= right

    def _go_on(self, run: NDArray[np.uint8 | np.uint16], same: Mask) -> None:
        run *= same
        np.minimum(run, self._longest - 1, out=run)
        run += 1

    def shares(self, window: int) -> tuple[float, float] | None:
        """Of the pixels with a constant true class: those constant, and those right; ``None`` if there are none."""
        steady = self._steady[0] >= window
        total = int(np.count_nonzero(steady))
        if not total:
            return None
        constant = int(np.count_nonzero(steady & (self._steady[1] >= window)))
        right = int(np.count_nonzero(steady & (self._right >= window)))
        return constant / total, right / total
