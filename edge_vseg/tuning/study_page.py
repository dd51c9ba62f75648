"""The page of a study: the front to hover over, what matters, what was ruled out, and the recommended settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.report import Block, Cell, Facts, Note, Section, Table, write_page
from edge_vseg.analysis.report.page_blocks import Picture, Pictures, Tone
from edge_vseg.analysis.report.scatter import Dot, Mark, scatter
from edge_vseg.bundle.manifest import Label
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.tuning.example_maps import ExampleMap
from edge_vseg.tuning.front import StudyTrial, front_of
from edge_vseg.tuning.tuner import Tuned
from edge_vseg.tuning.wish import Figures, Wish

MAX_DEADLINES = 3.0
"""Latencies above so many deadlines are drawn there."""
MAX_ROWS = 40
"""Trials in the table."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyPage:
    """What a study's page shows.

    Attributes:
        tuned: What was found.
        wish: What was asked.
        labels: The classes.
        maps: Maps of the recommended settings, and of what they are judged by, frame by frame.
        facts: Where it comes from, by topic.
    """

    tuned: Tuned
    wish: Wish
    labels: Sequence[Label]
    maps: Sequence[Sequence[ExampleMap]]
    facts: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write it as one HTML file.

        Raises:
            BackendMissingError: If the extra ``report`` is not installed.
            OutputError: If it cannot be written.
        """
        tuned = self.tuned
        done = [trial for trial in tuned.trials if trial.figures is not None]
        warning = "" if tuned.recommended else f"No setting keeps the limits: {self.wish}."
        sections = [
            Section(title="Recommended", blocks=self._recommended()),
            Section(title="Quality against latency and share of the cores", blocks=self._fronts(done)),
            Section(title="What they show", blocks=tuple(self._pictures(row) for row in self.maps)),
            Section(title="What matters for the quality", blocks=self._importances()),
            Section(title="Ruled out", blocks=self._left_out()),
            Section(title="Trials", blocks=(self._table(done),)),
            Section(title="Provenance", blocks=(_facts(self.facts),)),
        ]
        subtitle = f"{len(tuned.trials)} trials for {self.wish}; {tuned.machine}"
        write_page(
            path,
            f"Study of {self.facts.get('name', 'a network')}",
            subtitle,
            [each for each in sections if each.blocks],
            warning=warning,
        )

    def _recommended(self) -> tuple[Block, ...]:
        tuned = self.tuned
        rows = [_row(", ".join(each.names), each.trial, self.wish) for each in tuned.recommended]
        rows += [_row("untuned", trial, self.wish) for trial in tuned.trials if trial.default and trial.figures]
        if not rows:
            return (Note(text="There is nothing to recommend: see what was ruled out, and relax a limit."),)
        best = tuned.recommended[0].trial.figures if tuned.recommended else None
        facts: list[Block] = []
        if best is not None:
            items: list[tuple[str, str, Tone]] = [
                ("quality, mIoU %", f"{best.quality:.2f}", ""),
                ("99 of 100 frames within", f"{best.p99_ms:.1f} ms", "good"),
                ("share of all cores", f"{best.cpu_share:.0%}", ""),
                ("mean age of what is shown", f"{best.age_frames:.1f} frames", ""),
            ]
            facts.append(Facts(items=tuple(items)))
        text = f"Quality is the mIoU of what is shown in time, judged by {tuned.clip.judged_by}. " + " ".join(
            f"{each.name.capitalize()}: {each.why}." for each in tuned.recommended
        )
        return (*facts, Table.of(_HEAD, rows), Note(text=text))

    def _fronts(self, done: Sequence[StudyTrial]) -> tuple[Block, ...]:
        if not done:
            return ()
        front = {trial.number for trial in front_of(done, self.wish)}
        chosen = {each.trial.number: ", ".join(each.names) for each in self.tuned.recommended}

        deadline_ms = self.wish.deadline_ms
        widest_ms = math.inf if deadline_ms is None else MAX_DEADLINES * deadline_ms

        def dots(axis: str) -> list[Dot]:
            return [
                Dot(
                    x=min(_figures(trial).p99_ms, widest_ms) if axis == "p99_ms" else 100 * _figures(trial).cpu_share,
                    y=_figures(trial).quality,
                    mark=self._mark(trial, front, chosen),
                    text=_tip(trial, chosen.get(trial.number, "")),
                )
                for trial in done
            ]

        limit = self.wish.cpu_share
        more = "" if deadline_ms is None else f"; {widest_ms:g} or more at the edge"
        latency = f"99th percentile of the latency, ms{more}"
        return (
            scatter(dots("p99_ms"), latency, "quality, mIoU %", x_limit=deadline_ms),
            scatter(
                dots("cpu_share"),
                "share of all cores, %",
                "quality, mIoU %",
                x_limit=None if limit is None else 100 * limit,
            ),
        )

    def _mark(self, trial: StudyTrial, front: set[int], chosen: Mapping[int, str]) -> Mark:
        if trial.number in chosen:
            return "chosen"
        if trial.default:
            return "default"
        if not self.wish.allows(_figures(trial)):
            return "refused"
        return "front" if trial.number in front else "allowed"

    def _pictures(self, row: Sequence[ExampleMap]) -> Pictures:
        pictures = [
            Picture.of(draw_overlay(each.image, each.labels, self.labels, legend=False), each.name, each.name)
            for each in row
        ]
        return Pictures(items=tuple(pictures), title=f"frame {row[0].frame}")

    def _importances(self) -> tuple[Block, ...]:
        if not self.tuned.importances:
            return (Note(text="Too few trials to tell."),)
        rows = [(name, f"{share:.0%}") for name, share in self.tuned.importances.items() if share >= 0.005]
        text = "How much of the differences in quality each parameter explains where it was varied (PED-ANOVA)."
        return (Table.of(("parameter", "share"), rows), Note(text=text))

    def _left_out(self) -> tuple[Block, ...]:
        rows = [(name, Cell(text=why, prose=True)) for name, why in self.tuned.left_out.items()]
        failed = [trial for trial in self.tuned.trials if trial.figures is None]
        rows += [
            (f"trial {trial.number}", Cell(text=f"{trial.setting}: {trial.failure}", prose=True)) for trial in failed
        ]
        if not rows:
            return (Note(text="Nothing."),)
        return (Table.of(("what", "why"), [list(row) for row in rows]),)

    def _table(self, done: Sequence[StudyTrial]) -> Table:
        ordered = sorted(done, key=lambda trial: (not self.wish.allows(_figures(trial)), -_figures(trial).quality))
        return Table.of(_HEAD, [_row(str(trial.number), trial, self.wish) for trial in ordered[:MAX_ROWS]])


_HEAD = ("", "mIoU, %", "accuracy, %", "p50, ms", "p99, ms", "cores, %", "age", "setting")


def _row(name: str, trial: StudyTrial, wish: Wish) -> list[str | Cell]:
    figures = _figures(trial)
    late = wish.deadline_ms is not None and figures.p99_ms > wish.deadline_ms
    busy = wish.cpu_share is not None and figures.cpu_share > wish.cpu_share
    return [
        name if not figures.stopped else f"{name}, given up",
        f"{figures.quality:.2f}",
        f"{figures.accuracy:.2f}",
        f"{figures.p50_ms:.1f}",
        Cell(text=f"{figures.p99_ms:.1f}", tone="bad" if late else ""),
        Cell(text=f"{100 * figures.cpu_share:.0f}", tone="bad" if busy else ""),
        f"{figures.age_frames:.1f}",
        Cell(text=str(trial.setting), prose=True),
    ]


def _tip(trial: StudyTrial, name: str) -> tuple[str, ...]:
    figures, setting = _figures(trial), trial.setting
    title = f"trial {trial.number}" + (f", {name}" if name else "") + (", given up" if figures.stopped else "")
    pairs = ((key, f"{value:.3g}" if isinstance(value, float) else value) for key, value in setting.parameters.items())
    borders = "" if setting.borders == "interpolated" else f", {setting.borders} borders"
    return (
        title,
        f"mIoU {figures.quality:.2f} %, p99 {figures.p99_ms:.1f} ms, {figures.cpu_share:.0%} of the cores",
        f"{setting.policy} {', '.join(f'{key}={value}' for key, value in pairs)}".rstrip(),
        f"{setting.network}, {setting.variant}{borders}",
    )


def _facts(facts: Mapping[str, str]) -> Table:
    return Table.of(("", ""), [(name, Cell(text=text, prose=True)) for name, text in facts.items()])


def _figures(trial: StudyTrial) -> Figures:
    assert trial.figures is not None
    return trial.figures
