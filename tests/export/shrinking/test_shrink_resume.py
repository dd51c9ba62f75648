"""A run of ``shrink`` that goes on in a work folder: what it takes from there, and what it must not."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from networks import SIZE_HW, Net, frames, upsample
from small_networks import times_by_products, wide, wide_onnx
from torch import nn

from edge_vseg.analysis.datasets import IndexedFrames, LabelledFrame
from edge_vseg.analysis.datasets.indexed import FrameEntry
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.layer_times import LayerTimes
from edge_vseg.bundle.manifest import CalibrationSpec, Label
from edge_vseg.export import ExportOptions, Normalization, SampleFrames, TrainingLength
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.pipeline import work_folder
from edge_vseg.export.shrinking import Family, Member, MemberScore, ShrinkData, ShrinkOptions, open_whole, shrink
from edge_vseg.export.shrinking.netadapt import NetAdapt, Round

MODULE = sys.modules[shrink.__module__]
OPTIONS = ExportOptions(
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3), runtimes=("onnxruntime",), slices=False
)
WANTED = ShrinkOptions(target_ms=6.0, training=TrainingLength(steps=90), rounds=3, points=1, sizes=())
SAMPLE = SampleFrames(calibration=frames(16), validation=frames(2, start=100), spec=CalibrationSpec())


@dataclass
class Workplace:
    """Runs in one work folder; bundles are not made, only noted."""

    root: Path
    exported: list[tuple[str, ExportOptions]] = field(default_factory=list)
    timed: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    times: LayerTimes = field(default_factory=lambda: times_by_products(wide()))
    stop_at: str = "never"

    def export(self, source: str, bundle: Path, sample: Any, options: ExportOptions, **rest: Any) -> Any:
        assert Path(source.partition(":")[0]).exists()
        self.exported.append((bundle.stem, options))
        bundle.write_bytes(b"")
        return SimpleNamespace(
            manifest=SimpleNamespace(
                frame=SimpleNamespace(size_hw=SIZE_HW), source=SimpleNamespace(macs=1, parameters=1)
            )
        )

    @staticmethod
    def score(folder: Path, members: Sequence[Member], *rest: Any) -> tuple[tuple[MemberScore, ...], tuple[str, ...]]:
        assert all((folder / each.bundle).exists() for each in members)
        scores = tuple(MemberScore(member=each, ms=1.0, agreement=1.0, worst_agreement=1.0) for each in members)
        return scores, ("a note of the comparison",)

    def say(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith(self.stop_at):
            raise KeyboardInterrupt

    def time(self, folder: Path) -> LayerTimes:
        self.timed.append(1)
        return self.times

    def run(
        self, output: str = "family", *, options: ExportOptions = OPTIONS, here: bool = False, **more: Any
    ) -> Family:
        self.lines.clear()
        self.exported.clear()
        more = {"data": ShrinkData(frames=SAMPLE), "wanted": WANTED, "work_dir": self.root / "work"} | more
        return shrink(
            more.pop("source", str(self.root / "net.onnx")), self.root / output, options=options, time_layers=self.time,
            time_again=self.time if here else None, progress=self.say, **more,
        )  # fmt: skip

    @property
    def trained(self) -> bool:
        return any(line.startswith("training a network") for line in self.lines)

    def cut(self, output: str = "family") -> bytes:
        (path,) = (self.root / output).glob("cut-1-*.onnx")
        return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    (tmp_path / "net.onnx").write_bytes(wide_onnx().SerializeToString())
    found = Workplace(tmp_path)
    monkeypatch.setattr(MODULE, "export_bundle", found.export)
    monkeypatch.setattr(MODULE, "score_family", found.score)
    return found


def test_a_run_that_was_stopped_gives_the_networks_of_one_that_was_not(place: Workplace) -> None:
    place.run("whole", work_dir=None)
    place.stop_at = "round 2"
    with pytest.raises(KeyboardInterrupt):
        place.run()
    place.stop_at = "never"
    place.run()
    assert not any(line.startswith("round 1") for line in place.lines)
    assert place.cut() == place.cut("whole")


def test_networks_that_are_there_are_exported_to_where_and_as_they_are_wanted_now(place: Workplace) -> None:
    first = place.run()
    assert place.trained
    more = replace(OPTIONS, slices=True, runtimes=("onnxruntime", "openvino"), labels=numbered_labels(4))
    again = place.run("elsewhere", options=more)
    assert not place.trained
    assert place.cut() == place.cut("elsewhere")
    assert [each.member for each in again.members] == [each.member for each in first.members]
    (options,) = [options for name, options in place.exported if name.startswith("cut-1")]
    assert (options.slices, options.runtimes) == (True, ("onnxruntime", "openvino"))


def test_a_network_whose_file_is_gone_is_made_again(place: Workplace) -> None:
    place.run()
    before = place.cut()
    (kept,) = (place.root / "work").glob("cut-1-*.onnx")
    kept.unlink()
    place.run("again")
    assert place.trained
    assert place.cut("again") == before


def labelled(value: int) -> list[LabelledFrame]:
    return [LabelledFrame(image=frames(1, start=50)[0], labels=np.full(SIZE_HW, value, np.uint8))]


def test_other_labels_are_learnt_anew(place: Workplace) -> None:
    place.run(data=ShrinkData(frames=SAMPLE, labelled=labelled(1)))
    first = place.cut()
    place.run("same", data=ShrinkData(frames=SAMPLE, labelled=labelled(1)))
    assert not place.trained
    place.run("other", data=ShrinkData(frames=SAMPLE, labelled=labelled(2)))
    assert place.trained
    assert place.cut("other") != first


@pytest.mark.parametrize("points", [1, 3])
def test_what_was_cut_before_nothing_was_left_is_kept(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, points: int
) -> None:
    """Of three rounds the last finds nothing; with one point the second one's network would be lost."""
    cut = NetAdapt.cut
    asked: list[float] = []

    def cut_twice(self: NetAdapt, saving_ms: float, steps: int) -> Round | None:
        asked.append(saving_ms)
        return cut(self, saving_ms, steps) if len(asked) < 3 else None

    monkeypatch.setattr(NetAdapt, "cut", cut_twice)
    wanted = replace(WANTED, points=points)
    family = place.run(wanted=wanted)
    assert len(family.rounds) == 2
    cuts = [each.member for each in family.members if each.member.how == "cut"]
    assert [each.name[:6] for each in cuts] == (["cut-1-"] if points == 1 else ["cut-1-", "cut-2-"])
    assert cuts[-1].predicted_ms == pytest.approx(family.rounds[-1].ms)
    notes = [note for note in family.notes if "nothing is left to cut" in note]
    assert len(notes) == 1
    assert "a note of the comparison" in family.notes
    again = place.run("again", wanted=wanted)
    assert not place.trained
    assert len(asked) == 3
    assert [each.member for each in again.members] == [each.member for each in family.members]
    assert again.notes == family.notes


def test_a_target_that_is_not_reached_is_said(place: Workplace) -> None:
    wanted = replace(WANTED, target_ms=1.0, rounds=2)
    family = place.run(wanted=wanted)
    assert len(family.rounds) == 2
    assert family.rounds[-1].ms > 1.0
    ms = f"{family.rounds[-1].ms:.2f}"
    assert f"the 2 rounds ended at {ms} ms, above the target of 1 ms; give more --rounds, such as 4" in family.notes
    again = place.run("again", wanted=wanted)
    assert not place.trained
    assert again.notes == family.notes


def test_cutting_stops_at_the_target(place: Workplace) -> None:
    """A round saves more than it has to, as channels go eight at a time; rounds that are left would save more still."""
    wanted = replace(WANTED, target_ms=9.7, rounds=6, points=2)
    family = place.run("whole", wanted=wanted, work_dir=None)
    assert len(family.rounds) < 6
    assert family.rounds[-1].ms <= 9.7
    assert all(each.ms > 9.7 for each in family.rounds[:-1])
    assert not any("target" in note for note in family.notes)
    assert [each.member.predicted_ms for each in family.members if each.member.how == "cut"][-1] == pytest.approx(
        family.rounds[-1].ms
    )
    place.stop_at = "training a network"
    with pytest.raises(KeyboardInterrupt):
        place.run(wanted=wanted)
    place.stop_at = "never"
    place.run(wanted=wanted)
    assert place.cut() == place.cut("whole")
    again = place.run("again", wanted=wanted)
    assert not place.trained
    assert (again.rounds, again.notes) == (family.rounds, family.notes)
    assert [each.member for each in again.members] == [each.member for each in family.members]


def test_inputs_of_one_size_are_exported_once(place: Workplace) -> None:
    place.stop_at = "round 1"
    with pytest.raises(KeyboardInterrupt):
        place.run(wanted=replace(WANTED, sizes=(0.97, 0.85, 0.84)))
    assert [name for name, _ in place.exported] == ["whole", "input-24x24"]


def test_other_rules_begin_anew(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(here=True)
    timed = len(place.timed)
    place.run(here=True)
    assert (len(place.timed), place.trained) == (timed, False)
    monkeypatch.setattr(work_folder, "RULES", work_folder.RULES + 1)
    place.run(here=True)
    assert len(place.timed) > timed
    assert place.trained


@dataclass(frozen=True)
class Flat:
    """Labels of one class."""

    value: int

    def read(self, size_hw: tuple[int, int]) -> np.ndarray:
        return np.full(size_hw, self.value, np.uint8)

    def stray(self, size_hw: tuple[int, int]) -> dict[str, int]:
        return {}


class Pile(Sequence[LabelledFrame]):
    """More labelled frames than fit into memory; how many of them there are at a time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[int] = []
        self.alive: list[weakref.ref[LabelledFrame]] = []
        self.most = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if index >= self.count:
            raise IndexError(index)
        self.asked.append(index)
        labels = np.full((48, 64), index % 4, np.uint8)
        self.alive.append(weakref.ref(labels))
        self.most = max(self.most, sum(each() is not None for each in self.alive))
        return LabelledFrame(image=np.zeros((48, 64, 3), np.uint8), labels=labels)


def test_labelled_frames_are_read_one_by_one(place: Workplace) -> None:
    learnt, scored = Pile(1300), Pile(40)
    place.stop_at = "round 1"
    with pytest.raises(KeyboardInterrupt):
        place.run(data=ShrinkData(frames=SAMPLE, labelled=learnt, scored=scored))
    assert len(learnt.asked) == 434
    assert max(learnt.asked) == 1299
    assert learnt.most <= 2
    assert scored.asked == list(range(40))
    assert scored.most <= 2


def test_a_dataset_is_learnt_in_the_classes_that_the_network_names(place: Workplace, tmp_path: Path) -> None:
    """Without ``classes``; the dataset has them in another order."""
    source, options = f"{__file__}:Named", replace(OPTIONS, size_hw=SIZE_HW)
    place.times = times_by_products(open_whole(source, options).graph.model)
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((*SIZE_HW, 3), 100, np.uint8))
    entries = [FrameEntry(image=image, truth=Flat(number % 3)) for number in range(4)]
    names = [Label(id=number, name=name, color=(number,) * 3) for number, name in enumerate(("Road", "tree", "sky"))]
    dataset = IndexedFrames(entries, tuple(names), split="train", where=tmp_path)
    seen: list[TrainingFrame] = []

    def lesson(self: Any) -> Any:
        found = make_lesson(self)
        seen.extend(found.frames)
        return found

    make_lesson = MODULE._Run.lesson
    place.stop_at = "round 1"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MODULE._Run, "lesson", lesson)
        place.run(options=options, source=source, data=ShrinkData(frames=SAMPLE, labelled=dataset, scored=dataset))
    learnt = [frame.labels for frame in seen if frame.labels is not None]
    assert [int(each[0, 0]) for each in learnt] == [1, 0, 1]  # road, sky, road; there are no trees in the network


def test_layers_are_timed_again_for_another_number_of_threads(place: Workplace) -> None:
    place.stop_at = "exporting whole"
    for threads in (2, 2, 4):
        with pytest.raises(KeyboardInterrupt):
            place.run(here=True, threads=threads)
    assert len(place.timed) == 2


def test_another_output_is_another_network(place: Workplace) -> None:
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 32, strides=[2, 2]))
    first = upsample(net, net.conv(x, 32, 4), 2)
    second = upsample(net, net.conv(net.node("Relu", net.conv(x, 32, 48)), 48, 4), 2)
    (place.root / "net.onnx").write_bytes(net.model([first, second]).SerializeToString())
    place.stop_at = "exporting whole"
    for name in (first, second, second):
        with pytest.raises(KeyboardInterrupt):
            place.run(here=True, options=replace(OPTIONS, output_name=name))
    assert len(place.timed) == 2


class Named(nn.Module):
    """Says of itself what its classes are."""

    labels = ("sky", "road", "car")

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 3, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_classes_that_a_module_names_itself_are_those_of_its_cut_networks(place: Workplace) -> None:
    source, options = f"{__file__}:Named", replace(OPTIONS, size_hw=SIZE_HW)
    place.times = times_by_products(open_whole(source, options).graph.model)
    place.run(options=options, source=source, wanted=replace(WANTED, training=TrainingLength(steps=1)))
    (labels,) = [options.labels for name, options in place.exported if name.startswith("cut-1")]
    assert labels is not None
    assert [label.name for label in labels] == ["sky", "road", "car"]
