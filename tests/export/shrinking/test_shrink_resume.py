"""A run of ``shrink`` that goes on in a work folder: what it takes from there, and what it must not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE_HW, Net, frames, upsample
from small_networks import times_by_products, wide, wide_onnx
from torch import nn

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.layer_times import LayerTimes
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import ExportOptions, Normalization, SampleFrames, TrainingLength
from edge_vseg.export.shrinking import Family, Member, MemberScore, ShrinkData, ShrinkOptions, open_whole, shrink

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
    def score(folder: Path, members: Sequence[Member], *rest: Any) -> tuple[MemberScore, ...]:
        assert all((folder / each.bundle).exists() for each in members)
        return tuple(MemberScore(member=each, ms=1.0, agreement=1.0, worst_agreement=1.0) for each in members)

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
