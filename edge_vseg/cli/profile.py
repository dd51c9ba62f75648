"""``edge-vseg profile``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.operator_recording import record_operators
from edge_vseg.analysis.profiling import LatencyProfile, ProfileOptions, profile_video
from edge_vseg.analysis.profiling.latency_profile import describe_pace
from edge_vseg.analysis.profiling.profiler import INTERRUPTED
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_profile
from edge_vseg.cli.live_options import LiveOptions, takes_live_options
from edge_vseg.cli.options import (
    BundleArgument,
    ForceOption,
    HtmlOption,
    PlotsOption,
    check_output,
    check_report,
    needs_codec_motion,
)
from edge_vseg.cli.plain_text import shown_command
from edge_vseg.cli.spared import spare_inputs, spare_pictures, spare_source
from edge_vseg.files import write_whole

MAX_CAUSES = 5
"""Causes of deadline misses that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProfileOutputs:
    """Where the figures go; ``None`` for nowhere."""

    json_file: Path | None
    print_json: bool
    html: Path | None
    plots: Path | None


@takes_live_options
def profile(
    bundle: BundleArgument,
    video: Annotated[
        str,
        typer.Argument(
            help="Video, image folder, camera or stream; a recording is played in a loop."
            " Only --record-operators needs none."
        ),
    ] = "",
    *,
    seconds: Annotated[float, typer.Option(help="Length of the run in seconds.", min=0.1)] = 60.0,
    rate: Annotated[
        float | None, typer.Option(help="Frames per second that arrive; the video's own by default.", min=0.1)
    ] = None,
    flat_out: Annotated[
        bool, typer.Option("--flat-out", help="Read frames as fast as they are segmented, not at a camera's rate.")
    ] = False,
    live: LiveOptions,
    operators: Annotated[
        bool, typer.Option(help="Find the slowest operators with the runtime's own profiler, before the run.")
    ] = True,
    operators_file: Annotated[
        Path | None,
        typer.Option(
            "--record-operators",
            help="JSON file for the times of all operators of every float and int8 graph, for `export --node-times`.",
            metavar="FILE",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file for all figures; - prints them.", metavar="FILE")
    ] = None,
    html: HtmlOption = None,
    plots: PlotsOption = None,
    force: ForceOption = False,
) -> None:
    """Measure latency by step, deadline misses, memory, heat and power, for a minute or a day. Ctrl-C ends the run."""
    if not video and (operators_file is None or json_file is not None or html is not None):
        raise typer.BadParameter("give VIDEO; only --record-operators needs none")
    print_json = json_file is not None and str(json_file) == "-"
    outputs = _ProfileOutputs(
        json_file=None if print_json else json_file, print_json=print_json, html=html, plots=plots
    )
    check_output(outputs.json_file, force=force)
    check_output(operators_file, force=force)
    check_report(html, plots, force=force)
    given = ProfileOptions(seconds=seconds, rate=rate, flat_out=flat_out, operators=operators)
    options, scheduled = live.read(bundle, given)
    for path in (outputs.json_file, operators_file, html, plots):
        if video:
            spare_source(video, path)
        spare_inputs(path, [bundle, options.companion])
    spare_pictures(plots, [video] if video else [])
    options = replace(options, policy=scheduled, codec_motion=needs_codec_motion(scheduled))
    if video:
        require_profile("profiling")
    if operators_file is not None:
        _record_operators(bundle, options, operators_file, quiet=print_json)
    if video:
        _profile(bundle, video, options, outputs)


def _record_operators(bundle: Path, options: ProfileOptions, path: Path, *, quiet: bool) -> None:
    with console.steps("recording operators", quiet=quiet) as step:
        recording = record_operators(bundle, options, step)
    write_whole(path, recording.to_json())
    if quiet:
        return
    table = Table("operators of", "number", "ms", box=None, header_style="bold")
    for each in recording.variants:
        table.add_row(escape(each.id), str(len(each.operators)), f"{each.total_ms:.2f}")
    console.out.print(table)
    for name, reason in recording.skipped.items():
        console.out.print(f"- {escape(name)} was not recorded: {escape(reason)}", highlight=False)
    console.out.print(f"recorded: [bold]{escape(str(path))}[/]; for edge-vseg export --node-times", highlight=False)


def _profile(bundle: Path, video: str, options: ProfileOptions, outputs: _ProfileOutputs) -> None:
    def save(profile: LatencyProfile) -> None:
        if outputs.json_file is not None:
            write_whole(outputs.json_file, profile.to_json())

    with console.counter("profiling", quiet=outputs.print_json) as count:
        run = profile_video(
            bundle,
            video,
            options,
            command=shown_command(sys.argv[1:]),
            progress=lambda at_s: count(int(at_s), int(options.seconds)),
            autosave=save if outputs.json_file is not None else None,
        )
    profile = run.profile
    # Print the figures before writing files: a file that cannot be written must not lose them.
    if outputs.print_json:
        sys.stdout.write(profile.to_json().decode())
    else:
        _show(profile)
    save(profile)
    if outputs.html is not None:
        from edge_vseg.analysis.profiling.profile_page import write_profile_page

        write_profile_page(outputs.html, run, plots=outputs.plots)
        if not outputs.print_json:
            console.out.print(f"report: [bold]{escape(str(outputs.html))}[/]")
    if profile.stopped:
        console.err.print(f"the run ended early: {escape(profile.stopped)}", highlight=False)
        raise typer.Exit(console.EXIT_INTERRUPTED if profile.stopped == INTERRUPTED else console.EXIT_ERROR)


def _show(profile: LatencyProfile) -> None:
    console.out.print(
        f"{profile.frames} frames in {profile.seconds:.0f} s, {describe_pace(profile)}, with"
        f" {escape(profile.variant)} on {escape(profile.provider)}; {profile.dropped} dropped",
        highlight=False,
    )
    table = Table("ms", "frames", "median", "p95", "p99", "p99.9", "max", box=None, header_style="bold")
    rows = {"total": profile.latency_ms, "from capture": profile.age_ms, **profile.steps_ms}
    for name, each in rows.items():
        figures = (each.p50, each.p95, each.p99, each.p99_9, each.max)
        table.add_row(escape(name), str(each.count), *(f"{value:.2f}" for value in figures))
    console.out.print(table)
    if profile.missing:
        console.out.print(f"[yellow]{profile.missing} frames never arrived: decoding is too slow on this machine[/]")
    if profile.miss_share is not None:
        console.out.print(f"{profile.miss_share:.2%} of the frames over {profile.limit_ms:g} ms", highlight=False)
        for cause, count in list(profile.causes.items())[:MAX_CAUSES]:
            console.out.print(f"  {count} {escape(cause)}", highlight=False)
    growth = profile.memory.slope_per_hour
    console.out.print(
        f"{profile.memory.last:.0f} MB at the end"
        + ("" if growth is None else f", {growth:+.1f} MB per hour")
        + f"; oldest label map {profile.oldest_frames} frames; counting took {profile.overhead:.2%} of the time",
        highlight=False,
    )
