"""Open a bundle on a device and segment frames with it."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Precision
from edge_vseg.errors import OptionError, SessionError
from edge_vseg.imaging.label_maps import LabelMapper, read_label_map, read_logits, resize_labels
from edge_vseg.imaging.preprocess import Preprocessor, check_image
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.selection.cache import default_cache_path
from edge_vseg.runtimes.selection.variant_selection import Selection, select_variant
from edge_vseg.types import ColorOrder, Frame, Image, LabelMap, Logits, Probabilities, Result, Size, Tensor

if TYPE_CHECKING:
    from edge_vseg.scheduling.costs import CostMeter
    from edge_vseg.scheduling.device_profile import DeviceProfile
    from edge_vseg.scheduling.policies import Policy
    from edge_vseg.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """The rarer options of :meth:`Segmenter.open`.

    Attributes:
        precision: ``int8`` or ``float``; ``None`` leaves it to ``auto``, and prefers int8 otherwise.
        variant: Id of the variant to open, instead of a runtime and a precision.
        provider: Execution provider (ONNX Runtime), device (OpenVINO) or delegate (TFLite); empty for the CPU.
        provider_options: Handed to the provider as they are.
        cache: File in which ``runtime="auto"`` remembers its measurements; ``None`` for the user's cache folder.
        replay: Device profile or its file, of this machine or another, whose costs are replayed instead of measured:
            the latencies in results are then those of its device. Needs a policy.
        clock: Nanoseconds, for what the scheduler measures.

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
    cache: Path | None = None
    replay: Path | DeviceProfile | None = None
    clock: Callable[[], int] = time.perf_counter_ns


DEFAULT_OPTIONS = OpenOptions()


class Segmenter:
    """Segments frames with one variant of a bundle. Open it with :meth:`open`; close it, or use ``with``.

    Use it from one thread at a time. Frames may change their size. With a policy it keeps state from frame to frame:
    give it the frames of one video, in order.

    Attributes:
        bundle: The bundle.
        variant: The variant in use.
        chosen: How ``runtime="auto"`` chose it; ``None`` if the caller did.
        session_options: How its graphs were opened.

    Example:
        >>> from edge_vseg import Segmenter, open_source
        >>> with Segmenter.open("street.evseg") as segmenter, open_source("drive.mp4") as frames:
        ...     for frame in frames:
        ...         result = segmenter(frame)
        >>> result.labels.shape == frame.image.shape[:2]
        True
    """

    def __init__(
        self,
        bundle: Bundle,
        selection: Selection,
        session: Session,
        *,
        color: ColorOrder = "bgr",
        scheduler: Scheduler | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        variant = selection.variant
        self._spec = GraphSpec.of(input=variant.input, output=variant.output)
        self.bundle = bundle
        self.variant = variant
        self.chosen = selection.choice
        self.session_options = selection.options
        self._session = session
        self._scheduler = scheduler
        self._clock = clock
        self._head = bundle.manifest.head
        self._preprocess = Preprocessor(bundle.manifest.frame, self._spec.input, color=color)
        self._mapper: LabelMapper | None = None
        self._mapper_hw: Size = (0, 0)
        self._last_seq: int | None = None
        if scheduler is not None:
            from edge_vseg.scheduling.shown_labels import ShownLabels

            self._shown_labels = ShownLabels(self._head.align, scheduler.meter, clock)
        self._numbers = itertools.count()
        self._closed = False

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        *,
        runtime: str = "auto",
        policy: str | Policy | None = None,
        device_profile: str | Path | None = None,
        threads: int = 0,
        color: ColorOrder = "bgr",
        options: OpenOptions = DEFAULT_OPTIONS,
    ) -> Segmenter:
        """Open a bundle.

        Args:
            bundle: Its directory.
            runtime: ``auto`` times the variants that this machine can open and takes the fastest (seconds at the first
                start, remembered afterwards); or ``onnxruntime``, ``openvino``, ``tflite``.
            policy: What schedules frames: a name in :data:`edge_vseg.scheduling.policies.POLICIES`, or a policy object
                with its own parameters. ``None`` runs the whole network on every frame.
            device_profile: File that ``edge-vseg calibrate`` wrote, for the policy. ``None`` takes the one beside the
                bundle, if it was made on this machine with as many threads.
            threads: Worker threads; 0 leaves the choice to the runtime.
            color: Colour order of the frames that you will pass.
            options: Precision, variant, provider and other rarer options.

        Raises:
            BundleError: If the bundle cannot be read or trusted.
            BackendError: If no variant can be opened; the message says why, and has the pip lines.
            OptionError: If an option names something that does not exist, or the variant lacks what the policy needs.
            CalibrationError: If the device profile is of another bundle, variant or machine. One to replay may be of
                another machine.

        Example:
            >>> from edge_vseg import Segmenter
            >>> segmenter = Segmenter.open("street.evseg", threads=2, policy="fixed")
            >>> segmenter.provider
            'cpu'
            >>> segmenter.close()
        """
        if not policy and (device_profile is not None or options.replay is not None):
            raise OptionError(
                "a device profile serves a policy, and no policy was given; name one, or leave out device_profile and"
                " replay"
            )
        opened = open_bundle(bundle)
        selection = select_variant(
            opened,
            SessionOptions(threads=threads, provider=options.provider, provider_options=dict(options.provider_options)),
            runtime=runtime,
            precision=options.precision,
            variant_id=options.variant,
            cache=options.cache or default_cache_path(),
        )
        variant, session_options = selection.variant, selection.options
        path, spec = opened.entry(variant), GraphSpec.of(input=variant.input, output=variant.output)
        backend = get_runtime(variant.runtime)
        session = backend.open(path, spec, session_options)
        log.info("opened %s on %s", variant.id, session.provider)
        if not policy:
            return cls(opened, selection, session, color=color, clock=options.clock)
        # Imported here: plain inference should not pay for it.
        from edge_vseg.scheduling.assembly import SchedulerOptions, open_scheduler

        scheduler, clock = open_scheduler(
            opened,
            variant,
            session,
            lambda entry, part: backend.open(opened.root / entry, part, session_options),
            SchedulerOptions(
                policy=policy,
                threads=threads,
                device_profile=None if device_profile is None else Path(device_profile),
                replay=options.replay,
                clock=options.clock,
            ),
        )
        return cls(opened, selection, session, color=color, scheduler=scheduler, clock=clock)

    @property
    def provider(self) -> str:
        """The provider, device or delegate that is really active."""
        return self._session.provider

    @property
    def meter(self) -> CostMeter | None:
        """What each step costs on this machine, as the policy sees it; ``None`` without a policy."""
        return self._scheduler.meter if self._scheduler else None

    def __call__(self, frame: Frame | Image) -> Result:
        """Segment one frame.

        Args:
            frame: A :class:`Frame`, or a ``(H, W, 3)`` uint8 array, which counts as captured now.

        Returns:
            Labels at the frame's own size, logits or probabilities, and times.

        Raises:
            FrameError: If the image has another shape or dtype.
            SessionError: If the runtime fails, or the segmenter is closed.
        """
        if self._closed:
            raise SessionError("the segmenter is closed; open the bundle again")
        started_ns, started = time.monotonic_ns(), self._clock()
        if not isinstance(frame, Frame):
            frame = Frame(image=frame, seq=next(self._numbers), capture_ns=started_ns)
        check_image(frame.image)
        if self._scheduler is None:
            return self._infer(frame, started_ns)
        return self._schedule(self._scheduler, frame, started)

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

    def _infer(self, frame: Frame, started_ns: int) -> Result:
        """Run the whole network on a frame."""
        tensor = self._preprocess(frame.image)
        prepared = time.monotonic_ns()
        raw = self._session.run({self._spec.input.name: tensor})[self._spec.output.name]
        inferred = time.monotonic_ns()
        size_hw = (frame.image.shape[0], frame.image.shape[1])
        logits = read_logits(raw, self._spec.output, self._head)
        if logits is None:
            labels = resize_labels(read_label_map(raw, self._spec.output, self._head), size_hw)
        else:
            labels = self._map(logits, size_hw)
        done = time.monotonic_ns()
        steps_ns = {"preprocess": prepared - started_ns, "infer": inferred - prepared, "labels": done - inferred}
        return Result(
            labels=labels,
            logits=logits,
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            done_ns=done,
            latency_ms={name: ns / 1e6 for name, ns in steps_ns.items()} | {"total": (done - started_ns) / 1e6},
        )

    def _schedule(self, scheduler: Scheduler, frame: Frame, started: int) -> Result:
        """Let the policy decide what to run for a frame."""
        clock, meter = self._clock, scheduler.meter
        meter.pop_spent_ms()  # drop what a failed frame or the warm-up has left
        follows = self._last_seq is not None and frame.seq == self._last_seq + 1
        self._last_seq = frame.seq

        @functools.cache
        def tensor() -> Tensor:
            begin_ns = clock()
            made = self._preprocess(frame.image)
            meter.add("preprocess", clock() - begin_ns)
            return made

        outcome = scheduler(
            _thinned(frame.image, self.bundle.manifest.frame.size_hw),
            tensor,
            started_ns=started,
            capture_ns=frame.capture_ns,
            codec=frame.motion if follows else None,  # after a gap it leads to a frame that was never here
        )
        labels = self._shown_labels(outcome, (frame.image.shape[0], frame.image.shape[1]))
        scheduler.finish_frame()
        done = clock()
        steps = meter.pop_spent_ms()
        return Result(
            labels=labels,
            logits=outcome.logits,
            scheduled_probabilities=lambda: outcome.probabilities,
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            done_ns=time.monotonic_ns(),
            latency_ms=steps | {"total": (done - started) / 1e6},
            source=outcome.source,
            age_frames=outcome.age_frames,
            age_map=outcome.age_map,
            age_ms_map=outcome.age_ms_map,
            drift_map=outcome.drift_map,
            decision=str(outcome.decision),
        )

    def _map(self, scores: Logits | Probabilities, size_hw: Size) -> LabelMap:
        if self._mapper is None or size_hw != self._mapper_hw:
            self._mapper, self._mapper_hw = LabelMapper(size_hw, self._head.align), size_hw
        return self._mapper(scores)


def _thinned(image: Image, size_hw: Size) -> Image:
    """Every n-th pixel of an image n times as large as the network's input: motion is estimated on still less."""
    step = min(image.shape[0] // size_hw[0], image.shape[1] // size_hw[1])
    return image if step < 2 else image[::step, ::step]
