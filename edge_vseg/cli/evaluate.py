"""``edge-vseg evaluate``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.datasets import find_dataset
from edge_vseg.analysis.evaluation import EvaluationOptions, PolicyScore, evaluate_policy
from edge_vseg.analysis.evaluation.evaluation_data import EvaluationData
from edge_vseg.analysis.evaluation.evaluation_record import evaluation_record
from edge_vseg.analysis.evaluation.frame_log import FrameLog
from edge_vseg.analysis.evaluation.many_evaluations import EvaluationJob, every_evaluation
from edge_vseg.analysis.evaluation.map_quality import percent, quality_rows
from edge_vseg.analysis.evaluation.rivals import StreamFigures, stream_rows
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.cli import console
from edge_vseg.cli.evaluate_many import Spread, evaluate_many
from edge_vseg.cli.extras import require_report
from edge_vseg.cli.live_options import LiveOptions, takes_live_options
from edge_vseg.cli.options import (
    BundleArgument,
    ForceOption,
    HtmlOption,
    JsonOption,
    MaxFramesOption,
    PlotsOption,
    check_report,
    deadline_of,
    needs_codec_motion,
    parse_classes,
)
from edge_vseg.cli.plain_text import shown_command
from edge_vseg.cli.spared import spare_inputs, spare_pictures, spare_source
from edge_vseg.errors import OptionError
from edge_vseg.input_files import read_regular, strict_json
from edge_vseg.scheduling.policies import EveryFrame

if TYPE_CHECKING:
    from edge_vseg.analysis.report.plots import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReportOptions:
    """The report; ``html`` of ``None`` for no report."""

    html: Path | None
    plots: Path | None
    beside: Sequence[Point]


@takes_live_options
def evaluate(
    bundle: BundleArgument,
    *,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYOUT:DIR", help="Labelled frames: LAYOUT:DIR or LAYOUT:DIR:SPLIT; may be repeated."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A .json file of the classes to read --dataset in: one may be made of several, by `of`.",
        ),
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="Video or image folder without labels; may be repeated.")
    ] = None,
    live: LiveOptions,
    against: Annotated[
        Path | None, typer.Option(help="Bundle for the baseline of every-frame inference; the same one by default.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Frames per second that arrive; as fast as possible by default.", min=0.1)
    ] = None,
    replay: Annotated[
        list[Path] | None,
        typer.Option(help="Device profile whose costs are replayed instead of measuring here; may be repeated."),
    ] = None,
    scale_network: Annotated[
        float, typer.Option(help="With --replay: a network that takes so many times as long.", min=0.01)
    ] = 1.0,
    max_frames: MaxFramesOption = None,
    html: HtmlOption = None,
    plots: PlotsOption = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON of another evaluation to show in the report's Pareto plot; may be repeated.", metavar="FILE"
        ),
    ] = None,
    force: ForceOption = False,
    processes: Annotated[
        int, typer.Option(help="With --replay: evaluations that run at once, each in a process.", min=1)
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --replay: Ray cluster that runs them, HOST:PORT or auto; local for these cores.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the JSON of each evaluation; what is there is not done again."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a policy with every-frame inference in one run: accuracy, fidelity, latency."""
    data = _read_data(dataset, parse_classes(classes), video, max_frames)
    profiles, spread = replay or [], Spread(cluster=cluster, processes=processes, results=results)
    many = len(data) > 1 or len(profiles) > 1 or bool(spread)
    if many and (html is not None or beside):
        raise OptionError("--html is the report of one evaluation; give one clip, one profile and no --results")
    check_report(html, plots, force=force)
    if beside and html is None:
        raise OptionError("--beside is for the report's Pareto plot; give --html too")
    if html is not None:
        require_report("a report")
    given = EvaluationOptions(
        against=against, rate=rate, replay=profiles[0] if profiles else None, network_scale=scale_network
    )
    options, own = live.read(bundle, given)
    scheduled = own or EveryFrame()
    options = replace(options, deadline_ms=deadline_of(scheduled))
    if html is not None:
        folders = [find_dataset(each).folder for each in dataset or ()]
        spare_pictures(plots, [*(video or ()), *folders])
        for path in (html, plots):
            for each in video or ():
                spare_source(each, path)
            spare_inputs(path, [bundle, options.companion, against, *profiles, *(beside or ()), *folders])
    report = _ReportOptions(html=html, plots=plots, beside=[_pareto_point(path) for path in beside or ()])
    job = EvaluationJob(
        bundle=bundle, data=data[0], policy=scheduled, options=options, command=shown_command(sys.argv[1:])
    )
    if many:
        evaluate_many(every_evaluation(job, data, profiles), spread, as_json=as_json)
    else:
        _evaluate(job, report, as_json=as_json)


def _read_data(
    datasets: Sequence[str] | None,
    classes: tuple[Label, ...] | None,
    videos: Sequence[str] | None,
    max_frames: int | None,
) -> list[EvaluationData]:
    if bool(datasets) == bool(videos):
        raise OptionError("give either --dataset or --video")
    if videos and classes:
        raise OptionError("--classes says how --dataset is read, and a video has no labels; leave it out")
    return [
        *(EvaluationData(dataset=each, classes=classes or (), max_frames=max_frames) for each in datasets or ()),
        *(EvaluationData(video=each, max_frames=max_frames) for each in videos or ()),
    ]


def _evaluate(job: EvaluationJob, report: _ReportOptions, *, as_json: bool) -> None:
    bundle, data, policy = job.bundle, job.data, job.policy
    frames, video_rate = data.read(bundle, codec_motion=needs_codec_motion(policy))
    log = FrameLog()
    with console.counter("evaluating", quiet=as_json) as count:
        score = evaluate_policy(
            bundle,
            frames,
            policy,
            replace(job.options, video_rate=video_rate),
            progress=lambda done: count(done, data.max_frames),
            observe=log.add if report.html is not None else lambda frame, result, every_ms: None,
        )
    record = evaluation_record(bundle, score, job.conditions)
    # Print the figures before the report: a report that cannot be written must not lose them.
    if as_json:
        console.print_json(record)
    else:
        _show(score)
    if report.html is not None:
        from edge_vseg.analysis.evaluation.evaluation_page import write_evaluation_page

        labels = open_bundle(bundle).manifest.labels
        write_evaluation_page(report.html, record, score, log, labels, beside=report.beside, plots=report.plots)
        if not as_json:
            console.out.print(f"report: [bold]{escape(str(report.html))}[/]")


def _pareto_point(path: Path) -> Point:
    """Another evaluation as a point of the Pareto plot.

    Raises:
        OptionError: If the file is not an evaluation.
    """
    from edge_vseg.analysis.report.plots import Point

    try:
        tree = strict_json(read_regular(path))
        quality = float(tree["miou"] if tree["miou"] is not None else tree["fidelity_miou"])
        cost = float(tree["cost"])
        if not (math.isfinite(quality) and math.isfinite(cost)):
            raise ValueError("figures are not finite")
        return Point(name=f"{tree['policy']} ({path.stem})", cost=cost, quality=100 * quality)
    except OSError as exc:
        raise OptionError(f"--beside {path} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise OptionError(
            f"--beside {path} is not an evaluation; make one with edge-vseg evaluate --json > FILE"
        ) from exc


def _show(score: PolicyScore) -> None:
    table = Table("", score.policy, "every frame", box=None, header_style="bold")
    rows: list[tuple[str, str, str]] = [
        ("pixels equal to every frame", f"{score.agreement:.2%}", ""),
        ("mIoU against every frame", f"{100 * score.fidelity_miou:.2f}", ""),
    ]
    for name in ("mean", "p50", "p95", "p99", "max"):
        policy_ms, every_ms = getattr(score.timing, name), getattr(score.every_frame, name)
        rows.append((f"{name} ms", f"{policy_ms:.2f}", f"{every_ms:.2f}"))
    rows.append(("mean cost", f"{score.cost:.2f}", "1"))
    if score.misses is not None:
        rows.append((f"over {score.deadline_ms:g} ms", f"{score.misses:.1%}", ""))
    for name, policy, every_frame in quality_rows(score.quality, score.every_frame_quality):
        rows.append((f"{name}, %", policy, every_frame))
    rows.append(("age, mean and oldest", f"{score.age_frames:.1f}, {score.oldest_frames} frames", "0"))
    if score.background_keyframes:
        rows.append(("keyframes from the background", str(score.background_keyframes), ""))
    if score.cpu_share is not None:
        rows.append(("share of all cores, %", percent(score.cpu_share), ""))
    if score.process_cpu_share is not None:
        rows.append(("share of all cores, process, %", percent(score.process_cpu_share), ""))
    for row in rows:
        table.add_row(*map(escape, row))
    console.out.print(f"{score.frames} frames with {score.variant}", highlight=False, markup=False)
    console.out.print(table)
    if score.streaming is not None:
        console.out.print(_streams(score, score.streaming))


def _streams(score: PolicyScore, streaming: StreamFigures) -> Table:
    when = "on arrival" if score.deadline_ms is None else f"{score.deadline_ms:g} ms after arrival"
    head, *rows = stream_rows({score.policy: streaming} | score.rivals)
    table = Table(f"shown {when}", *head[1:], box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
