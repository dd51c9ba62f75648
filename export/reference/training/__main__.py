"""``edge-vseg-train``: train a reference network on a dataset and rendered streets."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_vseg.bundle.labels import named_labels, plain_labels, read_labels, same_classes
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import EdgeVsegError, OptionError
from edge_vseg.export.reference.training.checkpoint import read_average
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.curves import draw_curves
from edge_vseg.export.reference.training.loop import LOG, TrainingProgress, computing_on, train
from edge_vseg.export.reference.training.own_data import read_training_data, training_address
from edge_vseg.export.reference.training.plan import TrainingPlan, plan_training
from edge_vseg.export.reference.training.run_folder import run_folder
from edge_vseg.export.reference.training.run_sources import RunSources, merged_text
from edge_vseg.export.reference.training.teachers import open_teacher
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.validation import evaluate_network, per_class
from edge_vseg.export.reference.zoo.grow import grow
from edge_vseg.export.reference.zoo.new_head import with_labels
from edge_vseg.export.reference.zoo.own_stem import with_own_stem
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.export.reference.zoo.weights import pretrained, read_network, shipped
from edge_vseg.files import write_whole
from edge_vseg.progress_lines import ProgressLines
from edge_vseg.signals import sigterm_as_interrupt

_err = Console(stderr=True)
training_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@training_app.command(context_settings={"help_option_names": ["-h", "--help"]})
def train_command(
    data: Annotated[
        str, typer.Argument(metavar="LAYOUT:DIR", help="LAYOUT:DIR or LAYOUT:DIR:SPLIT; a folder alone is CamVid's.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Output folder; an unfinished run in it is continued.")
    ],
    classes: Annotated[
        str | None, typer.Option(help="Classes to learn: camvid, cityscapes, voc, or a .json file; all by default.")
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(help="Split to judge by: val, the layout's, or a part of a lone split.", metavar="SPLIT"),
    ] = None,
    network: Annotated[str | None, typer.Option(help="small, middle (default), large or middle_thin.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training frames.", min=1)] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with training options.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a training option; may be repeated.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Initial weights: shipped, none, a weights file or a checkpoint.pt; those of a smaller network are"
            " grown, those of middle start middle_thin,"
            " and other classes get a new last layer. By default none for CamVid's classes, shipped for others."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="What to distil from: weights of a trained reference network, or any torch module as"
            " package.module:factory or file.py:factory.",
            metavar="SOURCE",
        ),
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option(
            help="Unlabelled video on which the network shall say the same along the motion; needs consistency. May be"
            " repeated.",
            metavar="VIDEO",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets torch decide.", min=0)] = 0,
    plan: Annotated[bool, typer.Option("--plan", help="Say how long all will take, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Train a reference network on a dataset of yours, or CamVid, and rendered streets.

    Ctrl-C stops the run; the same command continues it.

    Writes weights.safetensors, checkpoint.pt, log.csv, curves.png and result.json to the output folder.
    """
    options = _read_config(config, setting or [], network, epochs)
    _check_device(device)
    if threads:
        torch.set_num_threads(threads)
    with contextlib.nullcontext() if plan else run_folder(output):
        labels = None if classes is None else _read_classes(classes)
        frames = read_training_data(training_address(data), options, labels=labels, val=val, videos=video or ())
        frames = replace(frames, labels=plain_labels(frames.labels))
        began = start or _default_start(training_address(data), frames.labels)
        taught = open_teacher(teacher, frames.labels, options.crop_hw) if teacher else None
        if isinstance(taught, TwoBranch) and options.response and not same_classes(taught.labels, frames.labels):
            raise OptionError(f"--teacher {teacher} has other classes, and response compares them; give one with these")
        if plan:
            _show_plan(plan_training(options, frames, device=device, teacher=taught), as_json=as_json)
            return
        sources = RunSources(
            split=frames.split,
            val=frames.val_split,
            classes=classes,
            merged=merged_text(labels or ()),
            start=began,
            teacher=teacher,
            videos=tuple(video or ()),
        )
        with sigterm_as_interrupt(), _progress_bar(quiet=as_json) as on_step:
            path = train(
                options,
                frames,
                output,
                device=device,
                start=_read_start_weights(began, options, frames.labels),
                teacher=taught,
                sources=sources.named(),
                on_step=on_step,
            )
        tree = _write_result(path, frames, options, sources, device)
    if as_json:
        sys.stdout.write(json.dumps(tree, indent=1) + "\n")
        return
    judged = f"mIoU {tree['miou']} % on {len(frames.val)} validation frames" if frames.val else "judged by no frame"
    _err.print(f"{judged}; weights in {escape(str(path))}")
    size = "x".join(map(str, frames.train[0].labels.shape))
    _err.print(
        f"make a bundle: edge-vseg export {escape(str(path))} -o street.evseg --frames YOUR_VIDEO --input-size {size}",
        soft_wrap=True,
        highlight=False,
    )


def _write_result(
    weights: Path, frames: TrainingData, options: TrainConfig, sources: RunSources, device: str
) -> dict[str, Any]:
    """Judge the weights, and write curves and record beside them."""
    draw_curves(weights.with_name(LOG), weights.with_name("curves.png"))
    with computing_on(device):
        confusion = evaluate_network(read_network(weights).to(device), frames.val, len(frames.labels))
    tree = {
        "weights": str(weights),
        "miou": round(100 * confusion.mean_iou, 2) if frames.val else None,
        "pixel_accuracy": round(100 * confusion.pixel_accuracy, 2) if frames.val else None,
        "iou": per_class(confusion, frames.labels),
        "options": options.tree(),
        "commands": [sources.command(options)],
    }
    write_whole(weights.with_name("result.json"), (json.dumps(tree, indent=1) + "\n").encode())
    return tree


def _show_plan(plan: TrainingPlan, *, as_json: bool) -> None:
    tree = asdict(plan) | {"total_s": plan.total_s}
    sys.stdout.write(json.dumps(tree, indent=1) + "\n" if as_json else f"{plan}\n")


def main() -> None:
    """Entry point of ``edge-vseg-train``."""
    try:
        training_app()
    except EdgeVsegError as exc:
        _err.print(f"[bold red]{type(exc).__name__}[/]: {escape(str(exc))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        _err.print("stopped; run the same command to continue from the last checkpoint")
        sys.exit(130)


def _read_config(path: Path | None, settings: list[str], network: str | None, epochs: int | None) -> TrainConfig:
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree |= json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as exc:
            raise OptionError(f"--config {path}: {exc}; expected a JSON object of training options") from exc
    for text in settings:
        name, separator, value = text.partition("=")
        if not separator:
            raise OptionError(f"--set {text!r}: expected NAME=VALUE, such as learning_rate=0.001")
        try:
            tree[name] = json.loads(value)
        except ValueError:
            tree[name] = value
    tree |= {key: value for key, value in (("network", network), ("epochs", epochs)) if value is not None}
    return TrainConfig.from_tree(tree)


def _default_start(address: str, labels: tuple[Label, ...]) -> str:
    """The shipped weights, but for CamVid itself, which they have learnt."""
    is_camvid = address.startswith("camvid:") and same_classes(labels, named_labels("camvid"))
    return "none" if is_camvid else "shipped"


def _read_start_weights(start: str, options: TrainConfig, labels: tuple[Label, ...]) -> dict[str, torch.Tensor] | None:
    """Initial weights in the wanted network and classes; ``None`` for random ones."""
    if start == "none":
        return None
    path = Path(start)
    if start == "shipped":
        # A network without weights of its own starts from the middle one.
        network = pretrained(options.network if options.network in shipped() else "middle")
    else:
        network = read_average(path) if path.suffix == ".pt" else read_network(path)
    if network.spec.name != options.network:
        known = network.labels
        spec = replace(SPECS[options.network], classes=len(known))
        network = with_own_stem(network, spec) if spec.own_stem else grow(network, spec)
        network.labels = known
    if network.labels != labels:
        network = with_labels(network, labels)
    return dict(network.state_dict())


def _read_classes(text: str) -> tuple[Label, ...]:
    return read_labels(Path(text)) if text.endswith(".json") else named_labels(text)


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        raise OptionError(f"--device {device!r} cannot be used here: {str(exc).splitlines()[0]}") from exc


@contextlib.contextmanager
def _progress_bar(*, quiet: bool) -> Iterator[Callable[[TrainingProgress], None]]:
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    words = ""
    lines = ProgressLines(lambda line: _err.print(line, soft_wrap=True, highlight=False), lambda: words)
    with (
        Progress(*columns, console=_err, disable=quiet or not _err.is_interactive) as progress,
        contextlib.nullcontext() if quiet or _err.is_interactive else lines,
    ):
        task = progress.add_task("training", total=None, facts="")

        def on_step(now: TrainingProgress) -> None:
            nonlocal words
            facts = f"loss {now.loss:.3f}, mIoU {now.miou:.2f} %"
            words = f"training: step {now.step} of {now.steps}, {facts}"
            progress.update(task, completed=now.step, total=now.steps, facts=facts)

        yield on_step


if __name__ == "__main__":
    main()
