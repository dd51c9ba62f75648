"""Several cameras on one machine: a pipeline for each, and one background lane for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from edge_vseg.errors import OptionError
from edge_vseg.pipeline.health import WORST_FIRST, Health
from edge_vseg.pipeline.options import DEFAULT_PIPELINE_OPTIONS, PipelineOptions, check_options
from edge_vseg.pipeline.pipeline import Pipeline
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.shared_background import SharedBackground
from edge_vseg.video import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCamera:
    """A camera of a fleet.

    Attributes:
        source: What :func:`~edge_vseg.video.open_source` takes, or an open source, which the fleet then owns.
        weight: What an outdated pixel of it counts, compared with those of the others.
        max_wait_ms: It has its turn this often, whatever the others would gain.
        bundle: Directory of its bundle; ``None`` for that of the fleet.
    """

    source: str | Path | int | Source
    weight: float = 1.0
    max_wait_ms: float = 2000.0
    bundle: str | Path | None = None


class Fleet:
    """One machine's time divided among cameras. Open it with :meth:`open`; close it, or use ``with``.

    Every camera is a :class:`Pipeline` of its own: each of its frames is answered within the deadline, stale results
    are refused, and one camera that stalls or fails leaves the others alone. The network runs in one background lane,
    one keyframe at a time, for the camera whose predicted drift is highest for each millisecond it takes. Cameras with
    the same bundle share its sessions.

    Attributes:
        pipelines: The pipelines, by name.

    Example:
        >>> from edge_vseg import Fleet
        >>> cameras = {"front": "drive.mp4", "rear": "drive.mp4"}
        >>> with Fleet.open("street.evseg", cameras, deadline_ms=1000, runtime="onnxruntime") as fleet:
        ...     front = fleet["front"].wait(timeout_ms=20_000)
        ...     rear = fleet["rear"].wait(timeout_ms=20_000)
        >>> front.labels.shape == rear.labels.shape
        True
    """

    def __init__(self, pipelines: Mapping[str, Pipeline]) -> None:
        self.pipelines: Mapping[str, Pipeline] = dict(pipelines)

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        cameras: Mapping[str, FleetCamera | str | Path | int | Source],
        *,
        deadline_ms: float | None = None,
        runtime: str = "auto",
        policy: str | Policy | None = None,
        device_profile: str | Path | None = None,
        threads: int = 0,
        options: PipelineOptions = DEFAULT_PIPELINE_OPTIONS,
    ) -> Fleet:
        """Open a bundle for several cameras, and start.

        Args:
            bundle: Directory of the bundle.
            cameras: By name, a :class:`FleetCamera`, or its source alone.
            deadline_ms: See :meth:`Pipeline.open`, as for the rest; they hold for every camera.
            runtime: Which runtime; ``auto`` chooses.
            policy: What schedules the frames of each camera, if it is not a deadline alone. ``deadline`` and ``async``
                run the network in the background, which is what cameras share.
            device_profile: File that ``edge-vseg calibrate`` wrote.
            threads: Worker threads; 0 leaves the choice to the runtime.
            options: Limits of age, restarts and health of each pipeline.

        Raises:
            OptionError: If there is no camera, an option is impossible, or the options have a background of their own.
            BundleError: If a bundle cannot be read or trusted.
            BackendError: If no variant can be opened.
            VideoError: If a source cannot be opened; those that were opened are closed again.
        """
        if not cameras or not isinstance(cameras, Mapping):
            raise OptionError("a fleet needs a camera or more, by name: {'front': 0, 'rear': 'rtsp://10.0.0.5/rear'}")
        check_options(options)
        if options.segmenter.background is not None:
            raise OptionError("a fleet makes the background lane of its cameras; leave out OpenOptions.background")
        shared = SharedBackground()
        pipelines: dict[str, Pipeline] = {}
        try:
            for name, given in cameras.items():
                camera = given if isinstance(given, FleetCamera) else FleetCamera(source=given)
                part = shared.join(weight=camera.weight, max_wait_ms=camera.max_wait_ms)
                pipelines[name] = Pipeline.open(
                    bundle if camera.bundle is None else camera.bundle,
                    camera.source,
                    deadline_ms=deadline_ms,
                    runtime=runtime,
                    policy=policy,
                    device_profile=device_profile,
                    threads=threads,
                    options=replace(options, segmenter=replace(options.segmenter, background=part)),
                )
        except BaseException:
            for pipeline in pipelines.values():
                pipeline.close()
            shared.close()
            raise
        return cls(pipelines)

    def __getitem__(self, name: str) -> Pipeline:
        """The pipeline of a camera.

        Raises:
            OptionError: If there is no camera of that name.
        """
        if name not in self.pipelines:
            raise OptionError(f"there is no camera {name!r}; there are {', '.join(self.pipelines)}")
        return self.pipelines[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the cameras."""
        return iter(self.pipelines)

    def __len__(self) -> int:
        return len(self.pipelines)

    @property
    def health(self) -> Health:
        """The health of the camera that is worst off, with its name in the reason."""
        found = [(name, pipeline.health) for name, pipeline in self.pipelines.items()]
        name, worst = min(found, key=lambda each: WORST_FIRST.index(each[1].state))
        return replace(worst, reason=f"{name}: {worst.reason}") if worst.reason else worst

    def close(self) -> None:
        """Close all pipelines; calling it twice does nothing."""
        for pipeline in self.pipelines.values():
            pipeline.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Fleet of {', '.join(self.pipelines)}>"
