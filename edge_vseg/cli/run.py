"""``edge-vseg run``."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli import console
from edge_vseg.cli.options import (
    BundleArgument,
    CpuShareOption,
    DeadlineOption,
    ForceOption,
    JsonOption,
    MaxAgeOption,
    MaxFramesOption,
    PolicyOption,
    PrecisionOption,
    ProviderOption,
    RuntimeOption,
    SettingOption,
    ThreadsOption,
    check_new_folder,
    check_output,
    deadline_of,
    needs_codec_motion,
    parse_precision,
    read_policy,
)
from edge_vseg.cli.outputs import OutputOptions, Outputs
from edge_vseg.cli.run_stats import RunStats
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import Policy
from edge_vseg.segmenter import Segmenter
from edge_vseg.signals import defer_interrupt
from edge_vseg.video import Source, open_source


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunConfig:
    """What to run, and where its results go."""

    bundle: Path
    source: str
    runtime: RuntimeOptions
    policy: Policy | None
    outputs: OutputOptions
    stats: Path | None
    max_frames: int | None
    as_json: bool


def run(
    bundle: BundleArgument,
    source: Annotated[str, typer.Argument(help="Video, image folder, camera (0, /dev/video0) or stream URL.")],
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
    stats: Annotated[Path | None, typer.Option(help="JSON file to write: latencies by step, and what ran.")] = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    provider: ProviderOption = "",
    threads: ThreadsOption = 0,
    policy: PolicyOption = None,
    setting: SettingOption = None,
    deadline_ms: DeadlineOption = None,
    cpu_share: CpuShareOption = None,
    max_age: MaxAgeOption = None,
    max_frames: MaxFramesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment a video frame by frame. Ctrl-C stops and keeps what was written."""
    for path in (output, stats):
        check_output(path, force=force)
    check_new_folder("--labels-out", labels_out)
    if uncertainty and output is None and headless:
        raise OptionError("--uncertainty is drawn beside the overlay; give --output or --show too")
    _run(
        _RunConfig(
            bundle=bundle,
            source=source,
            runtime=RuntimeOptions(
                runtime=runtime, precision=parse_precision(precision), provider=provider, threads=threads
            ),
            policy=read_policy(policy, setting, deadline_ms, cpu_share, max_age),
            outputs=OutputOptions(overlay=output, uncertainty=uncertainty, show=not headless, labels_out=labels_out),
            stats=stats,
            max_frames=max_frames,
            as_json=as_json,
        )
    )


def _run(config: _RunConfig) -> None:
    with (
        config.runtime.open_segmenter(config.bundle, config.policy) as segmenter,
        open_source(
            config.source, max_frames=config.max_frames, codec_motion=needs_codec_motion(config.policy)
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
            console.err.print(f"{escape(chosen)} on {segmenter.provider}", highlight=False)
        if config.outputs.uncertainty and segmenter.bundle.manifest.head.kind == "labels":
            raise OptionError("this bundle's graphs give label maps without scores, so there is no uncertainty to draw")
        with (
            contextlib.suppress(KeyboardInterrupt),
            Outputs(segmenter.bundle.manifest.labels, frames.fps, config.outputs) as outputs,
        ):
            _segment_all(segmenter, frames, stats, outputs, quiet=config.as_json)
            stats.complete = True
        stats.end()
    stats.damaged = frames.damaged
    tree = stats.as_dict()
    if config.stats is not None:
        config.stats.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if config.as_json:
        console.print_json(tree)
    else:
        stats.show()
    if not stats.complete:
        raise typer.Exit(console.EXIT_INTERRUPTED)


def _segment_all(segmenter: Segmenter, frames: Source, stats: RunStats, outputs: Outputs, *, quiet: bool) -> None:
    with console.counter("segmenting", quiet=quiet) as progress:
        for frame in frames:
            result = segmenter(frame)
            with defer_interrupt():
                stats.add(result)
                if not outputs.add(frame, result):
                    return
            progress(stats.frames, frames.frame_count)
