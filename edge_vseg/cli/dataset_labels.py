"""``edge-vseg dataset propagate`` and ``edge-vseg dataset pseudo-label``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edge_vseg.analysis.datasets import find_dataset
from edge_vseg.analysis.label_propagation import PropagationOptions, PseudoLabelOptions, pseudo_label
from edge_vseg.analysis.label_propagation.from_dataset import (
    frame_rate,
    open_training_split,
    propagate_dataset,
    pseudo_label_dataset,
)
from edge_vseg.analysis.label_propagation.labelled_folder import LabelledFolder, write_labelled_folder
from edge_vseg.analysis.label_propagation.pseudo_labels import LabelTeacher
from edge_vseg.analysis.label_propagation.staged_folder import check_replaceable
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli import console
from edge_vseg.cli.dataset_frames import is_dataset
from edge_vseg.cli.extras import require_export
from edge_vseg.cli.options import (
    ForceOption,
    JsonOption,
    MaxFramesOption,
    PrecisionOption,
    RuntimeOption,
    ThreadsOption,
    parse_precision,
)
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import EveryFrame
from edge_vseg.types import Image
from edge_vseg.video import Source, open_source

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write: a dataset in the layout folder.", metavar="DIR")
]


def propagate(
    dataset: Annotated[
        str, typer.Argument(metavar="LAYOUT:DIR", help="LAYOUT:DIR or LAYOUT:DIR:SPLIT; train by default.")
    ],
    output: OutputOption,
    reach: Annotated[int, typer.Option(help="Frames that labels are carried to, on either side.", min=1)] = 5,
    min_confidence: Annotated[
        float, typer.Option(help="Pixels of less confidence get no class.", min=0.0, max=1.0)
    ] = 0.5,
    joint: Annotated[
        bool, typer.Option("--joint", help="Write the image that was carried with its labels, not the frame's own.")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Carry the labels of single frames of a clip to the frames around them, along the optical flow."""
    sources = (find_dataset(dataset).folder,)
    check_replaceable(output, force=force, sources=sources)
    options = PropagationOptions(reach=reach, min_confidence=min_confidence, images="warped" if joint else "real")
    frames = open_training_split(dataset)
    with (
        write_labelled_folder(output, frames.labels, frame_rate(frames), force=force, sources=sources) as folder,
        console.counter("carrying", quiet=as_json) as count,
    ):
        propagate_dataset(frames, folder, options, lambda done: count(done, None))
    _show(output, frames.split, folder, as_json=as_json)


def label_by_teacher(
    teacher: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|SOURCE",
            help="Directory of a bundle; or any torch module, as package.module:factory or file.py:factory.",
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO|LAYOUT:DIR", help="A video or image folder, or a dataset with frames without labels."
        ),
    ],
    output: OutputOption,
    max_uncertainty: Annotated[
        float, typer.Option(help="Pixels of which the teacher is less sure get no class.", min=0.0, max=1.0)
    ] = 0.3,
    no_motion: Annotated[
        bool, typer.Option("--no-motion", help="Do not ask whether the frames before and after agree.")
    ] = False,
    max_frames: MaxFramesOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label frames by a teacher, where it is sure and where the frames before and after agree along the motion."""
    options = PseudoLabelOptions(max_uncertainty=max_uncertainty, agreement="none" if no_motion else "motion")
    from_dataset = is_dataset(source)
    read = find_dataset(source).folder if from_dataset else Path(source)
    sources = (Path(teacher), read)
    check_replaceable(output, force=force, sources=sources)
    runtime_options = RuntimeOptions(runtime=runtime, precision=parse_precision(precision), threads=threads)
    with (
        _open_teacher(teacher, runtime_options) as opened,
        console.counter("labelling", quiet=as_json) as count,
    ):
        if from_dataset:
            frames = open_training_split(source)[:max_frames]
            with write_labelled_folder(
                output, opened.labels, frame_rate(frames), force=force, sources=sources
            ) as folder:
                pseudo_label_dataset(frames, opened, folder, options, lambda done: count(done, len(frames)))
        else:
            with open_source(source, max_frames=max_frames) as video:
                if video.is_live and max_frames is None:
                    raise OptionError(f"{video.name} is live and has no end; give --max-frames")
                with write_labelled_folder(output, opened.labels, video.fps, force=force, sources=sources) as folder:
                    _label_video(video, opened, folder, options, lambda done: count(done, video.frame_count))
    _show(output, None, folder, as_json=as_json)


def _open_teacher(teacher: str, options: RuntimeOptions) -> AbstractContextManager[LabelTeacher]:
    """A bundle or, by its factory or weights, a torch module."""
    if Path(teacher).is_dir() or (":" not in teacher and not teacher.lower().endswith(".safetensors")):
        return options.open_segmenter(Path(teacher), EveryFrame())
    if options != RuntimeOptions():
        raise OptionError(f"{teacher} is no bundle and runs in torch; leave out --runtime, --precision and --threads")
    require_export("a torch module as the teacher")
    from edge_vseg.export.source.labelling_module import LabellingModule

    return nullcontext(LabellingModule(teacher))


def _label_video(
    video: Source,
    teacher: LabelTeacher,
    folder: LabelledFolder,
    options: PseudoLabelOptions,
    progress: Callable[[int], None],
) -> None:
    folder.begin_clip(Path(video.name).stem)
    for done, each in enumerate(pseudo_label(teacher, _images(video), options), 1):
        folder.add("", each.image, each.carried)
        progress(done)


def _images(video: Source) -> Iterator[Image]:
    for frame in video:
        yield frame.image


def _show(output: Path, split: str | None, folder: LabelledFolder, *, as_json: bool) -> None:
    record = folder.record()
    if as_json:
        console.print_json({"output": os.fspath(output), "split": split} | record)
        return
    of_split = "" if split is None else f" of split {split}"
    console.out.print(
        escape(
            f"{folder.frames} frames{of_split}, {folder.made} of them with new labels, on"
            f" {record['labelled_share']:.1%} of their pixels: folder:{output}"
        ),
        highlight=False,
    )
