"""Open a bundle on a device and segment frames with it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import (
    ForkError,
    FrameError,
    OptionError,
    SegmenterBusyError,
    SegmenterClosedError,
)
from edge_vseg.imaging.preprocess import check_image
from edge_vseg.motion import CODEC
from edge_vseg.motion.field import check_field
from edge_vseg.open_options import DEFAULT_OPTIONS, OpenOptions
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions
from edge_vseg.runtimes.chosen_network import NetworkChoice, choose_network
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed
from edge_vseg.runtimes.selection.variant_selection import Selection
from edge_vseg.scheduling.assembly import EngineOptions, open_engine
from edge_vseg.scheduling.companion import open_companion
from edge_vseg.scheduling.costs import CostMeter, NetworkPace
from edge_vseg.scheduling.device_profile import provider_key
from edge_vseg.scheduling.engine import FrameEngine
from edge_vseg.scheduling.own_schedule import OwnSchedule, own_schedule, tuned_variant
from edge_vseg.scheduling.policies import Policy, as_policy, check_consults, limits_of
from edge_vseg.types import ColorOrder, Frame, Image, Result

log = logging.getLogger(__name__)

MAX_AHEAD_MS = 1000.0
"""A capture time may be so far ahead: drivers may stamp the end of an exposure that they expect."""
CLOSE_TIMEOUT_S = 5.0
"""How long closing waits for a frame that another thread is in."""


def _end_of_time_ns() -> float:
    return math.inf  # on a clock of its own nothing is known to lie ahead


class Segmenter:
    """Segments frames with one variant of a bundle. Open it with :meth:`open`; close it, or use ``with``.

    Use it from one thread at a time. Frames may change their size. It keeps state from frame to frame: give it the
    frames of one video, in order. Everything that was carried is forgotten where a frame number does not grow, or where
    captures are further apart than the policy's ``max_age_ms``.

    Attributes:
        bundle: The bundle.
        variant: The variant in use.
        chosen: How ``runtime="auto"`` chose it; ``None`` if the caller did.
        policy: What schedules frames.
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
        engine: FrameEngine,
        *,
        policy: Policy,
        latest_ns: Callable[[], float] = _end_of_time_ns,
    ) -> None:
        self.bundle = bundle
        self.variant = selection.variant
        self.chosen = selection.choice
        self.policy = policy
        self.session_options = selection.options
        self._session = session
        self._engine = engine
        self._latest_ns = latest_ns
        self._next_seq = 0
        self._pid = os.getpid()
        self._busy = threading.Lock()
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
            runtime: ``auto`` times the variants that this machine can open and takes the fastest that the policy can
                make use of (seconds at the first start, remembered afterwards); or ``onnxruntime``, ``openvino``,
                ``tflite``.
            policy: What schedules frames: a name in :data:`edge_vseg.scheduling.policies.POLICIES`, or a policy object
                with its own parameters. ``None`` takes the schedule that ``edge-vseg tune`` wrote into the bundle, with
                the variant, threads, borders and companion that belong to it, unless you choose them; a bundle without
                one runs the whole network on every frame.
            device_profile: File that ``edge-vseg calibrate`` wrote, for the policy. ``None`` takes the one beside the
                bundle, if it was made on this machine with as many threads.
            threads: Worker threads; 0 leaves the choice to the runtime.
            color: Colour order of the frames that you will pass, ``bgr`` or ``rgb``.
            options: Precision, variant, provider and other rarer options.

        Raises:
            BundleError: If the bundle cannot be read or trusted.
            BackendError: If no variant can be opened; the message says why, and has the pip lines. A graph that
                kills or blocks the process that opens it is a BackendCrashError or ProbeTimeoutError.
            OptionError: If an option names something that does not exist, the variant lacks what the policy needs, or
                the companion and the bundle or the policy do not go together.
            CalibrationError: If the device profile is of another bundle, variant or machine. One to replay may be of
                another machine.

        Example:
            >>> from edge_vseg import Segmenter
            >>> segmenter = Segmenter.open("street.evseg", threads=2, policy="fixed")
            >>> segmenter.provider
            'cpu'
            >>> segmenter.close()
        """
        _check_arguments(threads, color, options)
        opened = open_bundle(bundle)
        if not policy and (own := own_schedule(opened)) is not None:
            policy, threads, options = own.policy, threads or own.threads, _as_tuned(opened, own, runtime, options)
        if not policy and (device_profile is not None or options.replay is not None):
            raise OptionError(
                "a device profile serves a policy, and no policy was given; name one, or leave out device_profile and"
                " replay"
            )
        schedule = as_policy(policy)
        choice = NetworkChoice(
            session=SessionOptions(
                threads=threads, provider=options.provider, provider_options=dict(options.provider_options)
            ),
            runtime=runtime,
            precision=options.precision,
            variant=options.variant,
            misfit="refuse" if options.replay is None else "warn",
            cache=options.cache,
            probe=options.probe,
            trust=options.trust,
        )
        network = choose_network(
            opened, choice, ScheduleNeed(parts=schedule.needs, deadline_ms=limits_of(schedule).deadline_ms)
        )
        variant = network.variant
        # A camera's segmenter may be opened again while the one before it still runs, or hangs.
        shared = None if options.background is None else options.background.renewed()
        with contextlib.ExitStack() as undo:
            if shared is None:
                session = network.open_whole()
            else:
                shared.network = f"{opened.sha256} {variant.id} {network.selection.options}"
                whole = GraphSpec.of(input=variant.input, output=variant.output)
                session = shared.lend(network.open_graph)(variant.entry, whole)
            undo.callback(session.close)
            log.info("opened %s on %s", variant.id, session.provider)
            companion = None
            if options.companion is not None:
                check_consults(schedule)
                companion = open_companion(options.companion, network, choice, color)
                undo.callback(companion.close)
            engine = open_engine(
                opened,
                variant,
                session,
                network.open_graph,
                EngineOptions(
                    policy=schedule,
                    threads=threads,
                    color=color,
                    device_profile=None if device_profile is None else Path(device_profile),
                    labels=options.labels,
                    borders=options.borders or "interpolated",
                    companion=companion,
                    provider=provider_key(options.provider, session.provider),
                    follow=options.follow,
                    replay=options.replay,
                    clock=options.clock,
                    background=shared,
                ),
            )
            undo.pop_all()
        measured = options.replay is None and options.clock is time.perf_counter_ns
        return cls(
            opened,
            network.selection,
            session,
            engine,
            policy=schedule,
            latest_ns=_latest_capture_ns if measured else _end_of_time_ns,
        )

    @property
    def provider(self) -> str:
        """The provider, device or delegate that is really active."""
        return self._session.provider

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes; ``labels[i].name`` is that of id ``i`` in a label map."""
        return self.bundle.manifest.labels

    @property
    def meter(self) -> CostMeter:
        """What each step costs on this machine, as the policy sees it."""
        return self._engine.meter

    @property
    def network_pace(self) -> NetworkPace:
        """How often the network makes a map, as far as is known; what the default age of results is judged by."""
        return self._engine.network_pace

    def __call__(self, frame: Frame | Image) -> Result:
        """Segment one frame.

        Args:
            frame: A :class:`Frame`, or a ``(H, W, 3)`` uint8 array, which counts as captured now.

        Returns:
            Labels at the frame's own size, where they come from, and times; logits or probabilities when they are read.

        Raises:
            FrameError: If the image has another shape or dtype, the capture time is of another clock, or the frame
                brings motion that is not finite.
            SessionError: If the runtime fails, the network gives values that are not finite, the motion cannot be
                estimated, or there is no memory left. The next frame goes on with the last good map.
            SegmenterBusyError: If another thread is inside.
            SegmenterClosedError: If it is closed.
            ForkError: If it was opened before a fork.
        """
        if os.getpid() != self._pid:
            raise ForkError(
                "this segmenter was opened before the process was forked, and its runtime's threads are not in the"
                " child; open it in the child, or start children by multiprocessing's method 'spawn'"
            )
        if not self._busy.acquire(blocking=False):
            raise SegmenterBusyError(
                "another thread is in this segmenter, which takes the frames of one video from one thread; open one"
                " segmenter for each thread"
            )
        try:
            if self._closed:
                raise SegmenterClosedError("the segmenter is closed; open the bundle again")
            if not isinstance(frame, Frame):
                frame = Frame(image=frame, seq=self._next_seq, capture_ns=time.monotonic_ns())
            check_image(frame.image)
            if frame.motion is not None and self._engine.policy.motion == CODEC:
                check_field(frame.motion)
            _check_times(frame, self._latest_ns())
            # numpy's unsigned numbers have no negative differences.
            frame = replace(frame, seq=int(frame.seq), capture_ns=int(frame.capture_ns))
            self._next_seq = frame.seq + 1
            return self._engine(frame)
        finally:
            self._busy.release()

    def push(self, image: Image, *, capture_ns: int, seq: int | None = None) -> Result:
        """Segment an image from a camera driver of your own.

        Args:
            image: ``(H, W, 3)`` uint8.
            capture_ns: When it was captured, ``time.monotonic_ns()``.
            seq: The driver's frame number, so that frames it dropped count for the age of maps; ``None`` for one more
                than the last.

        Raises:
            FrameError: If the image has another shape or dtype, or the capture time is of another clock.
            SessionError: As for calling the segmenter.
        """
        return self(Frame(image=image, seq=self._next_seq if seq is None else seq, capture_ns=capture_ns))

    def close(self) -> None:
        """Release the graph; calling it twice does nothing, and neither does calling it in a forked child."""
        if os.getpid() != self._pid:
            return
        idle = self._busy.acquire(timeout=CLOSE_TIMEOUT_S)
        try:
            self._closed = True
            with contextlib.closing(self._session):
                self._engine.close()
        finally:
            if idle:
                self._busy.release()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.provider
        return f"<Segmenter {self.variant.id} of {self.bundle.root.name}, {state}>"


def _as_tuned(bundle: Bundle, own: OwnSchedule, runtime: str, options: OpenOptions) -> OpenOptions:
    """The options with what a bundle's own schedule was tuned with, where the caller has not chosen."""
    chooses = runtime != "auto" or options.precision is not None or bool(options.variant)
    return replace(
        options,
        variant=options.variant if chooses else tuned_variant(bundle, own),
        borders=options.borders or own.borders,
        companion=options.companion or own.companion,
    )


def _check_arguments(threads: int, color: str, options: object) -> None:
    """Raise OptionError for what would be taken for something else, or fail deep inside a runtime."""
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise OptionError(f"threads must be a whole number, 0 for the runtime's choice; got {threads!r}")
    if color not in ("bgr", "rgb"):
        raise OptionError(f"color must be 'bgr' or 'rgb', got {color!r}")
    if not isinstance(options, OpenOptions):
        raise OptionError(f"a segmenter takes OpenOptions, got {type(options).__name__}; give OpenOptions(...)")


def _latest_capture_ns() -> float:
    return time.monotonic_ns() + MAX_AHEAD_MS * 1e6


def _check_times(frame: Frame, latest_ns: float) -> None:
    """Raise FrameError if a frame has no number, or a capture time of another clock."""
    for name, value in (("seq", frame.seq), ("capture_ns", frame.capture_ns)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise FrameError(f"{name} must be a whole number, got {value!r}; capture times are time.monotonic_ns()")
    if frame.capture_ns > latest_ns:
        raise FrameError(
            f"capture_ns is {frame.capture_ns}, far ahead of time.monotonic_ns(), {time.monotonic_ns()}; was it"
            " time.time_ns()? Give the monotonic clock's nanoseconds at the capture"
        )
