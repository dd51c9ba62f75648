"""``edge-vseg tune``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_vseg.bundle import check_target
from edge_vseg.cli import console
from edge_vseg.cli.dataset_frames import is_dataset, longest_recording, with_dataset_images
from edge_vseg.cli.extras import require_export, require_tune
from edge_vseg.cli.options import (
    JsonOption,
    parse_classes,
    parse_labels,
    parse_names,
    parse_normalization,
    parse_size,
)
from edge_vseg.cli.tune_study import StudyPlan, run_study
from edge_vseg.errors import OptionError

if TYPE_CHECKING:
    from edge_vseg.bundle.sample_frames import SampleFrames
    from edge_vseg.tuning import ExportRequest

HERE = "here"
DEFAULT_FRAMES = 300
MIN_FRAMES = 8
EXPORTED_RUNTIMES = "onnxruntime,openvino,tflite"
EXPORTED_PRECISIONS = "int8,float"


def tune(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="A network as for export; or one or more bundles, such as of several sizes."
        ),
    ],
    frames: Annotated[str, typer.Option(help="Video, image folder or LAYOUT:DIR of what the camera will see.")] = "",
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT:DIR", help="Judge by these labelled frames, instead of by the network itself on --frames."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The bundle to write, with the best schedule in it.")
    ] = Path("best.evseg"),
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROFILE|here",
            help="Device profile that calibrate wrote, to replay; may be repeated for other variants and bundles."
            " By default trials are measured here.",
        ),
    ] = None,
    scale_network: Annotated[
        float, typer.Option(help="With --device PROFILE: networks that take so many times as long.", min=0.01)
    ] = 1.0,
    rate: Annotated[float, typer.Option(help="Frames per second that arrive.", min=0.1)] = 30.0,
    deadline_ms: Annotated[
        float | None,
        typer.Option("--deadline-ms", help="99 of 100 frames must be answered within so many ms.", min=0.1),
    ] = None,
    cpu_share: Annotated[
        float | None, typer.Option("--cpu-share", help="Share of all cores that may be used, such as 0.5.")
    ] = None,
    trials: Annotated[int, typer.Option(help="Settings to try.", min=1)] = 60,
    companion: Annotated[
        list[Path] | None, typer.Option("--companion", help="Bundle to try as a companion; may be repeated.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the study is kept; OUTPUT with .study by default.")
    ] = None,
    take: Annotated[
        str, typer.Option(metavar="NAME", help="What to write: best, balanced, thrifty, or the number of a trial.")
    ] = "best",
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Spread exports and replayed trials over this Ray cluster; local starts one."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(help="So many exports and replayed trials at a time on this machine.", min=1)
    ] = 1,
    max_frames: Annotated[int, typer.Option(help="Frames of a trial.", min=MIN_FRAMES)] = DEFAULT_FRAMES,
    weights: Annotated[Path | None, typer.Option(help=".safetensors or state dict of a torch module.")] = None,
    classes: Annotated[str | None, typer.Option(help="camvid, cityscapes, voc, or a .json file.")] = None,
    input_sizes: Annotated[
        str, typer.Option(metavar="HxW,...", help="Input sizes to export and try; the network's own by default.")
    ] = "",
    tiles: Annotated[str | None, typer.Option(metavar="HxW", help="Also make tile graphs, as for export.")] = None,
    mean: Annotated[str | None, typer.Option(help="1 or 3 numbers, as for export.", show_default="0")] = None,
    scale: Annotated[str | None, typer.Option(help="1 or 3 positive numbers.", show_default="1")] = None,
    color: Annotated[
        str | None, typer.Option(help="Colour order that the network expects: rgb or bgr.", show_default="rgb")
    ] = None,
    runtimes: Annotated[
        str | None, typer.Option(help="Comma-separated; of an export.", show_default=EXPORTED_RUNTIMES)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Comma-separated: int8, float, float16; of an export.", show_default=EXPORTED_PRECISIONS),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed and device profile, same result.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the best variant, policy and parameters for a device, and write them into the bundle.

    Trials are judged by what is shown in time, against the labels or the network itself on every frame. The study is
    kept: Ctrl-C loses nothing, the same command goes on, more --trials add to it. Its page is study.html.

    Exits with 3 if no setting keeps the limits; nothing is then written but the study.
    """
    require_tune("tuning")
    from edge_vseg.tuning import TuneOptions, Wish, is_bundle

    wish = Wish(rate=rate, deadline_ms=deadline_ms, cpu_share=cpu_share)
    if not frames and dataset is None:
        raise typer.BadParameter("give --frames VIDEO, or --dataset LAYOUT:DIR to judge by labels")
    profiles = tuple(Path(each) for each in device or () if each != HERE)
    if profiles and HERE in (device or ()):
        raise OptionError("--device here measures and a profile is replayed; give one or the other")
    check_target(output)
    judged_alone = dataset is None and is_dataset(frames)
    recording = longest_recording(frames, MIN_FRAMES)[:max_frames] if judged_alone else []
    folder = study or output.with_name(output.name.removesuffix(".evseg") + ".study")
    options = TuneOptions(
        wish=wish,
        trials=trials,
        profiles=profiles,
        network_scale=scale_network,
        cluster=cluster if profiles else None,
        processes=processes if profiles else 1,
        seed=seed,
    )
    of_exports = {
        "--weights": weights,
        "--classes": classes,
        "--input-sizes": input_sizes or None,
        "--tiles": tiles,
        "--mean": mean,
        "--scale": scale,
        "--color": color,
        "--runtimes": runtimes,
        "--precision": precision,
    }
    request = None
    if not all(is_bundle(each) for each in sources):
        request = _request(sources, frames, seed, quiet=as_json)
        request = replace(
            request,
            sizes=tuple(parse_size("--input-sizes", each) for each in parse_names(input_sizes)),
            options=replace(
                request.options,
                weights=weights,
                labels=parse_labels(classes),
                normalization=parse_normalization(mean, scale, color),
                runtimes=parse_names(runtimes or EXPORTED_RUNTIMES),
                precisions=parse_names(precision or EXPORTED_PRECISIONS),
                tiles=None if tiles is None else parse_size("--tiles", tiles),
            ),
        )
    elif given := [
        name
        for name, value in of_exports.items()
        if value is not None and not (name == "--classes" and dataset is not None)  # which says what its classes make
    ]:
        raise OptionError(
            f"{', '.join(given)}: only an export takes that, and a bundle is one already;"
            " leave it out, or give the network"
        )
    elif not profiles and (cluster is not None or processes > 1):
        raise OptionError(
            "trials that measure run one at a time, or they would measure each other; give a device profile to replay"
            " (edge-vseg calibrate writes one), or leave out --cluster and --processes"
        )
    plan = StudyPlan(
        sources=tuple(sources),
        request=request,
        frames=frames,
        recording=tuple(recording),
        dataset=dataset,
        classes=parse_classes(classes),
        companions=tuple(companion or ()),
        folder=folder,
        output=output,
        take=take,
        max_frames=max_frames,
        cluster=cluster,
        processes=processes,
        quiet=as_json,
    )
    run_study(plan, options)


def _request(sources: Sequence[str], frames: str, seed: int, *, quiet: bool) -> ExportRequest:
    """What is to be exported of a source that is no bundle.

    Raises:
        OptionError: If there are several sources, or no sample frames to calibrate on.
    """
    if len(sources) > 1:
        lacking = next(each for each in sources if not (Path(each) / "manifest.json").is_file())
        raise OptionError(f"{lacking} is no bundle; tune one network, or several bundles")
    if not frames:
        raise OptionError("an export calibrates on frames; give --frames VIDEO, too")
    require_export("exporting")
    from edge_vseg.calibration import sample_frames
    from edge_vseg.export import ExportOptions
    from edge_vseg.tuning import ExportRequest

    images = tuple(with_dataset_images([frames]))

    def sample() -> SampleFrames:
        with console.counter("reading frames", quiet=quiet) as count:
            return sample_frames(images, calibration=32, validation=24, seed=seed, progress=count)

    return ExportRequest(source=sources[0], options=ExportOptions(seed=seed), sizes=(), frames=images, sample=sample)
