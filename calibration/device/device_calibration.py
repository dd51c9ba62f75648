"""Calibrate a bundle for the machine that it runs on: what everything costs here, and how fast maps go out of date."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from edge_vseg.bundle.manifest import Precision
from edge_vseg.calibration.device.drift_fit import DriftFitter
from edge_vseg.calibration.device.trial_policy import TrialPolicy
from edge_vseg.errors import CalibrationError
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.runtimes import get_runtime
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile, DriftFit, machine_key
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.segmenter import OpenOptions, Segmenter
from edge_vseg.types import Frame

MIN_FRAMES = 24
GROUP = 12
MOTION = "dis"


def calibrate_device(
    bundle: Path,
    frames: Iterable[Frame],
    *,
    video: str,
    runtime: str = "auto",
    precision: Precision | None = None,
    variant: str = "",
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> DeviceProfile:
    """Measure costs and fit the drift model on a sample video; no labels are needed.

    Every frame is inferred whole, as the truth that carried maps are held against, and goes through a rehearsal of
    everything that a scheduler may do.

    Args:
        bundle: The bundle.
        frames: Consecutive frames of what the camera will see; a few hundred do.
        video: Its name, for the record.
        runtime: As in :meth:`Segmenter.open`.
        precision: The same.
        variant: The same.
        threads: The same; use the number that you will run with.
        progress: Called with the number of frames done.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no graph can be opened.
        CalibrationError: If there are fewer than 24 frames, or too few to time every slice.
        OptionError: If the graphs give finished label maps.
    """
    options = OpenOptions(precision=precision, variant=variant)
    with Segmenter.open(bundle, runtime=runtime, threads=threads, options=options) as plain:
        options = OpenOptions(variant=plain.variant.id)
        with Segmenter.open(bundle, policy=TrialPolicy(), threads=threads, options=options) as rehearsal:
            meter = rehearsal.meter
            assert meter is not None
            frame_hw = plain.bundle.manifest.frame.size_hw
            looker = MotionObserver(frame_hw, plain.bundle.manifest.head.size_hw)
            fitter = DriftFitter(plain.bundle.manifest.head.size_hw, looker.statistics_hw)
            done, waiting = 0, iter(frames)
            # In groups: right after the whole network, everything finds its caches cold, which no scheduled frame does.
            while group := list(itertools.islice(waiting, GROUP)):
                for frame in group:
                    rehearsal(frame)
                if done == 0:
                    meter.forget()
                for frame in group:
                    logits = plain(frame).logits
                    assert logits is not None
                    fitter.add(looker(resize_image(frame.image, frame_hw), MOTION), logits)
                done += len(group)
                progress(done)
            lacking = [n for n in range(len(plain.variant.slices)) if f"slice {n}" not in meter.samples()]
            if lacking and done >= MIN_FRAMES:
                raise CalibrationError(f"{video} has {done} frames, too few to time every slice; give some 60 or more")
            costs = {name: _cost(samples) for name, samples in meter.samples().items()}
        if done < MIN_FRAMES:
            raise CalibrationError(f"{video} has {done} frames; calibration needs {MIN_FRAMES} or more in a row")
        judged = fitter.judge()
        return DeviceProfile(
            bundle_sha256=plain.bundle.sha256,
            variant=plain.variant.id,
            machine=machine_key(),
            threads=threads,
            runtime=get_runtime(plain.variant.runtime).version(),
            video=video,
            costs=costs,
            drift=fitter.model(),
            fit=judged
            and DriftFit(frames=judged[0], correlation=judged[1], mean_error=judged[2], mean_drift=judged[3]),
        )


def _cost(samples: list[float]) -> Cost:
    p50, p90, p99 = (round(float(value), 4) for value in np.percentile(samples, [50, 90, 99]))
    return Cost(runs=len(samples), p50=p50, p90=p90, p99=p99)
