"""``edge-vseg profile``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.profiling import LatencyProfile, ProfileOptions, profile_video
from edge_vseg.analysis.profiling.latency_profile import say_pace
from edge_vseg.analysis.profiling.profiler import INTERRUPTED
from edge_vseg.bundle.manifest import Precision
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_profile
from edge_vseg.cli.options import check_output, read_policy, wants_codec_motion
from edge_vseg.errors import OptionError
from edge_vseg.files import write_whole
from edge_vseg.scheduling.policies import POLICIES
from edge_vseg.signals import sigterm_as_interrupt


def profile(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    video: Annotated[str, typer.Argument(help="Video, image folder, camera or stream; a recording begins anew.")],
    policy: Annotated[str | None, typer.Option(help=f"What schedules frames: {', '.join(POLICIES)}.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the policy.")
    ] = None,
    deadline_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a frame may take; asks for the policy deadline.", min=0.1)
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to run.", min=0.1)] = 60.0,
    rate: Annotated[
        float | None, typer.Option(help="Frames a second that come, by default the video's own.", min=0.1)
    ] = None,
    flat_out: Annotated[
        bool, typer.Option("--flat-out", help="Take frames as fast as they are done, not as a camera gives them.")
    ] = False,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tflite.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, int8 or float.")] = "auto",
    provider: Annotated[str, typer.Option(help="Execution provider, device or delegate.")] = "",
    threads: Annotated[int, typer.Option(help="Worker threads; 0 is the runtime's choice.", min=0)] = 0,
    operators: Annotated[bool, typer.Option(help="Ask the runtime for its dearest operators before the run.")] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file for all figures; - prints them.", metavar="FILE")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="HTML file for the report.", metavar="FILE")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for the report's plots as PNG.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Measure for a minute or a day: latency and its steps, deadline misses, memory, heat. Ctrl-C ends the run."""
    printed = json_file is not None and str(json_file) == "-"
    for path in (None if printed else json_file, html):
        check_output(path, force=force)
    if plots is not None and html is None:
        raise OptionError("--plots are those of the report; give --html too")
    if plots is not None:
        from edge_vseg.analysis.report.figures import check_folder

        check_folder(plots)
    if precision not in ("auto", "int8", "float"):
        raise OptionError(f"--precision {precision!r}: expected auto, int8 or float")
    scheduled = read_policy(policy, setting or [], deadline_ms)
    options = ProfileOptions(
        policy=scheduled,
        seconds=seconds,
        rate=rate,
        flat_out=flat_out,
        runtime=runtime,
        precision=None if precision == "auto" else cast(Precision, precision),
        threads=threads,
        provider=provider,
        operators=operators,
        codec_motion=wants_codec_motion(scheduled),
    )
    require_profile("profiling")
    command = shlex.join(["edge-vseg", *sys.argv[1:]])
    kept = None if printed else json_file
    with sigterm_as_interrupt(), console.counter("profiling", quiet=printed) as count:
        run = profile_video(
            bundle,
            video,
            options,
            command=command,
            progress=lambda at_s: count(int(at_s), int(seconds)),
            keep=lambda so_far: None if kept is None else _write(kept, so_far),
        )
    found = run.profile
    # The figures first, and on the terminal, too: what fails to be written must not cost them.
    if printed:
        sys.stdout.write(found.to_json().decode())
    else:
        _show(found)
    if kept is not None:
        _write(kept, found)
    if html is not None:
        from edge_vseg.analysis.profiling.profile_page import write_profile_page

        write_profile_page(html, run, plots=plots)
        if not printed:
            console.out.print(f"look at [bold]{escape(str(html))}[/]")
    if found.stopped:
        console.err.print(f"ended before its time: {escape(found.stopped)}", highlight=False)
        raise typer.Exit(console.EXIT_INTERRUPTED if found.stopped == INTERRUPTED else console.EXIT_ERROR)


def _write(path: Path, found: LatencyProfile) -> None:
    try:
        write_whole(path, found.to_json())
    except OSError as exc:
        raise OptionError(f"the profile {path} cannot be written: {exc.strerror or exc}") from exc


def _show(found: LatencyProfile) -> None:
    console.out.print(
        f"{found.frames} frames in {found.seconds:.0f} s, {say_pace(found)}, with {found.variant} on {found.provider}; "
        f"{found.dropped} dropped",
        highlight=False,
    )
    table = Table("ms", "frames", "median", "p95", "p99", "p99.9", "max", box=None, header_style="bold")
    rows = {"total": found.latency_ms, "from capture": found.age_ms, **found.steps_ms}
    for name, each in rows.items():
        figures = (each.p50, each.p95, each.p99, each.p99_9, each.max)
        table.add_row(name, str(each.count), *(f"{value:.2f}" for value in figures))
    console.out.print(table)
    if found.missing:
        console.out.print(f"[yellow]{found.missing} frames were due and never came: decoding is too slow here[/]")
    if found.miss_share is not None:
        console.out.print(f"{found.miss_share:.2%} of the frames over {found.limit_ms:g} ms", highlight=False)
        for cause, count in list(found.causes.items())[:5]:
            console.out.print(f"  {count} {escape(cause)}", highlight=False)
    growth = found.memory.slope_per_hour
    console.out.print(
        f"{found.memory.last:.0f} MB at the end"
        + ("" if growth is None else f", {growth:+.1f} MB an hour")
        + f"; oldest map {found.oldest_frames} frames; counting took {found.overhead:.2%}",
        highlight=False,
    )
