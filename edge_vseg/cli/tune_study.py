"""The work of ``edge-vseg tune``: networks, clip, trials, page and bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.datasets import match_labels, open_dataset
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.cli import console
from edge_vseg.cluster import open_workers
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.device_profile import read_device_profile

if TYPE_CHECKING:
    from edge_vseg.tuning import Clip, ExportRequest, StudyTrial, Tuned, TuneOptions, Wish

PAGE = "study.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What to tune, on what, and where it goes.

    Attributes:
        sources: Bundles; or one network, with a request.
        request: What to export of it; ``None`` for bundles.
        frames: Video or image folder, or a dataset without its labels; may be empty if one is given with them.
        recording: The images of that dataset that are tuned on; empty for a video or folder.
        dataset: Labelled frames; ``None`` to be judged by the network itself.
        classes: The classes to read them in; ``None`` for the network's.
        companions: Bundles to try as companions.
        folder: The study's folder.
        output: The bundle to write.
        take: Which setting it gets: the name of a recommendation, or the number of a trial.
        max_frames: Frames of a trial, at most.
        cluster: Address of a Ray cluster for exports; ``None`` for this machine.
        processes: Exports at a time on this machine.
        quiet: Print one JSON object instead of text.
    """

    sources: tuple[str, ...]
    request: ExportRequest | None
    frames: str
    recording: tuple[Path, ...]
    dataset: str | None
    classes: tuple[Label, ...] | None
    companions: tuple[Path, ...]
    folder: Path
    output: Path
    take: str
    max_frames: int
    cluster: str | None
    processes: int
    quiet: bool


def run_study(plan: StudyPlan, options: TuneOptions) -> None:
    """Run a study to its end, write its page and the bundle.

    Raises:
        OptionError: If ``take`` is no setting of the study.
        Exit: With 3, if no setting keeps the limits.
    """
    from edge_vseg.tuning import RECOMMENDED_NAMES, alone_in

    if plan.take not in RECOMMENDED_NAMES and not plan.take.isdecimal():
        raise OptionError(f"--take {plan.take!r}: expected {', '.join(RECOMMENDED_NAMES)}, or the number of a trial")
    with alone_in(plan.folder):
        _run_alone(plan, options)


def _run_alone(plan: StudyPlan, options: TuneOptions) -> None:
    from edge_vseg.tuning import companion_place, open_networks, tune

    folders = _exported(plan) if plan.request is not None else [Path(each) for each in plan.sources]
    networks = open_networks([*folders, *plan.companions])
    roots = {bundle.root.resolve(): name for name, bundle in networks.items()}
    options = replace(options, companions=tuple(roots[path.resolve()] for path in plan.companions))
    for name in options.companions:
        companion_place(networks[name], plan.output)  # before anything that takes time
    clip = _clip(plan, next(each for name, each in networks.items() if name not in options.companions))
    with console.counter("tuning", quiet=plan.quiet, slow=True) as count:
        tuned = tune(networks, clip, plan.folder, options, lambda done: count(done, options.trials))
    _write_page(plan, tuned, networks, options)
    chosen = _chosen(tuned, plan.take)
    if chosen is not None:
        _write_bundle(plan, tuned, chosen, networks, options)
    if plan.quiet:
        console.print_json(_tree(plan, tuned, chosen, options.wish))
    else:
        _show(plan, tuned, chosen, options.wish)
    if chosen is None:
        raise typer.Exit(console.EXIT_CHECK)


def _exported(plan: StudyPlan) -> list[Path]:
    from edge_vseg.tuning import export_inputs, export_networks

    assert plan.request is not None
    with (
        console.tool_output_collected(),
        open_workers(plan.cluster, plan.processes, inputs=export_inputs(plan.request)) as workers,
        console.steps("tuning", quiet=plan.quiet) as step,
    ):
        return export_networks(plan.request, plan.folder / "networks", workers, step)


def _clip(plan: StudyPlan, largest: Bundle) -> Clip:
    from edge_vseg.tuning import copied_recording, labelled_clip, longest_clip, reference_clip

    if plan.dataset is not None:
        frames = open_dataset(plan.dataset)[: plan.max_frames]
        if plan.classes:
            frames = match_labels(frames, plan.classes)
        frames = match_labels(frames, largest.manifest.labels)
        return labelled_clip(longest_clip(frames, plan.dataset), plan.folder / "clip", plan.dataset)
    video = copied_recording(plan.recording, plan.folder / "recording") if plan.recording else Path(plan.frames)
    with console.counter("inferring every frame", quiet=plan.quiet) as count:
        return reference_clip(
            video,
            plan.max_frames,
            largest,
            plan.folder / "reference",
            threads=0,
            progress=lambda done: count(done, plan.max_frames),
        )


def _chosen(tuned: Tuned, take: str) -> StudyTrial | None:
    """The trial to write; ``None`` if nothing can be recommended.

    Raises:
        OptionError: If there is no such trial.
    """
    if take.isdecimal():
        for trial in tuned.trials:
            if str(trial.number) == take and trial.figures is not None:
                return trial
        raise OptionError(f"--take {take}: the study has no trial of that number that was done")
    return next((each.trial for each in tuned.recommended if take in each.names), None)


def _write_page(plan: StudyPlan, tuned: Tuned, networks: Mapping[str, Bundle], options: TuneOptions) -> None:
    from edge_vseg.tuning import StudyPage, example_maps, make_job

    jobs = [(each.name, make_job(each.trial.setting, networks, tuned, options)) for each in tuned.recommended]
    page = StudyPage(
        tuned=tuned,
        wish=options.wish,
        labels=next(iter(networks.values())).manifest.labels,
        maps=example_maps(jobs),
        facts=_facts(plan, tuned, networks, options),
    )
    page.write(plan.folder / PAGE)


def _write_bundle(
    plan: StudyPlan, tuned: Tuned, chosen: StudyTrial, networks: Mapping[str, Bundle], options: TuneOptions
) -> None:
    from edge_vseg.tuning import write_tuned_bundle

    figures = chosen.figures
    assert figures is not None
    origin = {
        "tuned": f"trial {chosen.number} of {len(tuned.trials)}, study {plan.folder.name}",
        "wish": str(options.wish),
        "found": f"mIoU {figures.quality:.2f} %, p99 {figures.p99_ms:.1f} ms, {figures.cpu_share:.0%} of the cores",
        "judged by": f"{tuned.clip.count} frames, {tuned.clip.judged_by}",
    }
    if provider := _provider(tuned, chosen):
        origin["provider"] = f"tuned on the costs of {provider}, which no bundle chooses: give --provider {provider}"
    write_tuned_bundle(
        chosen.setting,
        networks,
        plan.output,
        machine=tuned.machine,
        profile=tuned.profiles.get((chosen.setting.network, chosen.setting.variant)),
        origin=origin,
    )


def _provider(tuned: Tuned, trial: StudyTrial) -> str:
    """The provider whose costs a trial ran on; empty for the CPU."""
    profile = tuned.profiles.get((trial.setting.network, trial.setting.variant))
    return "" if profile is None else read_device_profile(profile).provider


def _facts(plan: StudyPlan, tuned: Tuned, networks: Mapping[str, Bundle], options: TuneOptions) -> dict[str, str]:
    from edge_vseg import __version__

    scale = "" if options.network_scale == 1 else f", the network {options.network_scale:g} times as slow"
    return {
        "name": ", ".join(name for name in networks if name not in options.companions),
        "networks": "; ".join(f"{name}, sha256 {bundle.sha256}" for name, bundle in networks.items()),
        "clip": f"{tuned.clip.count} frames of {plan.dataset or plan.frames}",
        "judged by": tuned.clip.judged_by,
        "device": f"{tuned.machine}, {'costs replayed' if options.profiles else 'measured'}{scale}",
        "sampler": f"Optuna, {options.sampler}, seed {options.seed}",
        "edge_vseg": __version__,
    }


def _tree(plan: StudyPlan, tuned: Tuned, chosen: StudyTrial | None, wish: Wish) -> dict[str, Any]:
    return {
        "bundle": None if chosen is None else str(plan.output),
        "study": str(plan.folder),
        "page": str(plan.folder / PAGE),
        "wish": asdict(wish),
        "machine": tuned.machine,
        "judged_by": tuned.clip.judged_by,
        "taken": None if chosen is None else chosen.number,
        "provider": None if chosen is None else _provider(tuned, chosen),
        "recommended": {name: each.trial.number for each in tuned.recommended for name in each.names},
        "trials": [_trial_tree(trial, wish) for trial in tuned.trials],
        "importances": tuned.importances,
        "left_out": dict(tuned.left_out),
    }


def _trial_tree(trial: StudyTrial, wish: Wish) -> dict[str, Any]:
    figures = trial.figures
    return {
        "number": trial.number,
        "default": trial.default,
        "setting": trial.setting.tree(),
        "figures": None if figures is None else asdict(figures),
        "allowed": figures is not None and wish.allows(figures),
        "failure": trial.failure,
    }


def _show(plan: StudyPlan, tuned: Tuned, chosen: StudyTrial | None, wish: Wish) -> None:
    table = Table("", "mIoU", "p99 ms", "cores", "setting", box=None, header_style="bold", pad_edge=False)
    rows: Iterable[tuple[str, StudyTrial]] = [(", ".join(each.names), each.trial) for each in tuned.recommended]
    for name, trial in (*rows, *(("untuned", trial) for trial in tuned.trials if trial.default)):
        if trial.figures is not None:
            figures = trial.figures
            cells = (f"{figures.quality:.2f}", f"{figures.p99_ms:.1f}", f"{figures.cpu_share:.0%}")
            table.add_row(name, *cells, escape(str(trial.setting)))
    console.out.print(f"{len(tuned.trials)} trials on {tuned.machine} for {wish}", highlight=False, markup=False)
    console.out.print(table)
    console.out.print(f"study: {plan.folder / PAGE}", highlight=False, markup=False)
    if chosen is None:
        console.out.print("[yellow]no setting keeps the limits[/]; no bundle was written. Relax a limit, or try more.")
    else:
        console.out.print(
            f"wrote {plan.output} with trial {chosen.number} as its schedule", highlight=False, markup=False
        )
        if provider := _provider(tuned, chosen):
            console.out.print(
                f"it was tuned on the costs of {provider}, which no bundle chooses: run it with --provider {provider}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
