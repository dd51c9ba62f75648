"""``edge-vseg evaluate``."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.datasets import CamVid, LabelledFrame, labelled_rate
from edge_vseg.analysis.evaluation import PolicyScore, evaluate_policy
from edge_vseg.analysis.evaluation.evaluation_record import Conditions, record
from edge_vseg.analysis.evaluation.map_quality import compare_quality
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import Precision
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_report
from edge_vseg.cli.options import check_output, deadline_of, read_policy, wants_codec_motion
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import POLICIES, EveryFrame
from edge_vseg.types import IGNORE_ID
from edge_vseg.video import open_source

if TYPE_CHECKING:
    from edge_vseg.analysis.report.plots import Point


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    dataset: Annotated[str | None, typer.Option(help="Labelled video: camvid:DIR, or camvid:DIR:SPLIT.")] = None,
    video: Annotated[str | None, typer.Option(help="Video or image folder without labels.")] = None,
    policy: Annotated[str | None, typer.Option(help=f"What schedules frames: {', '.join(POLICIES)}.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the policy.")
    ] = None,
    deadline_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a frame may take; asks for the policy deadline.", min=0.1)
    ] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime, openvino or tflite.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, int8 or float.")] = "auto",
    threads: Annotated[int, typer.Option(help="Worker threads; 0 is the runtime's choice.", min=0)] = 0,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle as the baseline of every-frame inference.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Frames a second that come; by default as fast as they are done.", min=0.1)
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Device profile whose costs are replayed, instead of measuring here.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1)] = None,
    html: Annotated[Path | None, typer.Option(help="HTML file for the report.", metavar="FILE")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for the report's plots as PNG.")] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="JSON of another evaluation, for the report's Pareto plot.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: all figures.")] = False,
) -> None:
    """Compare a policy with inferring every frame, in one run: accuracy, fidelity, milliseconds."""
    if (dataset is None) == (video is None):
        raise OptionError("give either --dataset or --video")
    if precision not in ("auto", "int8", "float"):
        raise OptionError(f"--precision {precision!r}: expected auto, int8 or float")
    check_output(html, force=force)
    if html is None and (plots is not None or beside):
        raise OptionError("--plots and --beside are for the report; give --html too")
    if html is not None:
        require_report("a report")
    if plots is not None:
        from edge_vseg.analysis.report.figures import check_folder

        check_folder(plots)
    others = [_point(path) for path in beside or ()]
    chosen = read_policy(policy, setting or [], deadline_ms) or EveryFrame()
    codec = wants_codec_motion(chosen)
    if dataset is not None:
        if codec:
            raise OptionError("a dataset of images has no motion of a codec; choose --set motion=dis, or --video")
        labelled = _labelled(dataset, max_frames)
        frames, video_rate = iter(labelled), labelled_rate(labelled)
    else:
        frames, video_rate = _unlabelled(str(video), max_frames, codec_motion=codec), None
    seen = None
    if html is not None:
        from edge_vseg.analysis.evaluation.evaluation_page import ExampleFrames

        seen = ExampleFrames()
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
            video_rate=video_rate,
            replay=replay,
            deadline_ms=deadline_of(chosen),
            progress=lambda done: count(done, max_frames),
            **({"observe": seen.add} if seen is not None else {}),
        )
    made = Conditions(
        data=dataset or str(video),
        threads=threads,
        settings=repr(chosen),
        rate=rate,
        replay=replay,
        against=against,
        command=shlex.join(["edge-vseg", *sys.argv[1:]]),
    )
    tree = record(bundle, score, made)
    if as_json:
        console.print_json(tree)  # before the report, whose failure must not cost the figures
    else:
        _show(score)
    if html is not None and seen is not None:
        from edge_vseg.analysis.evaluation.evaluation_page import write_evaluation_page

        labels = open_bundle(bundle).manifest.labels
        write_evaluation_page(html, tree, score, seen, labels, beside=others, plots=plots)
        if not as_json:
            console.out.print(f"look at [bold]{escape(str(html))}[/]")


def _point(path: Path) -> Point:
    """Another evaluation as a point of the Pareto plot.

    Raises:
        OptionError: If it is no evaluation.
    """
    from edge_vseg.analysis.report.plots import Point

    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        worth = float(tree["miou"] if tree["miou"] is not None else tree["fidelity_miou"])
        cost = float(tree["cost"])
        if not (math.isfinite(worth) and math.isfinite(cost)):
            raise ValueError("no finite figures")
        return Point(name=f"{tree['policy']} ({path.stem})", cost=cost, worth=100 * worth)
    except OSError as exc:
        raise OptionError(f"--beside {path} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise OptionError(f"--beside {path} is no evaluation; make it with edge-vseg evaluate --json > FILE") from exc


def _labelled(dataset: str, max_frames: int | None) -> Sequence[LabelledFrame]:
    kind, _, place = dataset.partition(":")
    if kind != "camvid" or not place:
        raise OptionError(f"--dataset {dataset!r}: expected camvid:DIR or camvid:DIR:SPLIT")
    folder, _, split = place.rpartition(":") if place.endswith((":train", ":val", ":test")) else (place, "", "val")
    return CamVid(Path(folder), split)[:max_frames]


def _unlabelled(video: str, max_frames: int | None, *, codec_motion: bool) -> Iterator[LabelledFrame]:
    with open_source(video, max_frames=max_frames, codec_motion=codec_motion) as source:
        for frame in source:
            labels = np.full(frame.image.shape[:2], IGNORE_ID, np.uint8)
            yield LabelledFrame(image=frame.image, labels=labels, motion=frame.motion)


def _show(score: PolicyScore) -> None:
    table = Table("", score.policy, "every frame", box=None, header_style="bold")
    rows: list[tuple[str, str, str]] = []
    rows.append(("pixels as every frame", f"{score.agreement:.2%}", ""))
    rows.append(("mIoU against every frame", f"{100 * score.fidelity_miou:.2f}", ""))
    for name in ("mean", "p50", "p95", "p99", "max"):
        rows.append((f"{name} ms", _ms(score.timing, name), _ms(score.every_frame, name)))
    rows.append(("mean cost", f"{score.cost:.2f}", "1"))
    if score.misses is not None:
        rows.append((f"over {score.deadline_ms:g} ms", f"{score.misses:.1%}", ""))
    rows += _quality_rows(score)
    rows.append(("age, mean and oldest", f"{score.age_frames:.1f}, {score.oldest_frames} frames", "0"))
    for row in rows:
        table.add_row(*row)
    console.out.print(f"{score.frames} frames with {score.variant}", highlight=False)
    console.out.print(table)


def _quality_rows(score: PolicyScore) -> list[tuple[str, str, str]]:
    """How right and how steady, of the policy and of every frame, as far as it is known."""
    ours, theirs = score.quality, score.every_frame_quality
    return [(f"{name}, %", mine, other) for name, mine, other in compare_quality(ours, theirs)]


def _ms(timing: Any, name: str) -> str:
    return f"{getattr(timing, name):.2f}"
