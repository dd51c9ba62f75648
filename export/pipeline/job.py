"""What an export is to do: the one argument of every step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.manifest import FrameSpec, Letterbox, Resize
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.child_process import ChildProcess
from edge_vseg.errors import CalibrationError, EdgeVsegError, OptionError
from edge_vseg.export.conversion_limits import FAILURES
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.pipeline.work_folder import WorkFolder
from edge_vseg.files import DISK_ERRORS, cannot_write
from edge_vseg.imaging.letterbox import fit_image
from edge_vseg.types import Image, Size

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportJob:
    """An export, before any step of it.

    Attributes:
        source: ``package.module:factory``, ``file.py:factory``, or the path of a model file.
        output: Where the bundle goes.
        options: What to export, and for what.
        work: Where steps leave their results.
        child: Where converters run.
        frames: Sample frames; the first two steps need none.
        truth: Labelled frames, at any size, for int8 to learn from.
        progress: Called with a line on each step.
    """

    source: str
    output: Path
    options: ExportOptions
    work: WorkFolder
    child: ChildProcess
    frames: SampleFrames | None = None
    truth: Sequence[LabelledFrame] = ()
    progress: Progress = lambda step: None

    @property
    def sample(self) -> SampleFrames:
        """The sample frames.

        Raises:
            CalibrationError: If there are none.
        """
        if self.frames is None or not self.frames.validation:
            raise CalibrationError("an export needs validation frames; give a longer video with --frames")
        return self.frames

    @property
    def normalization(self) -> Normalization:
        """What images are normalized by."""
        return self.options.normalization or Normalization()

    @property
    def calibration_set(self) -> Sequence[Image]:
        """The calibration set as it was sampled.

        Raises:
            CalibrationError: If it is empty.
        """
        if not self.sample.calibration:
            raise CalibrationError("an export needs frames to calibrate on; give a longer video with --frames")
        return self.sample.calibration

    @property
    def resize(self) -> Resize:
        """What becomes of frames of another size.

        A letterbox's border is what the network takes for zero: its mean, or that of the frames if it names none.
        """
        wanted = self.options.resize
        if wanted != "letterbox":
            return wanted
        norm = self.normalization
        mean = norm.mean if norm.color == "rgb" else norm.mean[::-1]
        if not any(mean):
            mean = np.mean(
                [cv2.mean(frame)[2::-1] for frame in (*self.sample.calibration, *self.sample.validation)], axis=0
            )
        red, green, blue = (min(255, max(0, round(float(value)))) for value in mean)
        return Letterbox(border_rgb=(red, green, blue))

    def calibration_frames(self, size_hw: Size) -> list[Image]:
        """The calibration set at the input size."""
        spec = FrameSpec(size_hw=size_hw, resize=self.resize)
        return [fit_image(frame, spec) for frame in self.calibration_set]

    def validation_frames(self, size_hw: Size) -> list[Image]:
        """The validation set at the input size."""
        spec = FrameSpec(size_hw=size_hw, resize=self.resize)
        return [fit_image(frame, spec) for frame in self.sample.validation]


@contextmanager
def open_job(
    source: str,
    output: Path,
    options: ExportOptions,
    *,
    frames: SampleFrames | None = None,
    truth: Sequence[LabelledFrame] = (),
    progress: Progress = lambda step: None,
    work_dir: Path | None = None,
) -> Iterator[ExportJob]:
    """A job whose work folder is there until the end of the ``with`` block, or stays if it was given.

    Args:
        source: See :class:`ExportJob`.
        output: Where the bundle goes.
        options: What to export, and for what.
        frames: Sample frames.
        truth: See :class:`ExportJob`.
        progress: Called with a line on each step.
        work_dir: Keep the results of steps here, and take those that are there; ``None`` for a temporary folder.

    Raises:
        OptionError: If there are labels, but nothing is to learn from them.
        OutputError: If the disk of the work folder is full or fails.
    """
    if truth and options.finetune is None:
        raise OptionError("labels are there to be learnt; give --finetune as well, such as --finetune 10min")
    with (
        full_disk_named(work_dir or Path(tempfile.gettempdir())),
        TemporaryDirectory(prefix="edge-vseg-") as scratch,
        ChildProcess("the converter", options.limits, FAILURES) as child,
    ):
        work = WorkFolder(work_dir if work_dir is not None else Path(scratch) / "work")
        yield ExportJob(
            source=source, output=output, options=options, work=work, child=child, frames=frames, truth=truth,
            progress=progress,
        )  # fmt: skip


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Say which folder is full, broken or not to be written, where a converter's own message would not.

    Raises:
        OutputError: Instead of such an error of the system.
    """
    try:
        yield
    except OSError as exc:
        if isinstance(exc, EdgeVsegError) or exc.errno not in DISK_ERRORS:
            raise
        path = exc.filename2 or exc.filename or folder
        raise cannot_write(Path(path), exc) from exc
