"""``edge-vseg calibrate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle.layer_times import LAYER_INDEX, write_json
from edge_vseg.cli import console
from edge_vseg.cli.dataset_frames import is_dataset, longest_recording
from edge_vseg.cli.options import (
    JsonOption,
    PrecisionOption,
    ProviderOption,
    ProviderOptionsOption,
    RuntimeOption,
    ThreadsOption,
    parse_precision,
    parse_provider_options,
)
from edge_vseg.errors import OptionError
from edge_vseg.input_files import read_regular, strict_json
from edge_vseg.scheduling.device_profile import (
    DeviceProfile,
    device_profile_path,
    profile_folder,
    write_device_profile,
)
from edge_vseg.video import open_source

DEFAULT_MAX_FRAMES = 400
MIN_FRAMES = 24
MIN_FRAMES_FOR_DRIFT = 100
"""About how many frames it takes to check the drift model; a hint in a message."""


def calibrate(
    bundle: Annotated[
        Path, typer.Argument(help="Directory of the bundle; or a folder of layers that shrink --write-layers wrote.")
    ],
    video: Annotated[
        str,
        typer.Argument(
            help="Video, image folder, or LAYOUT:DIR (its longest recording) of what the camera will see; no labels"
            " needed. None for layers."
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Device profile to write; by default beside the bundle, one per machine."),
    ] = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    provider: ProviderOption = "",
    provider_option: ProviderOptionsOption = None,
    threads: ThreadsOption = 0,
    companion: Annotated[
        list[Path] | None,
        typer.Option("--companion", help="Bundle that may accompany it, to be timed as well; may be repeated."),
    ] = None,
    max_frames: Annotated[
        int, typer.Option(help="Maximum number of frames to use.", min=MIN_FRAMES)
    ] = DEFAULT_MAX_FRAMES,
    as_json: JsonOption = False,
) -> None:
    """Write a device profile: what each step of the scheduler costs here, and how fast label maps go out of date.

    Run it on the device, with nothing else running, and the --threads and --provider that you will use. `run`,
    `evaluate` and `profile` read it.

    Of a folder of layers it writes how long each takes, for `shrink --device`.
    """
    if (bundle / LAYER_INDEX).is_file():
        ignored = {
            "--provider": bool(provider or provider_option),
            "--runtime": runtime not in ("auto", "onnxruntime"),
            "--precision": parse_precision(precision) not in (None, "int8"),
            "--companion": bool(companion),
            "--max-frames": max_frames != DEFAULT_MAX_FRAMES,
        }
        if names := [name for name, given in ignored.items() if given]:
            raise OptionError(
                f"{bundle} is a folder of layers, whose int8 graphs are timed by ONNX Runtime on the CPU; leave out"
                f" {', '.join(names)}"
            )
        _layers(bundle, output, video, threads, as_json=as_json)
        return
    if not video:
        raise typer.BadParameter("give a video of what the camera will see")
    from edge_vseg.calibration import DeviceCalibrationOptions, calibrate_device

    given, _ = RuntimeOptions(runtime=runtime, precision=parse_precision(precision), threads=threads).with_own_schedule(
        bundle, None
    )
    _check_place(output, profile_folder(bundle) / "profile.json", "costs")

    read = longest_recording(video, MIN_FRAMES) if is_dataset(video) else video
    with console.counter("calibrating", quiet=as_json) as count, open_source(read, max_frames=max_frames) as frames:
        profile = calibrate_device(
            bundle,
            frames,
            video=frames.name,
            options=DeviceCalibrationOptions(
                runtime=runtime,
                precision=given.precision,
                variant=given.variant,
                threads=given.threads,
                provider=provider,
                provider_options=parse_provider_options(provider_option),
                companions=tuple(companion or ([given.companion] if given.companion else [])),
            ),
            progress=lambda done: count(done, max_frames),
        )
    path = output or device_profile_path(bundle, profile.variant, given.threads, profile.provider)
    write_device_profile(path, profile)
    if as_json:
        tree: dict[str, Any] = {"path": str(path)} | msgspec.to_builtins(profile)
        console.print_json(tree)
    else:
        _show(profile, path)


def _check_place(output: Path | None, beside: Path, key: str) -> None:
    """Check that the file can be written, before anything that takes minutes.

    Args:
        output: Where it goes, as given.
        beside: A file in the folder that it goes to otherwise.
        key: What a file of this kind has; only such a one is replaced.

    Raises:
        OptionError: If something else is there, or the folder cannot be written.
    """
    folder = (output or beside).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OptionError(f"{folder} cannot be written; give another place with -o")
    if output is not None and output.exists():
        try:
            tree = strict_json(read_regular(output))
        except (OSError, ValueError):
            tree = None
        if not isinstance(tree, dict) or not {key, "machine", "schema"} <= tree.keys():
            raise OptionError(f"{output} exists and was not written by calibrate; give another name with -o")


def _layers(folder: Path, output: Path | None, video: str, threads: int, *, as_json: bool) -> None:
    from edge_vseg.calibration import time_layers

    if video:
        raise OptionError(f"{folder} is a folder of layers, which are timed without a video; leave out {video}")
    beside = folder.absolute().parent
    _check_place(output, beside / "times.json", "layers")
    with console.counter("timing layers", quiet=as_json) as count:
        times = time_layers(folder, threads=threads, progress=count)
    path = output or beside / f"{folder.absolute().name}_{times.machine}.json"
    write_json(path, times)
    if as_json:
        console.print_json({"path": str(path)} | msgspec.to_builtins(times))
        return
    console.out.print(
        f"{times.name} takes {times.network_ms:.1f} ms on {times.machine}, {len(times.layers)} layers were timed;"
        f" written to {path}",
        highlight=False,
        markup=False,
    )


def _show(profile: DeviceProfile, path: Path) -> None:
    table = Table("ms", "p50", "p90", "p99", "runs", box=None, header_style="bold")
    for name, cost in sorted(profile.costs.items()):
        table.add_row(escape(name), *(f"{value:.2f}" for value in (cost.p50, cost.p90, cost.p99)), str(cost.runs))
    console.out.print(
        escape(f"{profile.variant} on {profile.machine}{profile.provider and f', {profile.provider}'}"), highlight=False
    )
    console.out.print(table)
    if profile.fit is None:
        console.out.print(
            f"[yellow]the video is too short to check the drift model[/]; give {MIN_FRAMES_FOR_DRIFT} frames or more"
        )
    else:
        console.out.print(
            f"drift: {profile.fit.mean_drift:.1%} of the pixels on average, predicted to within"
            f" {profile.fit.mean_error:.1%} (correlation {profile.fit.correlation:.2f})",
            highlight=False,
        )
    console.out.print(f"smallest useful deadline: {profile.min_deadline_ms:.1f} ms", highlight=False)
    console.out.print(f"written to {escape(str(path))}", highlight=False)
