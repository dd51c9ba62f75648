"""``edge-vseg demo``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.evaluation import VariantScore
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_export
from edge_vseg.cli.options import JsonOption
from edge_vseg.errors import OptionError

if TYPE_CHECKING:
    from edge_vseg.export.reference.demo import LiveComparison


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the bundles, video, picture and report.")] = Path("demo"),
    video: Annotated[
        Path | None, typer.Option(help="Run on this video instead of a rendered street; without ground truth.")
    ] = None,
    network: Annotated[str, typer.Option(help="Network that is shipped: small or middle.")] = "middle",
    runtimes: Annotated[
        str, typer.Option(help="Runtimes to export for, comma-separated.")
    ] = "onnxruntime,openvino,tflite",
    frames: Annotated[int, typer.Option(help="Number of frames to run on.", min=1)] = 100,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that is not empty, replacing its files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Try edge-vseg without a network or a video of your own. Takes a few minutes.

    Exports a shipped network to int8, compares the runtimes on a rendered street, and runs one live at an input size at
    which it is slower than the camera: once dropping frames, once with a deadline.

    Writes two bundles, a video, a picture and an HTML report.
    """
    if network not in ("small", "middle"):
        raise OptionError(f"--network {network!r}: expected small or middle")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        raise OptionError(f"{folder} is not an empty folder; give a new one, or --force to write into it")
    require_export("the demo")
    from edge_vseg.export.reference.demo import DemoOptions, run_demo

    options = DemoOptions(
        network="small" if network == "small" else "middle",
        video=video,
        frames=frames,
        runtimes=tuple(name.strip() for name in runtimes.split(",") if name.strip()),
    )
    with console.tool_output_collected(), console.steps("demo", quiet=as_json) as step:
        result = run_demo(folder, options, step)
    if as_json:
        console.print_json(
            {
                "bundle": str(result.bundle),
                "overlay": str(result.overlay),
                "picture": str(result.picture),
                "report": str(result.report),
                "frames": result.frames,
                "scores": [asdict(score) for score in result.scores],
                "live": asdict(result.live) | {"bundle": str(result.live.bundle)},
            }
        )
        return
    console.out.print(score_table(result.scores, result.frames))
    for line in live_lines(result.live):
        console.out.print(line, highlight=False, soft_wrap=True)
    files = [f"[bold]{escape(str(path))}[/]" for path in (result.picture, result.overlay, result.report)]
    console.out.print(f"look at {files[0]}, {files[1]} and {files[2]}")


def live_lines(live: LiveComparison) -> list[str]:
    """What ran live, in a line, and the figures of each run in another."""
    height, width = live.size_hw
    usual = "" if live.rate == live.wanted_rate else f", because no size is right for {live.wanted_rate:g} here"
    head = (
        f"live at {live.rate:g} frames per second{usual}: {live.variant} at {width}x{height} takes"
        f" {live.network_ms:.0f} ms, {live.periods:.1f} frame periods; answers are due after {live.deadline_ms:g} ms"
    )
    measure = "streaming mIoU" if live.labelled else "streaming mIoU against every frame"
    names = max(len(run.name) for run in live.runs)
    lines = [
        f"{run.name:{names}}  {measure} {run.streaming_miou:.2%}, p99 {run.latency.p99:.1f} ms, misses {run.misses:.1%}"
        for run in live.runs
    ]
    return [head, *lines]


def score_table(scores: tuple[VariantScore, ...], frames: int) -> Table:
    """Figures of all variants of a bundle, one row each."""
    table = Table(
        *("runtime", "precision", "ms", "speed-up", "mIoU", "= float"),
        box=None,
        header_style="bold",
        pad_edge=False,
        caption=f"medians over {frames} frames; ms of the graph alone; mIoU against ground truth",
        caption_justify="left",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for score in scores:
        table.add_row(
            score.runtime,
            score.precision,
            f"{score.infer_ms:.1f}",
            "" if score.speed_up is None else f"{score.speed_up:.2f}x",
            "no truth" if score.miou is None else f"{score.miou:.2%}",
            "" if score.agreement is None else f"{score.agreement:.2%}",
        )
    return table
