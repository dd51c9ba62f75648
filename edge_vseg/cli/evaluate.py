"""``edge-vseg evaluate``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.table import Table

from edge_vseg.cli import console
from edge_vseg.cli.options import budget_of, read_policy, wants_codec_motion
from edge_vseg.datasets import CamVid, LabelledFrame
from edge_vseg.errors import OptionError
from edge_vseg.evaluation import PolicyScore, evaluate_policy
from edge_vseg.manifest import Precision
from edge_vseg.policies import POLICIES, EveryFrame
from edge_vseg.types import IGNORE_ID
from edge_vseg.video import open_source


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    dataset: Annotated[str | None, typer.Option(help="Labelled video: camvid:DIR, or camvid:DIR:SPLIT.")] = None,
    video: Annotated[str | None, typer.Option(help="Video or image folder without labels.")] = None,
    policy: Annotated[str | None, typer.Option(help=f"What schedules frames: {', '.join(POLICIES)}.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the policy.")
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a frame may take; asks for the policy budget.", min=0.1)
    ] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tflite.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, int8 or float.")] = "auto",
    threads: Annotated[int, typer.Option(help="Worker threads; 0 is the runtime's choice.", min=0)] = 0,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle as the yardstick of every-frame inference.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Frames a second that come; by default as fast as they are done.", min=0.1)
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Device profile whose costs are replayed, instead of measuring here.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: all figures.")] = False,
) -> None:
    """Compare a policy with inferring every frame, in one run: accuracy, fidelity, milliseconds."""
    if (dataset is None) == (video is None):
        raise OptionError("give either --dataset or --video")
    if precision not in ("auto", "int8", "float"):
        raise OptionError(f"--precision {precision!r}: expected auto, int8 or float")
    chosen = read_policy(policy, setting or [], budget_ms) or EveryFrame()
    codec = wants_codec_motion(chosen)
    if dataset is not None:
        if codec:
            raise OptionError("a dataset of images has no motion of a codec; choose --set motion=dis, or --video")
        frames = _labelled(dataset, max_frames)
    else:
        frames = _unlabelled(str(video), max_frames, codec_motion=codec)
    with console.counter("evaluating", quiet=as_json) as count:
        score = evaluate_policy(
            bundle,
            frames,
            chosen,
            runtime=runtime,
            precision=None if precision == "auto" else cast(Precision, precision),
            threads=threads,
            against=against,
            rate=rate,
            replay=replay,
            budget_ms=budget_of(chosen),
            progress=lambda done: count(done, max_frames),
        )
    if as_json:
        console.print_json(dataclasses.asdict(score))
    else:
        _show(score)


def _labelled(dataset: str, max_frames: int | None) -> Iterator[LabelledFrame]:
    kind, _, place = dataset.partition(":")
    if kind != "camvid" or not place:
        raise OptionError(f"--dataset {dataset!r}: expected camvid:DIR or camvid:DIR:SPLIT")
    folder, _, split = place.rpartition(":") if place.endswith((":train", ":val", ":test")) else (place, "", "val")
    return iter(CamVid(Path(folder), split)[:max_frames])


def _unlabelled(video: str, max_frames: int | None, *, codec_motion: bool) -> Iterator[LabelledFrame]:
    with open_source(video, max_frames=max_frames, codec_motion=codec_motion) as source:
        for frame in source:
            labels = np.full(frame.image.shape[:2], IGNORE_ID, np.uint8)
            yield LabelledFrame(image=frame.image, labels=labels, motion=frame.motion)


def _show(score: PolicyScore) -> None:
    table = Table("", score.policy, "every frame", box=None, header_style="bold")
    rows: list[tuple[str, str, str]] = []
    if score.miou is not None and score.every_frame_miou is not None:
        rows.append(("mIoU", f"{100 * score.miou:.2f}", f"{100 * score.every_frame_miou:.2f}"))
    rows.append(("pixels as every frame", f"{score.agreement:.2%}", ""))
    rows.append(("mIoU against every frame", f"{100 * score.fidelity_miou:.2f}", ""))
    for name in ("mean", "p50", "p95", "p99", "max"):
        rows.append((f"{name} ms", _ms(score.timing, name), _ms(score.every_frame, name)))
    rows.append(("mean cost", f"{score.cost:.2f}", "1"))
    if score.misses is not None:
        rows.append((f"over {score.budget_ms:g} ms", f"{score.misses:.1%}", ""))
    rows.append(("age, mean and oldest", f"{score.age_frames:.1f}, {score.oldest_frames} frames", "0"))
    for row in rows:
        table.add_row(*row)
    console.out.print(f"{score.frames} frames with {score.variant}", highlight=False)
    console.out.print(table)


def _ms(timing: Any, name: str) -> str:
    return f"{getattr(timing, name):.2f}"
