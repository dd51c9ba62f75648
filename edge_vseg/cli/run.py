"""``edge-vseg run``."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape

from edge_vseg.bundle.manifest import Precision
from edge_vseg.cli import console
from edge_vseg.cli.options import check_output, deadline_of, read_policy, wants_codec_motion
from edge_vseg.cli.outputs import Outputs
from edge_vseg.cli.run_stats import RunStats
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import POLICIES
from edge_vseg.segmenter import OpenOptions, Segmenter
from edge_vseg.signals import defer_interrupt
from edge_vseg.video import Source, open_source


def run(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    source: Annotated[str, typer.Argument(help="Video, image folder, camera (0, /dev/video0) or URL.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Overlay video to write, .mp4.")] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Beside each frame of --output, how unsure its map is.")
    ] = False,
    headless: Annotated[
        bool, typer.Option("--headless/--show", help="No window; or one with the overlay, where OpenCV has windows.")
    ] = True,
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
    deadline_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a frame may take; asks for the policy deadline.", min=0.1)
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the statistics.")] = False,
) -> None:
    """Segment a video frame by frame. Ctrl-C stops cleanly and keeps what was written."""
    for path in (output, stats):
        check_output(path, force=force)
    if precision not in ("auto", "int8", "float"):
        raise OptionError(f"--precision {precision!r}: expected auto, int8 or float")
    if labels_out is not None and labels_out.exists() and (not labels_out.is_dir() or any(labels_out.iterdir())):
        raise OptionError(f"{labels_out} exists and is not an empty folder; give a new one with --labels-out")
    if uncertainty and output is None and headless:
        raise OptionError("--uncertainty is drawn beside the overlay; give --output too")
    scheduled = read_policy(policy, setting or [], deadline_ms)
    wanted = None if precision == "auto" else cast(Precision, precision)
    with (
        Segmenter.open(
            bundle,
            runtime=runtime,
            policy=scheduled,
            threads=threads,
            options=OpenOptions(precision=wanted, provider=provider),
        ) as segmenter,
        open_source(source, max_frames=max_frames, codec_motion=wants_codec_motion(scheduled)) as frames,
    ):
        kept = RunStats(segmenter, str(bundle), frames.name, deadline_of(scheduled))
        if not as_json:
            how = segmenter.chosen.summary if segmenter.chosen else segmenter.variant.id
            console.err.print(f"{escape(how)} on {segmenter.provider}", highlight=False)
        if uncertainty and segmenter.bundle.manifest.head.kind == "labels":
            raise OptionError("this bundle's graphs give finished label maps, whose uncertainty nobody knows")
        with (
            contextlib.suppress(KeyboardInterrupt),
            Outputs(
                segmenter.bundle.manifest.labels,
                frames.fps,
                overlay=output,
                uncertainty=uncertainty,
                show=not headless,
                labels_out=labels_out,
            ) as outputs,
        ):
            _segment_all(segmenter, frames, kept, outputs, quiet=as_json)
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


def _segment_all(segmenter: Segmenter, frames: Source, kept: RunStats, outputs: Outputs, *, quiet: bool) -> None:
    with console.counter("segmenting", quiet=quiet) as progress:
        for frame in frames:
            result = segmenter(frame)
            with defer_interrupt():
                kept.add(result)
                if not outputs.add(frame, result):
                    return
            progress(kept.frames, frames.frame_count)
