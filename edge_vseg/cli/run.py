"""``edge-vseg run``."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from types import TracebackType
from typing import Annotated, cast

import cv2
import typer
from rich.markup import escape

from edge_vseg.cli import console
from edge_vseg.cli.options import budget_of, read_policy, wants_codec_motion
from edge_vseg.cli.run_stats import RunStats
from edge_vseg.errors import OptionError
from edge_vseg.interrupt import hold_interrupt
from edge_vseg.manifest import Precision
from edge_vseg.overlay import draw_overlay
from edge_vseg.policies import POLICIES
from edge_vseg.preprocess import resize_image
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, Result, Size
from edge_vseg.video import Source, VideoWriter, open_source

_DEFAULT_FPS = 30.0


def run(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    source: Annotated[str, typer.Argument(help="Video, image folder, camera (0, /dev/video0) or URL.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Overlay video to write, .mp4.")] = None,
    labels_out: Annotated[
        Path | None, typer.Option(help="New folder for label maps, a PNG of class ids a frame.")
    ] = None,
    stats: Annotated[Path | None, typer.Option(help="JSON file for latencies and what ran.")] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tflite.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, int8 or float.")] = "auto",
    provider: Annotated[str, typer.Option(help="Execution provider, device or delegate.")] = "",
    threads: Annotated[int, typer.Option(help="Worker threads; 0 is the runtime's choice.", min=0)] = 0,
    policy: Annotated[str | None, typer.Option(help=f"What schedules frames: {', '.join(POLICIES)}.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the policy.")
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a frame may take; asks for the policy budget.", min=0.1)
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the statistics.")] = False,
) -> None:
    """Segment a video frame by frame. Ctrl-C stops cleanly and keeps what was written."""
    for path in (output, stats):
        if path is not None and path.exists() and not force:
            raise OptionError(f"{path} exists and is left alone; give another name, or --force to replace it")
        if path is not None and not path.parent.is_dir():
            raise OptionError(f"{path}: there is no folder {path.parent}; create it first")
        if path is not None and path.is_dir():
            raise OptionError(f"{path} is a folder; give the name of a file")
    if precision not in ("auto", "int8", "float"):
        raise OptionError(f"--precision {precision!r}: expected auto, int8 or float")
    if labels_out is not None and labels_out.exists() and (not labels_out.is_dir() or any(labels_out.iterdir())):
        raise OptionError(f"{labels_out} exists and is not an empty folder; give a new one with --labels-out")
    scheduled = read_policy(policy, setting or [], budget_ms)
    wanted = None if precision == "auto" else cast(Precision, precision)
    with (
        Segmenter.open(
            bundle, runtime=runtime, precision=wanted, threads=threads, provider=provider, policy=scheduled or ""
        ) as segmenter,
        open_source(source, max_frames=max_frames, codec_motion=wants_codec_motion(scheduled)) as frames,
    ):
        kept = RunStats(segmenter, str(bundle), frames.name, budget_of(scheduled))
        if not as_json:
            how = segmenter.chosen.summary if segmenter.chosen else segmenter.variant.id
            console.err.print(f"{escape(how)} on {segmenter.provider}", highlight=False)
        with contextlib.suppress(KeyboardInterrupt):
            _segment_all(segmenter, frames, kept, output, labels_out, quiet=as_json)
            kept.complete = True
    kept.damaged = frames.damaged
    tree = kept.as_dict()
    if stats is not None:
        stats.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if as_json:
        console.print_json(tree)
    else:
        kept.show()
    if not kept.complete:
        raise typer.Exit(console.EXIT_INTERRUPTED)


def _segment_all(
    segmenter: Segmenter, frames: Source, kept: RunStats, output: Path | None, labels_out: Path | None, *, quiet: bool
) -> None:
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(console.counter("segmenting", quiet=quiet))
        writer: VideoWriter | None = None
        size: Size = (0, 0)
        for frame in frames:
            result = segmenter(frame)
            with hold_interrupt():
                kept.add(result)
                if labels_out is not None:
                    _write_labels(labels_out, result)
                if output is not None:
                    if writer is None:
                        size = (frame.image.shape[0], frame.image.shape[1])
                        writer = VideoWriter(output, frames.fps or _DEFAULT_FPS, size)
                        stack.push(functools.partial(_finish, writer))
                    _write_overlay(writer, size, segmenter, frame, result)
            progress(kept.frames, frames.frame_count)


def _finish(
    writer: VideoWriter, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Keep the overlay at the end and after Ctrl-C; after an error leave none that looks whole."""
    if kind is None or issubclass(kind, KeyboardInterrupt):
        writer.close()
    else:
        writer.discard()


def _write_labels(folder: Path, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", result.labels)
    (folder / f"{result.seq:06d}.png").write_bytes(data.tobytes())


def _write_overlay(writer: VideoWriter, size_hw: Size, segmenter: Segmenter, frame: Frame, result: Result) -> None:
    labels = segmenter.bundle.manifest.labels
    picture = draw_overlay(frame.image, result.labels, labels, source=result.source)
    writer.write(resize_image(picture, size_hw), pts_ns=frame.pts_ns)
