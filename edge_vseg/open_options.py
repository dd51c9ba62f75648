"""The rarer options of opening a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from edge_vseg.bundle.manifest import Precision
from edge_vseg.errors import OptionError
from edge_vseg.runtimes.probing import ProbeRule
from edge_vseg.scheduling.device_profile import DeviceProfile
from edge_vseg.scheduling.shared_background import CameraBackground
from edge_vseg.trust import TrustPolicy
from edge_vseg.types import Borders, LabelsSize


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """The rarer options of :meth:`~edge_vseg.segmenter.Segmenter.open`.

    Attributes:
        precision: ``int8``, ``float`` or ``float16``; ``None`` leaves it to ``auto``, and prefers int8 otherwise.
        variant: Id of the variant to open, instead of a runtime and a precision; one that is made for this machine.
        provider: Execution provider (ONNX Runtime), device (OpenVINO) or delegate (TFLite); empty for the CPU.
        provider_options: Handed to the provider as they are.
        labels: ``frame`` gives label maps at the size of each frame; ``network`` at that of the network's output, which
            is several times smaller: for planners on a coarse grid.
        borders: ``guided`` draws borders between classes along the edges of the image, for networks whose scores are
            several times smaller than the frames; ``interpolated`` where the network's own upsampling puts them.
            ``None`` is what the bundle's own schedule says, and otherwise ``interpolated``.
        companion: A second, faster bundle with the same classes. The policies ``deadline`` and ``async`` run it on
            frames whose carried map has aged, and fuse both for that frame. ``None`` for none.
        follow: Names of classes of things, such as ``("car", "pedestrian")``. In carried label maps their segments are
            found by their looks where the motion has lost them: behind something else, or because they are fast.
        cache: File in which ``runtime="auto"`` remembers its measurements; ``None`` for the user's cache folder.
        replay: Device profile or its file, of this machine or another, whose costs are replayed instead of measured:
            the latencies in results are then those of its device. Needs a policy.
        probe: When graphs are opened and run in a child process before this process opens them, which a damaged or
            hostile graph could kill or hang; ``None`` reads ``EDGE_VSEG_PROBE``, and is otherwise the first time on
            this machine.
        clock: Nanoseconds, for what the scheduler measures.
        background: This camera's part of a background lane that several share; see
            :class:`~edge_vseg.scheduling.shared_background.SharedBackground`.
        trust: Whose bundles are opened; ``None`` for this machine's own rule, see
            :func:`~edge_vseg.trust.machine_policy`.

    Example:
        >>> from edge_vseg import OpenOptions, Segmenter
        >>> with Segmenter.open("street.evseg", options=OpenOptions(precision="int8")) as segmenter:
        ...     segmenter.variant.precision
        'int8'
    """

    precision: Precision | None = None
    variant: str = ""
    provider: str = ""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    labels: LabelsSize = "frame"
    borders: Borders | None = None
    companion: str | Path | None = None
    follow: tuple[str, ...] = ()
    cache: Path | None = None
    replay: Path | DeviceProfile | None = None
    probe: ProbeRule | None = None
    clock: Callable[[], int] = time.perf_counter_ns
    background: CameraBackground | None = None
    trust: TrustPolicy | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if the size of label maps or the kind of borders is unknown, or follow is no tuple."""
        if self.labels not in get_args(LabelsSize):
            raise OptionError(f"labels must be 'frame' or 'network', got {self.labels!r}")
        if self.borders not in (None, *get_args(Borders)):
            raise OptionError(f"borders must be 'interpolated' or 'guided', got {self.borders!r}")
        follow: object = self.follow
        if not isinstance(follow, tuple) or not all(isinstance(name, str) for name in follow):
            raise OptionError(f"follow must be a tuple of class names, such as ('car',); got {follow!r}")


DEFAULT_OPTIONS = OpenOptions()
