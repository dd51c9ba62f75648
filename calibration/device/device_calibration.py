"""Calibrate a bundle for the machine that it runs on: the cost of every step, and the drift of carried maps."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import Precision
from edge_vseg.calibration.device.aging_fit import fit_aging
from edge_vseg.calibration.device.contention import CONTENTION_FRAMES, measure_contention
from edge_vseg.calibration.device.drift_fit import DriftFitter
from edge_vseg.calibration.device.option_timing import time_options
from edge_vseg.calibration.device.trial_policy import TrialPolicy
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.imaging.label_maps import best_class
from edge_vseg.imaging.letterbox import resize_image
from edge_vseg.open_options import OpenOptions
from edge_vseg.runtimes import get_runtime
from edge_vseg.scheduling.companion import check_companion
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile, machine_key, provider_key
from edge_vseg.scheduling.enclosure import FrameEnclosure
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.scheduling.quantiles import percentiles
from edge_vseg.scheduling.steps import slice_step
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, LabelMap

MIN_FRAMES = 24
GROUP_FRAMES = 12
"""Frames that one segmenter takes in a row. In turns of one, each would find its caches cold, as no scheduled frame
does."""
PERIOD_NS = 33_333_333
"""From one frame to the next, as the segmenters are told."""
LONG_AGO_NS = 86_400_000_000_000
DRIFT_MOTION = "dis"
"""Estimator that the drift model is fitted with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCalibrationOptions:
    """What to calibrate; see :meth:`Segmenter.open`. Use the threads that you will run with.

    Attributes:
        runtime: ``auto``, ``onnxruntime``, ``openvino`` or ``tflite``.
        precision: ``int8``, ``float`` or ``float16``; ``None`` for any.
        variant: Id of a variant, instead of the two above.
        threads: Worker threads; 0 for the runtime's choice.
        provider: Execution provider, device or delegate; empty for the CPU.
        provider_options: Handed to the provider as they are.
        companions: Bundles that may accompany it.
    """

    runtime: str = "auto"
    precision: Precision | None = None
    variant: str = ""
    threads: int = 0
    provider: str = ""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    companions: tuple[Path, ...] = ()


def calibrate_device(
    bundle: Path,
    frames: Iterable[Frame],
    *,
    video: str,
    options: DeviceCalibrationOptions | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> DeviceProfile:
    """Measure costs and fit the drift model on a sample video without labels.

    Every frame is inferred as a whole, as the truth for carried maps, and goes through a second segmenter that tries
    every action and motion estimator. Takes two to three times as long as inferring the video; nothing else should run.

    Args:
        bundle: The bundle.
        frames: Consecutive frames of what the camera will see; a few hundred are enough.
        video: Name of the video, for the record.
        options: What to calibrate.
        progress: Called with the number of frames done.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no variant can be opened, such as for want of the provider.
        CalibrationError: If there are fewer than 24 frames, or too few to time every slice.
        OptionError: If the graphs give label maps instead of scores, or a companion does not go with the bundle.
    """
    chosen = options or DeviceCalibrationOptions()
    opened, companions = open_bundle(bundle), [open_bundle(path) for path in chosen.companions]
    if opened.manifest.head.kind == "labels":
        raise OptionError(
            f"{bundle} gives label maps, and calibration compares scores; run it without a device profile: costs are"
            " learnt as it runs"
        )
    for companion in companions:  # a mistake shows before anything takes long
        check_companion(opened, companion)
    wanted = OpenOptions(
        precision=chosen.precision,
        variant=chosen.variant,
        provider=chosen.provider,
        provider_options=chosen.provider_options,
    )
    # The policy that uses all parts comes first: ``auto`` then chooses as for a deadline that the network does not fit.
    with Segmenter.open(
        bundle, runtime=chosen.runtime, policy=TrialPolicy(), threads=chosen.threads, options=wanted
    ) as trial:
        same = replace(wanted, precision=None, variant=trial.variant.id)
        frame_spec, head = trial.bundle.manifest.frame, trial.bundle.manifest.head
        observer = MotionObserver(frame_spec.size_hw, head.size_hw)
        enclosure = FrameEnclosure(frame_spec, "bgr")
        fitter = DriftFitter(observer.statistics_hw)
        with Segmenter.open(bundle, policy="every-frame", threads=chosen.threads, options=same) as plain:
            meter = trial.meter
            done, remaining = 0, evenly_stamped(frames)
            recent: deque[Frame] = deque(maxlen=CONTENTION_FRAMES)
            recent_labels: deque[LabelMap] = deque(maxlen=CONTENTION_FRAMES)
            while group := list(itertools.islice(remaining, GROUP_FRAMES)):
                for frame in group:
                    trial(frame)
                if done == 0:
                    meter.clear()  # first runs are slow
                for frame in group:
                    # Enclosed here, if at all: motion and logits are then of the whole input, with its border.
                    entered, _ = enclosure.enter(frame)
                    found = plain(entered).probabilities
                    assert found is not None
                    fitter.add(observer(resize_image(entered.image, frame_spec.size_hw), DRIFT_MOTION), found)
                    recent_labels.append(enclosure.within(best_class(found)))
                recent.extend(group)
                done += len(group)
                progress(done)
            samples_ms = meter.samples_ms()
        if done < MIN_FRAMES:
            raise CalibrationError(f"{video} has {done} frames; calibration needs {MIN_FRAMES} or more in a row")
        if any(slice_step(number) not in samples_ms for number in range(len(plain.variant.slices))):
            raise CalibrationError(f"{video} has {done} frames, too few to time every slice; give 60 or more")
        samples_ms |= time_options(bundle, same, chosen.threads, list(recent), companions)
        return DeviceProfile(
            bundle_sha256=plain.bundle.sha256,
            variant=plain.variant.id,
            machine=machine_key(),
            threads=chosen.threads,
            provider=provider_key(chosen.provider, plain.provider),
            runtime=get_runtime(plain.variant.runtime).version(),
            video=video,
            costs={step: _cost(durations_ms) for step, durations_ms in samples_ms.items()},
            drift=fitter.model(),
            aging=fit_aging(bundle, same, chosen.threads, list(recent), list(recent_labels)),
            fit=fitter.cross_validate(),
            contention=measure_contention(bundle, same, chosen.threads, list(recent), samples_ms),
        )


def evenly_stamped(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Frames with the capture times of a camera, 30 a second, whatever the time that it took to come to each.

    A file's frames are captured when they are read. Two segmenters take a dozen of them in turns, and on a slow device
    the first of the next dozen comes so late that all that was carried is forgotten: aging and tiles would then be
    measured of maps that are newer than they are taken for. The times lie a day back, as none may be in the future.
    """
    begin_ns: int | None = None
    for number, frame in enumerate(frames):
        begin_ns = int(frame.capture_ns) - LONG_AGO_NS if begin_ns is None else begin_ns
        yield replace(frame, capture_ns=begin_ns + number * PERIOD_NS)


def _cost(samples_ms: list[float]) -> Cost:
    p50, p90, p99 = (round(value, 4) for value in percentiles(samples_ms, 50, 90, 99))
    return Cost(runs=len(samples_ms), p50=p50, p90=p90, p99=p99)
