"""``edge-vseg export``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape

from edge_vseg.bundle import check_target
from edge_vseg.bundle.labels import named_labels, read_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_export
from edge_vseg.cli.options import parse_size
from edge_vseg.cli.tables import variant_reasons, variant_table
from edge_vseg.errors import OptionError

if TYPE_CHECKING:
    from edge_vseg.export import ExportOptions


def export(
    source: Annotated[
        str, typer.Argument(help="package.module:factory, file.py:factory, .onnx, .tflite or OpenVINO .xml")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle to write, NAME.evseg.")],
    frames: Annotated[list[str], typer.Option(help="Sample video or image folder; may be given again.")],
    weights: Annotated[Path | None, typer.Option(help=".safetensors or state dict of a torch module.")] = None,
    classes: Annotated[str | None, typer.Option(help="camvid, cityscapes, voc, or a .json file.")] = None,
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Input size, such as 360x480.")] = None,
    mean: Annotated[
        str, typer.Option(help="1 or 3 numbers (0 to 255): the network expects (pixel - mean) / scale.")
    ] = "0",
    scale: Annotated[str, typer.Option(help="1 or 3 positive numbers.")] = "1",
    color: Annotated[str, typer.Option(help="Colour order that the network expects: rgb or bgr.")] = "rgb",
    runtimes: Annotated[str, typer.Option(help="Comma-separated.")] = "onnxruntime,openvino,tflite",
    targets: Annotated[str, typer.Option(help="x86_64, x86_64-avx2, arm64, jetson; this machine's if empty.")] = "",
    precision: Annotated[str, typer.Option(help="Comma-separated: int8, float.")] = "int8,float",
    max_drop: Annotated[
        float, typer.Option(help="Largest share of pixels in which int8 may differ from float.")
    ] = 0.02,
    calibration_frames: Annotated[int, typer.Option(help="Frames to calibrate on.", min=1)] = 32,
    validation_frames: Annotated[int, typer.Option(help="Frames to judge by.", min=1)] = 24,
    no_slices: Annotated[bool, typer.Option("--no-slices", help="Do not cut graphs for the scheduler.")] = False,
    carry: Annotated[
        list[str] | None, typer.Option(help="Tensor of the network that may be old; found by itself without it.")
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Also make graphs for tiles of this size, so that only what changed is inferred; multiples of 32.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same frames, same graphs but for slices.", min=0)] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Exit with 0 although a graph failed or exceeds --max-drop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the manifest.")] = False,
) -> None:
    """Make a bundle of int8 and float graphs from a trained network and a sample video.

    An older bundle at the same place is replaced in one step, at the end. Exits with 3 if a graph failed
    or differs from float in more pixels than allowed; the bundle is written all the same.
    """
    check_target(output)
    require_export("exporting")
    from edge_vseg.calibration import sample_frames
    from edge_vseg.export import ExportOptions, Normalization, export_bundle
    from edge_vseg.export.progress import count_steps

    if color not in ("rgb", "bgr"):
        raise OptionError(f"--color {color!r}: expected rgb or bgr")
    options = ExportOptions(
        weights=weights,
        labels=_labels(classes),
        size_hw=None if input_size is None else parse_size("--input-size", input_size),
        normalization=Normalization(
            mean=_three("--mean", mean), scale=_three("--scale", scale), color="rgb" if color == "rgb" else "bgr"
        ),
        runtimes=_names(runtimes),
        targets=_names(targets),
        precisions=_names(precision),
        max_drop=max_drop,
        slices=not no_slices,
        carried=tuple(carry or ()),
        tiles=None if tiles is None else parse_size("--tiles", tiles),
        seed=seed,
    )
    _check_source(source, options)
    with console.counter("reading frames", quiet=as_json) as count:
        taken = sample_frames(
            frames, calibration=calibration_frames, validation=validation_frames, seed=seed, progress=count
        )
    with console.steps("exporting", quiet=as_json, expected=count_steps(source, options)) as step:
        exported = export_bundle(source, output, taken, options, step)
    if as_json:
        tree = {"path": str(exported.path), "warnings": list(exported.warnings)}
        console.print_json(tree | {"manifest": msgspec.to_builtins(exported.manifest)})
    else:
        console.out.print(
            f"wrote [bold]{escape(str(output))}[/]; its report.html shows the worst frames", highlight=False
        )
        console.out.print(variant_table(exported.manifest))
        for line in variant_reasons(exported.manifest):
            console.out.print(f"- {line}", highlight=False)
    if exported.troubled and not force:
        raise typer.Exit(console.EXIT_CHECK)


def _check_source(source: str, options: ExportOptions) -> None:
    """Open the network and hold the options against it before decoding a long video, to refuse a bad one at once."""
    from edge_vseg.export.export_options import check_tiles_fit
    from edge_vseg.export.float_graph import make_float_graph
    from edge_vseg.export.source.ready_made import read_ready_made
    from edge_vseg.export.source.source_network import is_ready_made, open_source_network

    if is_ready_made(source):
        read_ready_made(Path(source), options)
        return
    network = open_source_network(source, weights=options.weights, size_hw=options.size_hw)
    graph = make_float_graph(network, options)
    if options.tiles is not None:
        check_tiles_fit(options.tiles, graph.size_hw)


def _labels(classes: str | None) -> tuple[Label, ...] | None:
    if classes is None:
        return None
    return read_labels(Path(classes)) if classes.endswith(".json") else named_labels(classes)


def _three(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in re.split(r"[,\s]+", text.strip())]
    except ValueError as exc:
        raise OptionError(f"{option} {text!r}: expected 1 or 3 numbers, such as 127.5 or 123.7,116.3,103.5") from exc
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise OptionError(f"{option} {text!r}: expected 1 or 3 numbers, got {len(values)}")
    return values[0], values[1], values[2]


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
