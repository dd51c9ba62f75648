"""Open a bundle on a device and segment frames with it."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Precision, Variant
from edge_vseg.errors import BackendError, OptionError, SessionError
from edge_vseg.imaging.label_maps import LabelMapper, read_label_map, read_logits, resize_labels
from edge_vseg.imaging.preprocess import Preprocessor, check_image
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.selection.auto import Choice, choose_variant, default_cache_path
from edge_vseg.runtimes.selection.compatibility import fit_options, split_by_fit
from edge_vseg.types import ColorOrder, Frame, Image, LabelMap, Result, Scores, Size, Tensor

if TYPE_CHECKING:
    from edge_vseg.scheduling.costs import CostMeter
    from edge_vseg.scheduling.policies import Policy
    from edge_vseg.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)

STEP_NAMES = {"prepare": "preprocess", "deciding": "decide", "whole": "infer", "fresh": "fuse", "closing": "close"}
"""What steps of a scheduled frame are called in results, where the cost meter has another word."""


class Segmenter:
    """Segments frames with one graph of a bundle; open it with :meth:`open`, close it or use ``with``.

    One thread at a time may use it. Frames may change their size from one to the next.

    Attributes:
        bundle: The bundle.
        variant: The graph in use.
        chosen: How ``runtime="auto"`` chose it; ``None`` if the caller did.
        options: How its graphs are opened.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        session: Session,
        chosen: Choice | None,
        color: ColorOrder,
        options: SessionOptions | None = None,
        scheduler: Scheduler | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.bundle = bundle
        self.variant = variant
        self.chosen = chosen
        self.options = options or SessionOptions()
        self._session = session
        self._scheduler = scheduler
        self._clock = clock
        self._labels: LabelMap | None = None
        self._spec = GraphSpec.of(input=variant.input, output=variant.output)
        self._head = bundle.manifest.head
        self._prepare = Preprocessor(bundle.manifest.frame, variant.input, color=color)
        self._mapper: LabelMapper | None = None
        self._size_hw: Size = (0, 0)
        self._numbers = itertools.count()
        self._last_seq: int | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        *,
        runtime: str = "auto",
        precision: Precision | None = None,
        variant: str = "",
        threads: int = 0,
        provider: str = "",
        extra: Mapping[str, str] | None = None,
        color: ColorOrder = "bgr",
        cache: Path | None = None,
        policy: str | Policy = "",
        device_profile: Path | None = None,
        replay: Path | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> Segmenter:
        """Open a bundle.

        Args:
            bundle: Its directory.
            runtime: ``auto`` times the graphs that this machine can open and takes the fastest (the answer is
                remembered); or ``onnxruntime``, ``openvino``, ``tflite``.
            precision: ``int8`` or ``float``; ``None`` leaves it to ``auto``, and prefers int8 otherwise.
            variant: Id of the very graph to open, instead of ``runtime`` and ``precision``.
            threads: Worker threads; 0 leaves the choice to the runtime.
            provider: Execution provider, device or delegate; empty for the CPU.
            extra: Options for the provider.
            color: Colour order of the frames that will come.
            cache: Where ``auto`` remembers; the user's cache folder by default.
            policy: What schedules frames: a name in :data:`edge_vseg.scheduling.policies.POLICIES`, or a policy
                object with parameters of its own. Empty infers every frame and returns the network's scores unchanged.
            device_profile: What ``edge-vseg calibrate`` wrote, for the policy; by default the file beside the bundle
                that was made on this machine with as many threads, if there is one.
            replay: Device profile, of this machine or of another, whose costs are replayed instead of measuring any:
                latencies in results are then those of its device.
            clock: Nanoseconds, for what the scheduler measures.

        Raises:
            CalibrationError: If a profile was given and is of another bundle, variant or machine; one to replay may be
                of another machine.
            BundleError: If the bundle cannot be read or trusted.
            BackendError: If no graph can be opened; the message says why, and the pip lines.
            OptionError: If an option names something that is not there.
        """
        if not policy and (device_profile is not None or replay is not None):
            raise OptionError("a device profile serves a policy; name one, or leave out device_profile and replay")
        opened = open_bundle(bundle)
        options = SessionOptions(threads=threads, provider=provider, extra=dict(extra or {}))
        chosen: Choice | None = None
        if variant:
            for failure in opened.manifest.failed:
                if failure.id == variant:
                    raise BackendError(f"variant {variant!r} was not exported: {failure.reason}")
            picked = opened.manifest.variant(variant)
            here = get_runtime(picked.runtime).providers() if picked.target == "jetson" else ()
            options = fit_options(picked, options, here)
        elif runtime == "auto":
            for candidate in opened.manifest.variants:
                if precision in (None, candidate.precision):
                    opened.entry(candidate)
            where = cache or default_cache_path()
            chosen = choose_variant(
                opened.manifest, opened.root, opened.sha256, options=options, precision=precision, cache=where
            )
            picked, options = chosen.variant, chosen.options
        else:
            picked, options = pick_variant(opened, runtime, precision, options)
        path = opened.entry(picked)
        spec = GraphSpec.of(input=picked.input, output=picked.output)
        backend = get_runtime(picked.runtime)
        session = backend.open(path, spec, options)
        log.info("opened %s on %s", picked.id, session.provider)
        scheduler = None
        if policy:
            # Here, and not above: plain inference should not pay for importing it.
            from edge_vseg.scheduling.assembly import open_scheduler

            scheduler, clock = open_scheduler(
                opened,
                picked,
                session,
                lambda entry, part: backend.open(opened.root / entry, part, options),
                policy=policy,
                threads=threads,
                profile=device_profile,
                replay=replay,
                clock=clock,
            )
        return cls(opened, picked, session, chosen, color, options, scheduler, clock)

    @property
    def provider(self) -> str:
        """The provider, device or delegate that is really active."""
        return self._session.provider

    @property
    def meter(self) -> CostMeter | None:
        """What things cost here, as the policy sees it; ``None`` if no policy schedules frames."""
        return self._scheduler.meter if self._scheduler else None

    def __call__(self, frame: Frame | Image) -> Result:
        """Segment one frame.

        Args:
            frame: A :class:`Frame`, or a ``(H, W, 3)`` uint8 array, which counts as captured now.

        Returns:
            Labels at the frame's own size, scores, and times.

        Raises:
            FrameError: If the image has another shape or dtype.
            SessionError: If the runtime fails, or the segmenter is closed.
        """
        if self._closed:
            raise SessionError("the segmenter is closed; open the bundle again")
        started, began = time.monotonic_ns(), self._clock()
        if isinstance(frame, Frame):
            image, seq, capture_ns, codec = frame.image, frame.seq, frame.capture_ns, frame.motion
        else:
            image, seq, capture_ns, codec = frame, next(self._numbers), started, None
        check_image(image)
        tensor = self._prepare(image)
        prepared = time.monotonic_ns()
        if self._scheduler is not None:
            if self._last_seq is None or seq != self._last_seq + 1:
                codec = None  # it leads to a frame that was not seen here
            self._last_seq = seq
            return self._schedule(
                self._scheduler,
                Frame(image=image, seq=seq, capture_ns=capture_ns, motion=codec),
                tensor,
                began,
            )
        raw = self._session.run({self._spec.input.name: tensor})[self._spec.output.name]
        inferred = time.monotonic_ns()
        labels, scores = self._read(raw, (image.shape[0], image.shape[1]))
        done = time.monotonic_ns()
        steps = {"preprocess": prepared - started, "infer": inferred - prepared, "labels": done - inferred}
        latency_ms = {name: ns / 1e6 for name, ns in steps.items()} | {"total": (done - started) / 1e6}
        return Result(labels=labels, scores=scores, seq=seq, capture_ns=capture_ns, done_ns=done, latency_ms=latency_ms)

    def _schedule(self, scheduler: Scheduler, frame: Frame, tensor: Tensor, began: int) -> Result:
        clock, meter = self._clock, scheduler.meter
        meter.spent()  # what a frame that failed, or the warm-up, has left
        meter.add("prepare", clock() - began)
        # Motion is estimated on small pictures, which are made faster from the network's input than from a large frame.
        small = tensor[0] if self._spec.input.layout == "NHWC" and tensor.dtype == np.uint8 else frame.image
        outcome = scheduler(small, tensor, started=began, capture_ns=frame.capture_ns, codec=frame.motion)
        decided = clock()
        size_hw = (frame.image.shape[0], frame.image.shape[1])
        if outcome.fresh or self._labels is None or self._labels.shape != size_hw:
            labels = self._map(outcome.mapped, size_hw)
            if self._labels is None or self._labels.shape != size_hw:
                self._labels = np.empty(size_hw, np.uint8)
            np.copyto(self._labels, labels)  # the caller may draw on the other one
            meter.add("labels", clock() - decided)
        else:
            labels = self._labels.copy()
        done = clock()
        steps = {STEP_NAMES.get(name, name): ms for name, ms in meter.spent().items()}
        return Result(
            labels=labels,
            scores=outcome.probabilities,
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            done_ns=time.monotonic_ns(),
            latency_ms=steps | {"total": (done - began) / 1e6},
            source=outcome.source,
            age_frames=outcome.age_frames,
            age_map=outcome.age_map,
            age_ms_map=outcome.age_ms_map,
            drift_map=outcome.drift_map,
            decision=str(outcome.decision),
        )

    def push(self, image: Image, *, capture_ns: int) -> Result:
        """Segment an image from a camera driver that knows when it was captured (``time.monotonic_ns()``)."""
        return self(Frame(image=image, seq=next(self._numbers), capture_ns=capture_ns))

    def close(self) -> None:
        """Release the graph; calling it twice does nothing."""
        self._closed = True
        if self._scheduler is not None:
            self._scheduler.close()
        self._session.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, raw: Tensor, size_hw: Size) -> tuple[LabelMap, Scores | None]:
        scores = read_logits(raw, self._spec.output, self._head)
        if scores is None:
            return resize_labels(read_label_map(raw, self._spec.output, self._head), size_hw), None
        return self._map(scores, size_hw), scores

    def _map(self, scores: Scores, size_hw: Size) -> LabelMap:
        if self._mapper is None or size_hw != self._size_hw:
            self._mapper, self._size_hw = LabelMapper(size_hw, self._head.align), size_hw
        return self._mapper(scores)


def pick_variant(
    bundle: Bundle, runtime: str, precision: Precision | None, options: SessionOptions
) -> tuple[Variant, SessionOptions]:
    """The variant of a runtime that fits this machine: int8 before float, good ones before troubled ones.

    Returns:
        The variant, and the options to open it with: the caller's, with the GPU provider of a ``jetson`` one.

    Raises:
        OptionError: If there is no such runtime, or the bundle has nothing for it and the precision.
        BackendError: If it has, but nothing that fits this machine.
    """
    backend, manifest, cpu = get_runtime(runtime), bundle.manifest, cpu_features()
    own = [v for v in manifest.variants if v.runtime == runtime and precision in (None, v.precision)]
    failed = [f for f in manifest.failed if f.runtime == runtime and precision in (None, f.precision)]
    if not own and not failed:
        have = ", ".join(v.id for v in manifest.variants)
        wanted = f"{runtime} {precision}" if precision else runtime
        raise OptionError(f"bundle {manifest.name!r} has nothing for {wanted}; it has: {have}")
    # Asking for providers loads the runtime, and only a jetson variant needs to know them.
    gpu = cpu.architecture == "arm64" and any(v.target == "jetson" for v in own)
    providers = backend.providers() if gpu else ()
    fit, unfit = split_by_fit(own, cpu, {runtime: providers})
    if not fit:
        unfit |= {failure.id: failure.message for failure in failed}
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unfit.items())
        raise BackendError(f"no {runtime} graph of bundle {manifest.name!r} fits this machine: {reasons}")
    order = ["ok", "slower-than-float", "drop"]
    # A graph made for the GPU comes first where there is one.
    best = min(fit, key=lambda v: (v.precision != "int8", v.target != "jetson", order.index(v.status)))
    return best, fit_options(best, options, providers)
