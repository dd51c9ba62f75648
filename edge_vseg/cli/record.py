"""``edge-vseg record``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

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
    check_output,
    needs_codec_motion,
)
from edge_vseg.cli.spared import spare_inputs, spare_source
from edge_vseg.recording import McapWriter
from edge_vseg.ros2.recorder import RecordOptions, ResultRecorder
from edge_vseg.segmenter import Segmenter
from edge_vseg.signals import defer_interrupt
from edge_vseg.topics.port import check_topic
from edge_vseg.video import Source, open_source


@takes_live_options
def record(
    bundle: BundleArgument,
    source: Annotated[str, typer.Argument(help="Video, folder, camera, stream, or recording: drive.mcap:/topic.")],
    output: Annotated[Path, typer.Argument(help="MCAP file to write.", metavar="OUT.mcap")],
    *,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Write the class colours over each frame, as JPEG.")
    ] = True,
    camera: Annotated[bool, typer.Option("--camera", help="Write the frames themselves, too, as JPEG.")] = False,
    namespace: Annotated[str, typer.Option("--namespace", help="Where the topics begin.")] = "/edge_vseg",
    live: LiveOptions,
    max_frames: MaxFramesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment a video or recorded topic into an MCAP file, for Foxglove. Ctrl-C and SIGTERM keep what was written."""
    check_output(output, force=force)
    pictures = {name for name, wanted in (("overlay", overlay), ("camera", camera)) if wanted}
    options = RecordOptions(pictures=frozenset(pictures), namespace=check_topic(namespace))
    runtime_options, schedule = live.read(bundle, RuntimeOptions())
    spare_source(source, output)
    spare_inputs(output, [bundle, runtime_options.companion])
    complete = False
    with (
        runtime_options.open_segmenter(bundle, schedule) as segmenter,
        open_source(source, max_frames=max_frames, codec_motion=needs_codec_motion(schedule)) as frames,
        McapWriter(output) as writer,
    ):
        recorder = ResultRecorder(writer, segmenter, frames, options)
        with contextlib.suppress(KeyboardInterrupt):
            _record_all(segmenter, frames, recorder, quiet=as_json)
            complete = True
    if as_json:
        tree = {"output": str(output), "frames": recorder.frames, "messages": writer.messages}
        console.print_json(tree | {"complete": complete, "damaged": frames.damaged})
    else:
        console.out.print(
            f"{recorder.frames} frames, {writer.messages} messages in {output}", highlight=False, markup=False
        )
        if frames.damaged:
            console.out.print(f"[yellow]{escape(frames.damaged)}[/]", highlight=False, soft_wrap=True)
    if not complete:
        raise typer.Exit(console.EXIT_INTERRUPTED)


def _record_all(segmenter: Segmenter, frames: Source, recorder: ResultRecorder, *, quiet: bool) -> None:
    with console.counter("recording", quiet=quiet) as progress:
        for frame in frames:
            result = segmenter(frame)
            with defer_interrupt():
                recorder.add(frame, result)
            progress(recorder.frames, frames.frame_count)
