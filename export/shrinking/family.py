"""Compare a family of smaller networks with the one that they came from."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.report import Note, Section, Table, write_page
from edge_vseg.analysis.report.page_blocks import Block
from edge_vseg.analysis.report.plots import Point, pareto
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.export.shrinking.netadapt import Round
from edge_vseg.files import write_whole
from edge_vseg.open_options import OpenOptions
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Image, LabelMap

How = Literal["whole", "cut", "smaller input"]
RUNTIME = "onnxruntime"
WARM_UPS = 3
FAMILY_FILE = "family.json"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A network of the family.

    ``how`` it was made, the ``bundle`` and, of one whose channels were cut, the ``onnx`` file, both relative to the
    family's folder; ``size_hw`` of its input; multiply-accumulates ``macs`` and number of ``parameters``.
    """

    name: str
    how: How
    bundle: str
    onnx: str = ""
    size_hw: tuple[int, int]
    macs: int | None
    parameters: int | None
    predicted_ms: float | None = None


class CutNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network of the family whose channels were cut: its name, and its time as its layers foretell it, in ms."""

    name: str
    predicted_ms: float

    @property
    def file(self) -> str:
        """Name of its ONNX file, in the work folder and in the family's."""
        return f"{self.name}.onnx"


class MemberScore(msgspec.Struct, frozen=True, kw_only=True):
    """How a member does as int8 on ONNX Runtime, on this machine.

    ``ms`` is the median time of its graph. ``agreement`` is the share of pixels, 0 to 1, with the class that the whole
    network's float graph gives, on validation frames at their own size; ``worst_agreement`` that of the worst frame;
    ``miou`` is against labels, if there are any, 0 to 1.
    """

    member: Member
    ms: float
    agreement: float
    worst_agreement: float
    miou: float | None = None


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """What making a network smaller gave.

    ``network_ms`` is the time of the whole int8 graph on the ``machine`` that layers were timed on, ``rounds`` what was
    cut, ``members`` the networks, the whole one first, and ``notes`` what a reader should know.
    """

    source: str
    target_ms: float
    network_ms: float
    machine: str
    rounds: tuple[Round, ...]
    members: tuple[MemberScore, ...]
    notes: tuple[str, ...]


def score_family(
    folder: Path, members: Sequence[Member], frames: Sequence[Image], labelled: Sequence[LabelledFrame], threads: int
) -> tuple[tuple[MemberScore, ...], tuple[str, ...]]:
    """Run all members in turn on each frame, so that heat and other processes affect all alike.

    Args:
        folder: The family's.
        members: The whole network first.
        frames: ``(H, W, 3)`` uint8 BGR, at any size.
        labelled: Frames with truth; may be empty.
        threads: Worker threads; 0 for the runtime's choice.

    Returns:
        The scores, and a note on each member that has no int8 graph to run, which is left out.

    Raises:
        OptionError: If none has one.
    """
    notes: list[str] = []
    with ExitStack() as stack:

        def open_(member: Member, precision: Literal["int8", "float"]) -> Segmenter:
            options = OpenOptions(precision=precision)
            bundle = folder / member.bundle
            return stack.enter_context(Segmenter.open(bundle, runtime=RUNTIME, threads=threads, options=options))

        reference = open_(members[0], "float")
        runs = []
        for member in members:
            try:
                runs.append(_Run(member, open_(member, "int8")))
            except (OptionError, BackendError) as exc:
                notes.append(f"{member.name} is left out of the comparison: {exc}")
        if not runs:
            raise OptionError(f"no network of the family has an int8 graph that runs here: {'; '.join(notes)}")
        for frame in frames[:WARM_UPS]:
            for run in runs:
                run.segmenter(frame)
        for frame in frames:
            truth = reference(frame).labels
            for run in runs:
                run.compare(frame, truth)
        for each in labelled:
            for run in runs:
                run.score(each)
    return tuple(run.result() for run in runs), tuple(notes)


class _Run:
    """A member and what it did so far."""

    def __init__(self, member: Member, segmenter: Segmenter) -> None:
        self.member = member
        self.segmenter = segmenter
        self._same: list[float] = []
        self._ms: list[float] = []
        self._confusion = Confusion(len(segmenter.bundle.manifest.labels))
        self._scored = False

    def compare(self, frame: Image, truth: LabelMap) -> None:
        result = self.segmenter(frame)
        self._same.append(float(np.mean(result.labels == truth)))
        self._ms.append(result.latency_ms["infer"])

    def score(self, frame: LabelledFrame) -> None:
        self._confusion.add(frame.labels, self.segmenter(frame.image).labels)
        self._scored = True

    def result(self) -> MemberScore:
        return MemberScore(
            member=self.member,
            ms=statistics.median(self._ms),
            agreement=statistics.fmean(self._same),
            worst_agreement=min(self._same),
            miou=self._confusion.mean_iou if self._scored else None,
        )


def write_family(folder: Path, family: Family) -> None:
    """Write ``family.json`` and ``report.html``."""
    write_whole(folder / FAMILY_FILE, msgspec.json.format(msgspec.json.encode(family), indent=1) + b"\n")
    table = Table.of(HEADINGS, [score_row(each) for each in family.members])
    write_page(
        folder / "report.html",
        f"{family.source}, made smaller",
        f"for {family.target_ms:g} ms on {family.machine}, from {family.network_ms:.1f} ms",
        [
            Section(
                title="Agreement against time",
                blocks=(_plot(family), table),
            ),
            Section(title="What was cut", blocks=(_rounds(family),)),
            *([Section(title="Notes", blocks=tuple(Note(text=note) for note in family.notes))] if family.notes else []),
        ],
    )


def _plot(family: Family) -> Block:
    points = [
        Point(name=each.member.name, cost=each.ms, quality=100 * each.agreement, highlighted=each.member.how == "cut")
        for each in family.members
    ]
    return pareto(points, "ms of the int8 graph", "pixels equal to float, %")


HEADINGS = ("network", "ms", "pixels equal", "worst frame", "mIoU", "GMAC", "M parameters")


def score_row(score: MemberScore) -> tuple[str, ...]:
    """What :data:`HEADINGS` names, as text."""
    member = score.member
    return (
        member.name,
        f"{score.ms:.1f}",
        f"{score.agreement:.2%}",
        f"{score.worst_agreement:.2%}",
        "" if score.miou is None else f"{100 * score.miou:.2f}",
        "" if member.macs is None else f"{member.macs / 1e9:.2f}",
        "" if member.parameters is None else f"{member.parameters / 1e6:.2f}",
    )


def _rounds(family: Family) -> Table:
    rows = [
        (str(number), each.layer, f"{each.before} to {each.after}", f"{each.ms:.2f}", f"{each.loss:.3f}")
        for number, each in enumerate(family.rounds, 1)
    ]
    return Table.of(("round", "layer", "channels", "predicted ms", "loss"), rows)
