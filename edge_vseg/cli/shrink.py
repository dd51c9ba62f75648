"""``edge-vseg shrink``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.bundle.layer_times import LayerTimes, read_layer_times
from edge_vseg.cli import console
from edge_vseg.cli.dataset_frames import with_dataset_images
from edge_vseg.cli.extras import require_export
from edge_vseg.cli.labelled import frames_to_learn_and_score
from edge_vseg.cli.options import (
    JsonOption,
    ThreadsOption,
    parse_classes,
    parse_labels,
    parse_names,
    parse_normalization,
    parse_size,
)
from edge_vseg.errors import OptionError

if TYPE_CHECKING:
    from edge_vseg.bundle.sample_frames import SampleFrames
    from edge_vseg.export import ExportOptions
    from edge_vseg.export.shrinking import Criterion, Family

HERE = "here"


def shrink(
    source: Annotated[str, typer.Argument(help="package.module:factory, file.py:factory or .onnx")],
    frames: Annotated[list[str], typer.Option(help="Sample video, image folder or LAYOUT:DIR; may be given again.")],
    target_ms: Annotated[
        float | None, typer.Option(help="What the int8 graph may take on the device, in ms.", min=0.01)
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the networks to write.")] = None,
    device: Annotated[
        str, typer.Option(help=f"Layer times of the device, a file; or {HERE!r}: time them on this machine.")
    ] = HERE,
    write_layers: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Only write the layers to this folder, for edge-vseg calibrate to time."),
    ] = None,
    finetune: Annotated[
        str, typer.Option(help="How long the networks learn in all, such as 10min, 1h or 3000steps.")
    ] = "10min",
    points: Annotated[int, typer.Option(help="Networks to write, the one at the target among them.", min=1)] = 3,
    rounds: Annotated[int, typer.Option(help="Most rounds of cutting.", min=1)] = 16,
    criterion: Annotated[str, typer.Option(help="How channels are compared: taylor, l1 or scale.")] = "taylor",
    sizes: Annotated[
        str, typer.Option(help="Smaller inputs to compare with, as shares of the sides; empty for none.")
    ] = "0.85,0.7",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT:DIR",
            help="Labelled images to learn from (train) and to score with (val, or a part set aside).",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help=".safetensors or state dict of a torch module.")] = None,
    classes: Annotated[str | None, typer.Option(help="camvid, cityscapes, voc, or a .json file.")] = None,
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Input size, such as 360x480.")] = None,
    output_name: Annotated[str, typer.Option(metavar="NAME", help="Output of several, as for export.")] = "",
    mean: Annotated[str | None, typer.Option(help="1 or 3 numbers, as for export.", show_default="0")] = None,
    scale: Annotated[str | None, typer.Option(help="1 or 3 positive numbers.", show_default="1")] = None,
    color: Annotated[
        str | None, typer.Option(help="Colour order that the network expects: rgb or bgr.", show_default="rgb")
    ] = None,
    runtimes: Annotated[str, typer.Option(help="Comma-separated; onnxruntime among them.")] = "onnxruntime",
    slices: Annotated[bool, typer.Option("--slices/--no-slices", help="Cut graphs for the scheduler.")] = True,
    training_frames: Annotated[int, typer.Option(help="Frames to learn from.", min=16)] = 128,
    validation_frames: Annotated[int, typer.Option(help="Frames to compare networks on.", min=1)] = 24,
    seed: Annotated[int, typer.Option(help="Of frames and training.", min=0)] = 0,
    threads: ThreadsOption = 0,
    work: Annotated[
        Path | None, typer.Option(help="Keep results here, and go on with those that are there.", metavar="DIR")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Cut channels of a network until it is fast enough for a device, and write the networks on the way as bundles.

    Channels are cut where the layers' times on the device say that it saves most for what is lost (NetAdapt). What is
    left learns from the whole network on the sample frames, without labels. Smaller inputs of the whole network are
    compared with it.

    For a device other than this machine: shrink --write-layers DIR here, calibrate DIR there, shrink --device FILE
    here.
    """
    if write_layers is None and (target_ms is None or output is None):
        raise typer.BadParameter("give --target-ms and --output; or --write-layers DIR")
    require_export("making a network smaller")
    from edge_vseg.calibration import sample_frames
    from edge_vseg.export import ExportOptions, TrainingLength
    from edge_vseg.export.shrinking import ShrinkData, ShrinkOptions
    from edge_vseg.export.shrinking import shrink as make_smaller

    options = ExportOptions(
        weights=weights,
        labels=parse_labels(classes),
        size_hw=None if input_size is None else parse_size("--input-size", input_size),
        output_name=output_name,
        normalization=parse_normalization(mean, scale, color),
        runtimes=parse_names(runtimes),
        slices=slices,
        seed=seed,
    )
    known = None if device == HERE else read_layer_times(Path(device))
    learnt, scored = frames_to_learn_and_score(labels, parse_classes(classes)) if labels is not None else ((), ())
    if learnt and scored and learnt.split == scored.split and not as_json:
        told = f"learning from {len(learnt)} frames of split {learnt.split}, and scoring on {len(scored)} others"
        console.err.print(escape(told), highlight=False)
    wanted = ShrinkOptions(
        target_ms=target_ms or 1.0,
        training=TrainingLength.parse(finetune),
        points=points,
        rounds=rounds,
        criterion=cast("Criterion", criterion),
        sizes=_shares(sizes),
        seed=seed,
    )
    images = with_dataset_images(frames)
    with console.counter("reading frames", quiet=as_json) as count:
        sample = sample_frames(
            images, calibration=training_frames, validation=validation_frames, seed=seed, progress=count
        )
    if write_layers is not None:
        _write_layers(source, options, sample, write_layers, as_json=as_json)
        return
    assert output is not None, "checked above"
    with console.tool_output_collected(), console.steps("making it smaller", quiet=as_json) as step:
        family = make_smaller(
            source,
            output,
            ShrinkData(frames=sample, labelled=learnt, scored=scored),
            wanted,
            options,
            lambda folder: _time_layers(folder, threads) if known is None else known,
            time_again=(lambda folder: _time_layers(folder, threads)) if known is None else None,
            threads=threads,
            work_dir=work,
            progress=step,
        )
    _show(family, output, as_json=as_json)


def _write_layers(source: str, options: ExportOptions, sample: SampleFrames, folder: Path, *, as_json: bool) -> None:
    from edge_vseg.export.shrinking import open_whole, write_network_layers

    with console.tool_output_collected():
        write_network_layers(open_whole(source, options), sample, folder)
    if as_json:
        console.print_json({"path": str(folder)})
        return
    console.out.print(
        f"wrote {escape(str(folder))}; copy it to the device and run edge-vseg calibrate {escape(folder.name)}"
        " -o layer_times.json there",
        highlight=False,
    )


def _time_layers(folder: Path, threads: int) -> LayerTimes:
    from edge_vseg.calibration import time_layers

    return time_layers(folder, threads=threads)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in parse_names(text))
    except ValueError as exc:
        raise OptionError(f"--sizes {text!r}: expected shares of the input's sides, such as 0.85,0.7") from exc


def _show(family: Family, output: Path, *, as_json: bool) -> None:
    if as_json:
        console.print_json({"path": str(output)} | msgspec.to_builtins(family))
        return
    from edge_vseg.export.shrinking import HEADINGS, score_row

    table = Table(*HEADINGS, box=None, header_style="bold")
    for each in family.members:
        table.add_row(*map(escape, score_row(each)))
    console.out.print(table)
    for note in family.notes:
        console.out.print(f"- {escape(note)}", highlight=False)
    console.out.print(f"wrote {escape(str(output))}; its report.html shows the curve", highlight=False)
