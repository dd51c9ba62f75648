"""``edge-vseg calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.bundle.manifest import Precision
from edge_vseg.cli import console
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.device_profile import DeviceProfile, device_profile_path, write_device_profile
from edge_vseg.video import open_source

MAX_FRAMES = 400


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    video: Annotated[str, typer.Argument(help="Video or image folder of what the camera will see; no labels needed.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default beside the bundle, by machine.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tflite.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, int8 or float.")] = "auto",
    threads: Annotated[int, typer.Option(help="Worker threads, as you will run with; 0: the runtime's.", min=0)] = 0,
    max_frames: Annotated[int, typer.Option(help="Use so many frames at most.", min=24)] = MAX_FRAMES,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the profile.")] = False,
) -> None:
    """Measure on this machine what the scheduler can do and what it costs, and how fast label maps go out of date.

    Run it on the device, with nothing else running. `run` and `evaluate` use what it writes.
    """
    from edge_vseg.calibration import DeviceCalibrationOptions, calibrate_device

    if precision not in ("auto", "int8", "float"):
        raise OptionError(f"--precision {precision!r}: expected auto, int8 or float")
    with console.counter("calibrating", quiet=as_json) as count, open_source(video, max_frames=max_frames) as frames:
        profile = calibrate_device(
            bundle,
            frames,
            video=frames.name,
            options=DeviceCalibrationOptions(
                runtime=runtime,
                precision=None if precision == "auto" else cast(Precision, precision),
                threads=threads,
            ),
            progress=lambda done: count(done, max_frames),
        )
    path = output or device_profile_path(bundle, profile.variant, threads)
    write_device_profile(path, profile)
    if as_json:
        tree: dict[str, Any] = {"path": str(path)} | msgspec.to_builtins(profile)
        console.print_json(tree)
    else:
        _show(profile, path)


def _show(profile: DeviceProfile, path: Path) -> None:
    table = Table("ms", "p50", "p90", "p99", "runs", box=None, header_style="bold")
    for name, cost in sorted(profile.costs.items()):
        table.add_row(name, *(f"{value:.2f}" for value in (cost.p50, cost.p90, cost.p99)), str(cost.runs))
    console.out.print(f"{profile.variant} on {profile.machine}", highlight=False)
    console.out.print(table)
    if profile.fit is None:
        console.out.print("[yellow]the video is too short to judge the drift model[/]; give some 100 frames or more")
    else:
        console.out.print(
            f"drift: {profile.fit.mean_drift:.1%} of the pixels on average, predicted to"
            f" {profile.fit.mean_error:.1%} (correlation {profile.fit.correlation:.2f})",
            highlight=False,
        )
    console.out.print(f"smallest deadline that makes sense: {profile.min_deadline_ms:.1f} ms", highlight=False)
    console.out.print(f"written to {escape(str(path))}", highlight=False)
