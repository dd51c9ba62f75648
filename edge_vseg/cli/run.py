"""``edge-vseg run``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli import console
from edge_vseg.cli.live_options import LiveOptions, takes_live_options
from edge_vseg.cli.options import (
    BundleArgument,
    ForceOption,
    JsonOption,
    MaxFramesOption,
    check_new_folder,
    check_output,
    deadline_of,
    needs_codec_motion,
)
from edge_vseg.cli.outputs import OutputOptions, Outputs
from edge_vseg.cli.run_stats import RunStats
from edge_vseg.cli.spared import spare_inputs, spare_source
from edge_vseg.errors import OptionError, OutputError, VideoError
from edge_vseg.files import write_whole
from edge_vseg.scheduling.policies import Policy
from edge_vseg.segmenter import Segmenter
from edge_vseg.signals import defer_interrupt
from edge_vseg.types import Frame
from edge_vseg.video import BufferOptions, InputOptions, ReconnectOptions, Source, open_source
from edge_vseg.video.options import Keep
from edge_vseg.video.writer import check_video_suffix

INTERRUPTED = "Ctrl-C or SIGTERM"


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunConfig:
    """What to run, and where its results go."""

    bundle: Path
    source: str
    runtime: RuntimeOptions
    policy: Policy | None
    outputs: OutputOptions
    stats: Path | None
    input: InputOptions
    max_frames: int | None
    as_json: bool


@takes_live_options
def run(
    bundle: BundleArgument,
    source: Annotated[str, typer.Argument(help="Video, folder, camera (0, csi://0, ros2:/topic), URL, or -.")],
    *,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Overlay video to write, .mp4.")] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Draw an uncertainty map beside each frame of the overlay.")
    ] = False,
    headless: Annotated[
        bool, typer.Option("--headless/--show", help="--show opens a window with the overlay, if OpenCV has windows.")
    ] = True,
    labels_out: Annotated[
        Path | None, typer.Option(help="New folder for label maps: a PNG of class ids per frame.")
    ] = None,
    stats: Annotated[
        Path | None, typer.Option(help="JSON file to write: latencies by step, and what ran; - prints it.")
    ] = None,
    live: LiveOptions,
    buffer: Annotated[
        str, typer.Option(help="Frames of a live source that a slow machine gets: newest, every or oldest.")
    ] = "newest",
    reconnect: Annotated[
        bool, typer.Option("--reconnect/--no-reconnect", help="Open a lost camera or stream again until it is back.")
    ] = True,
    max_frames: MaxFramesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment a video frame by frame. Ctrl-C and SIGTERM stop and keep what was written."""
    if stats == Path("-"):
        stats, as_json = None, True
    for path in (output, stats):
        check_output(path, force=force)
    check_new_folder("--labels-out", labels_out)
    if uncertainty and output is None and headless:
        raise OptionError("--uncertainty is drawn beside the overlay; give --output or --show too")
    options, schedule = live.read(bundle, RuntimeOptions())
    for path in (output, stats, labels_out):
        spare_source(source, path)
        spare_inputs(path, [bundle, options.companion])
    if output is not None:
        check_video_suffix(output)
    _run(
        _RunConfig(
            bundle=bundle,
            source=source,
            runtime=options,
            policy=schedule,
            outputs=OutputOptions(overlay=output, uncertainty=uncertainty, show=not headless, labels_out=labels_out),
            stats=stats,
            input=InputOptions(
                reconnect=ReconnectOptions() if reconnect else None, buffer=BufferOptions(keep=cast("Keep", buffer))
            ),
            max_frames=max_frames,
            as_json=as_json,
        )
    )


def _run(config: _RunConfig) -> None:
    with (
        config.runtime.open_segmenter(config.bundle, config.policy) as segmenter,
        open_source(
            config.source,
            max_frames=config.max_frames,
            codec_motion=needs_codec_motion(config.policy),
            input_options=config.input,
        ) as frames,
    ):
        stats = RunStats(
            segmenter,
            str(config.bundle),
            frames.name,
            threads=config.runtime.threads,
            deadline_ms=deadline_of(config.policy),
        )
        if not config.as_json:
            chosen = segmenter.chosen.summary if segmenter.chosen else segmenter.variant.id
            console.err.print(escape(f"{chosen} on {segmenter.provider}"), highlight=False)
        if config.outputs.uncertainty and segmenter.bundle.manifest.head.kind == "labels":
            raise OptionError("this bundle's graphs give label maps without scores, so there is no uncertainty to draw")
        watched = _WatchedSource(frames)
        stats.stopped = INTERRUPTED
        try:
            with (
                contextlib.suppress(KeyboardInterrupt),
                Outputs(segmenter.bundle.manifest.labels, frames.fps, config.outputs) as outputs,
            ):
                stats.stopped = _segment_all(segmenter, watched, stats, outputs, quiet=config.as_json)
        except (OutputError, VideoError) as exc:  # a full disk must not lose the statistics of the frames before
            if not stats.frames:
                raise
            watched.broken, stats.stopped = exc, str(exc)
        stats.end(frames)
    stats.damaged = frames.damaged
    _tell(config, stats, watched.broken)
    if stats.stopped == INTERRUPTED:
        raise typer.Exit(console.EXIT_INTERRUPTED)


def _tell(config: _RunConfig, stats: RunStats, broken: OutputError | VideoError | None) -> None:
    """Print and write the statistics; raises what broke the source or the outputs."""
    tree = stats.as_dict()
    if not config.as_json:
        stats.show()  # before they are written: a full disk must not lose them
    if config.stats is not None:
        try:
            write_whole(config.stats, json.dumps(tree, indent=1, allow_nan=False).encode() + b"\n")
        except OutputError:
            if broken is None:
                raise  # else what broke first tells of the full disk
    if broken is not None:
        raise broken
    if config.as_json:
        console.print_json(tree)


class _WatchedSource:
    """A source whose break is an end: what a camera showed until then cannot be had again.

    Attributes:
        source: It.
        broken: What broke it, or what is made of its frames; ``None`` while nothing has.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.broken: OutputError | VideoError | None = None

    def __iter__(self) -> Iterator[Frame]:
        """The frames; raises only what a file is damaged by, or what came before the first frame."""
        frames = 0
        try:
            for frame in self.source:
                yield frame
                frames += 1
        except VideoError as exc:
            if not (self.source.is_live and frames):
                raise
            self.broken = exc


def _segment_all(
    segmenter: Segmenter, watched: _WatchedSource, stats: RunStats, outputs: Outputs, *, quiet: bool
) -> str | None:
    """Segment; gives why it stopped before the end, ``None`` after the last frame."""
    source = watched.source
    with console.counter("segmenting", quiet=quiet) as progress:
        for frame in watched:
            result = segmenter(frame)
            with defer_interrupt():
                stats.add(result)
                if not outputs.add(frame, result):
                    return "by a key"
            progress(stats.frames, source.frame_count)
    if watched.broken is not None:
        return str(watched.broken)
    over = not source.is_live or source.is_full or source.frame_count is not None  # a recording that is played live
    return None if over else f"{source.name} ended"
