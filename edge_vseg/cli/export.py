"""``edge-vseg export``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.markup import escape

from edge_vseg.bundle import check_target, open_bundle
from edge_vseg.bundle.manifest import Manifest, dumps
from edge_vseg.cli import console
from edge_vseg.cli.dataset_frames import with_dataset_images
from edge_vseg.cli.extras import require_export
from edge_vseg.cli.labelled import frames_to_learn
from edge_vseg.cli.options import parse_classes, parse_labels, parse_names, parse_normalization, parse_size
from edge_vseg.cli.tables import noise_line, variant_reasons, variant_table
from edge_vseg.errors import OptionError

if TYPE_CHECKING:
    from edge_vseg.analysis.datasets import IndexedFrames, LabelledFrame
    from edge_vseg.bundle.manifest import Label
    from edge_vseg.bundle.sample_frames import SampleFrames
    from edge_vseg.export import BundleUpdate, Exported, ExportOptions

_FIXED = (
    "classes",
    "input_size",
    "resize",
    "output_name",
    "mean",
    "scale",
    "color",
    "seed",
    "finetune",
    "finetune_device",
    "labels",
)
"""Options that an update cannot change: they are the bundle's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampling:
    """Which frames to take."""

    frames: list[str]
    calibration: int
    validation: int
    seed: int
    quiet: bool

    def run(self) -> SampleFrames:
        from edge_vseg.calibration import sample_frames

        with console.counter("reading frames", quiet=self.quiet) as count:
            return sample_frames(
                self.frames,
                calibration=self.calibration,
                validation=self.validation,
                seed=self.seed,
                progress=count,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labelled:
    """Labelled frames to learn from; ``classes`` are those to read them in, ``None`` for the network's."""

    address: str
    classes: tuple[Label, ...] | None

    def open(self, labels: Sequence[Label]) -> IndexedFrames:
        return frames_to_learn(self.address, self.classes or labels)


def export(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="package.module:factory, file.py:factory, .onnx, .tflite or OpenVINO .xml")
    ] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The bundle to write, NAME.evseg.")] = None,
    frames: Annotated[
        list[str] | None, typer.Option(help="Sample video, image folder or LAYOUT:DIR; may be given again.")
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Change this bundle: add --runtimes, other --slices or --tiles, or validate again on --frames.",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help=".safetensors or state dict of a torch module.")] = None,
    classes: Annotated[str | None, typer.Option(help="camvid, cityscapes, voc, or a .json file.")] = None,
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Input size, such as 360x480.")] = None,
    resize: Annotated[
        str,
        typer.Option(help="Frames of another shape than the input: stretch, or letterbox, which keeps their aspect."),
    ] = "stretch",
    output_name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Output of several: its ONNX name, or the key or index in what a module returns, such as out or 1.",
        ),
    ] = "",
    mean: Annotated[
        str | None,
        typer.Option(
            help="1 or 3 numbers (0 to 255): the network expects (pixel - mean) / scale. Without this, --scale and"
            " --color: what the network says of itself.",
            show_default="0",
        ),
    ] = None,
    scale: Annotated[str | None, typer.Option(help="1 or 3 positive numbers.", show_default="1")] = None,
    color: Annotated[
        str | None, typer.Option(help="Colour order that the network expects: rgb or bgr.", show_default="rgb")
    ] = None,
    runtimes: Annotated[str, typer.Option(help="Comma-separated.")] = "onnxruntime,openvino,tflite",
    targets: Annotated[str, typer.Option(help="x86_64, x86_64-avx2, arm64, jetson; this machine's if empty.")] = "",
    precision: Annotated[str, typer.Option(help="Comma-separated: int8, float, float16.")] = "int8,float",
    node_times: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What nodes take on the device, from `edge-vseg profile --record-operators`: chooses those that int8"
            " leaves in float.",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Largest share of pixels in which int8 and float16 may differ from float.")
    ] = 0.02,
    min_speedup: Annotated[
        float | None,
        typer.Option(metavar="TIMES", help="How many times as fast as float int8 must be here, such as 1.5."),
    ] = None,
    calibration_frames: Annotated[int, typer.Option(help="Frames to calibrate on.", min=1)] = 32,
    validation_frames: Annotated[int, typer.Option(help="Frames to compare int8 with float on.", min=1)] = 24,
    finetune: Annotated[
        str | None,
        typer.Option(
            help="Teach int8 by float on the calibration frames for so long: 10min, 90s or 500steps;"
            " give it more --calibration-frames, such as 128."
        ),
    ] = None,
    finetune_device: Annotated[
        str, typer.Option(help="Torch device to teach on, such as cpu or cuda; auto takes a GPU that CUDA has.")
    ] = "auto",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT:DIR",
            help="Labelled images that --finetune learns from as well (split train); one in four judges the result.",
        ),
    ] = None,
    slices: Annotated[
        bool | None, typer.Option("--slices/--no-slices", help="Cut graphs for the scheduler.", show_default="on")
    ] = None,
    carry: Annotated[
        list[str] | None, typer.Option(help="Tensor that may be carried over; found by itself without it.")
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Also make tile graphs, which infer only what changed; multiples of 32."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same frames, same graphs but for slices.", min=0)] = 0,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Memory of one conversion for OpenVINO or TFLite, such as 4GB; 80 % of what is free."
        ),
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time of one such conversion, such as 30min; 15min by default.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep results here, and go on with those that are there.", metavar="DIR")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Exit with 0 although a graph failed or misses --max-drop or --min-speedup.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the manifest.")] = False,
) -> None:
    """Make a bundle of int8, float and float16 graphs from a trained network and a sample video, or change one.

    An older bundle at the same place is replaced in one step, at the end. Exits with 3 if a graph failed
    or misses --max-drop or --min-speedup; the bundle is written all the same.
    """
    if update is None and (not source or output is None or not frames):
        raise typer.BadParameter("give SOURCE, --output and --frames; or --update BUNDLE")
    require_export("exporting")
    from edge_vseg.export import BundleUpdate, ConversionLimits, DeviceTimes, ExportOptions, TrainingLength

    limits = ConversionLimits.parse(memory_limit, time_limit)
    times = None if node_times is None else DeviceTimes.read(node_times)
    size = None if tiles is None else parse_size("--tiles", tiles)
    sampling = _Sampling(
        frames=with_dataset_images(frames or []),
        calibration=calibration_frames,
        validation=validation_frames,
        seed=seed,
        quiet=as_json,
    )
    if update is not None:
        chosen = {name for name in context.params if _is_set(context, name)}
        change = BundleUpdate(
            source=source,
            weights=weights,
            runtimes=_runtimes_to_build(update, runtimes, chosen),
            targets=parse_names(targets),
            precisions=_precisions_to_build(precision, chosen),
            slices="keep" if slices is None else "cut" if slices else "remove",
            carried=tuple(carry or ()),
            tiles=size,
            max_drop=max_drop,
            min_speedup=min_speedup,
            node_times=times,
            limits=limits,
        )
        exported = _update(update, output, change, _as_sampled(update, sampling, chosen), work)
    else:
        assert output is not None
        options = ExportOptions(
            weights=weights,
            labels=parse_labels(classes),
            size_hw=None if input_size is None else parse_size("--input-size", input_size),
            resize=cast("Literal['stretch', 'letterbox']", resize),
            output_name=output_name,
            normalization=parse_normalization(mean, scale, color),
            runtimes=parse_names(runtimes),
            targets=parse_names(targets),
            precisions=parse_names(precision),
            max_drop=max_drop,
            min_speedup=min_speedup,
            node_times=times,
            slices=slices is not False,
            carried=tuple(carry or ()),
            tiles=size,
            seed=seed,
            limits=limits,
            finetune=None if finetune is None else TrainingLength.parse(finetune),
            finetune_device=finetune_device,
        )
        learnt = None if labels is None else _Labelled(address=labels, classes=parse_classes(classes))
        if learnt is not None:
            _check_address(learnt.address, options)
        exported = _export(source, output, options, sampling, work, learnt)
    _show(exported, as_json=as_json)
    if exported.troubled and not force:
        raise typer.Exit(console.EXIT_CHECK)


def _check_address(labels: str, options: ExportOptions) -> None:
    """Refuse labels that cannot be learnt, before anything takes long."""
    if options.finetune is None:
        raise OptionError("--labels is learnt by --finetune; give both, such as --finetune 10min")
    frames_to_learn(labels, None)


def _export(
    source: str,
    output: Path,
    options: ExportOptions,
    sampling: _Sampling,
    work: Path | None,
    labelled: _Labelled | None,
) -> Exported:
    check_target(output)
    with console.tool_output_collected():
        from edge_vseg.export.graph.macs import count_macs
        from edge_vseg.export.pipeline import export_prepared, open_job, prepare_source
        from edge_vseg.export.pipeline.export_bundle import PreparedNetwork
        from edge_vseg.export.progress import plan_steps
        from edge_vseg.export.time_left import TimeLeft

        with open_job(source, output, options, work_dir=work) as job:
            prepared = prepare_source(job)  # before a long video is decoded: most mistakes show here
            if isinstance(prepared, PreparedNetwork) and prepared.normalization.told and not sampling.quiet:
                console.err.print(escape(prepared.normalization.told), soft_wrap=True, highlight=False)
            truth: Sequence[LabelledFrame] = ()
            if labelled is not None and isinstance(prepared, PreparedNetwork):
                truth = labelled.open(prepared.built.graph.labels)
            sample = sampling.run()
            macs = count_macs(prepared.built.graph.model) if isinstance(prepared, PreparedNetwork) else 0
            plan = plan_steps(source, options, macs)
            left = TimeLeft(plan)
            with console.steps("exporting", quiet=sampling.quiet, expected=len(plan), time_left=left) as step:
                return export_prepared(replace(job, frames=sample, truth=truth, progress=step), prepared)


def _update(
    bundle: Path, output: Path | None, change: BundleUpdate, sampling: _Sampling, work: Path | None
) -> Exported:
    sample = sampling.run() if sampling.frames else None
    with console.tool_output_collected():
        from edge_vseg.export import update_bundle

        with console.steps("updating", quiet=sampling.quiet) as step:
            return update_bundle(bundle, sample, change, step, output=output, work_dir=work)


def _as_sampled(bundle: Path, sampling: _Sampling, chosen: set[str]) -> _Sampling:
    """As many frames as the bundle was made with, and its seed, so that the same video gives the same frames."""
    if fixed := [name for name in _FIXED if name in chosen]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise OptionError(f"--update keeps what the bundle says, so {names} cannot be given; export a new bundle")
    manifest: Manifest = open_bundle(bundle).manifest
    calibration = manifest.calibration
    if "calibration_frames" not in chosen and calibration.frames:
        sampling = replace(sampling, calibration=len(calibration.frames))
    if "validation_frames" not in chosen and calibration.validation_frames:
        sampling = replace(sampling, validation=len(calibration.validation_frames))
    return replace(sampling, seed=calibration.seed)


def _runtimes_to_build(bundle: Path, runtimes: str, chosen: set[str]) -> tuple[str, ...]:
    """Those that an update names; only ONNX Runtime has targets, and other precisions are for all of the bundle's."""
    if "runtimes" in chosen:
        return parse_names(runtimes)
    if "targets" in chosen:
        return ("onnxruntime",)
    if "precision" not in chosen:
        return ()
    return tuple(dict.fromkeys(variant.runtime for variant in open_bundle(bundle).manifest.variants))


def _precisions_to_build(precision: str, chosen: set[str]) -> tuple[str, ...]:
    """Those that an update names; targets alone are for int8."""
    return ("int8",) if "targets" in chosen and not chosen & {"runtimes", "precision"} else parse_names(precision)


def _is_set(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line."""
    found = context.get_parameter_source(name)
    return found is not None and found.name == "COMMANDLINE"


def _show(exported: Exported, *, as_json: bool) -> None:
    if as_json:
        tree = {"path": str(exported.path), "warnings": list(exported.warnings), "notes": list(exported.notes)}
        console.print_json(tree | {"manifest": json.loads(dumps(exported.manifest))})
        return
    console.out.print(
        f"wrote [bold]{escape(str(exported.path))}[/]; its report.html shows the worst frames", highlight=False
    )
    console.out.print(variant_table(exported.manifest))
    for line in (*exported.notes, *noise_line(exported.manifest), *variant_reasons(exported.manifest)):
        console.out.print(f"- {line}", highlight=False)
