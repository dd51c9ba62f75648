"""``edge-vseg render``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer
from rich.markup import escape

from edge_vseg.cli import console
from edge_vseg.cli.extras import require_export
from edge_vseg.cli.options import JsonOption, check_new_folder, check_output, parse_size
from edge_vseg.errors import OptionError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.video import VideoWriter

if TYPE_CHECKING:
    from edge_vseg.export.reference.scenes import SceneFrame


def render(
    output: Annotated[Path, typer.Argument(help="Video to write, .mp4.")],
    camera: Annotated[str, typer.Option(help="Camera motion: driving, walking, fixed.")] = "driving",
    frames: Annotated[int, typer.Option(help="Number of frames.", min=1)] = 150,
    size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of a frame in pixels.")] = "360x480",
    rate: Annotated[float, typer.Option(help="Frames per second.")] = 15.0,
    seed: Annotated[int, typer.Option(help="Each seed gives another street.", min=0)] = 0,
    passing: Annotated[
        str,
        typer.Option(help="What passes behind a car that stands: car, rider, walker; the driving camera stands."),
    ] = "none",
    truth: Annotated[
        Path | None,
        typer.Option(
            help="New folder for labels (PNG of class ids), motion field and occlusion mask (NPZ) of each frame."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing video.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Render a street with its ground truth: labels in CamVid's 11 classes, motion field, occlusion mask."""
    require_export("edge-vseg render")
    from edge_vseg.export.reference.scenes import CAMERAS, PASSING, StreetOptions, render_street

    if camera not in CAMERAS:
        raise OptionError(f"--camera {camera!r}: expected {', '.join(CAMERAS)}")
    if passing not in PASSING:
        raise OptionError(f"--passing {passing!r}: expected {', '.join(PASSING)}")
    check_output(output, force=force)
    check_new_folder("--truth", truth)
    options = StreetOptions(camera=camera, size_hw=parse_size("--size", size), rate=rate, seed=seed, passing=passing)
    with (
        VideoWriter(output, options.rate, options.size_hw) as writer,
        console.counter("rendering", quiet=as_json) as progress,
    ):
        for done, frame in enumerate(render_street(options, frames), 1):
            writer.write(frame.image, pts_ns=frame.pts_ns)
            if truth is not None:
                _write_truth(truth, frame)
            progress(done, frames)
    if as_json:
        tree = {"path": str(output), "frames": frames, "truth": None if truth is None else str(truth)}
        console.print_json(tree | {"camera": camera, "size_hw": list(options.size_hw), "rate": rate, "seed": seed})
    else:
        console.out.print(f"wrote [bold]{escape(str(output))}[/], {frames} frames", highlight=False)


def _write_truth(folder: Path, frame: SceneFrame) -> None:
    make_folder(folder)
    _, labels = cv2.imencode(".png", frame.labels)
    motion = io.BytesIO()
    np.savez_compressed(motion, motion=frame.motion, occluded=frame.occluded)
    for suffix, data in ((".png", labels.tobytes()), (".npz", motion.getvalue())):
        write_whole(folder / f"{frame.seq:06d}{suffix}", data, flush="system")
