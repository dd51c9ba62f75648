"""Networks of a study: bundles side by side, and exports of one source at several sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from edge_vseg import open_bundle
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.cluster import open_workers
from edge_vseg.errors import ExportError, OptionError
from edge_vseg.export import ExportOptions, Normalization
from edge_vseg.tuning.clip import content_sha256
from edge_vseg.tuning.networks import (
    ExportRequest,
    export_inputs,
    export_networks,
    is_bundle,
    network_sha256,
    open_networks,
)

FACTORY = """
import torch

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 1)).eval()
"""
SIZES = ((32, 48), (64, 96))


def sample() -> SampleFrames:
    frames = list(np.random.default_rng(0).integers(0, 255, (4, 64, 96, 3), np.uint8))
    return SampleFrames(calibration=frames[:2], validation=frames[2:], spec=CalibrationSpec())


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> ExportRequest:
    folder = tmp_path_factory.mktemp("source")
    (folder / "net.py").write_text(FACTORY)
    (folder / "drive.mp4").write_bytes(b"frames")
    options = ExportOptions(
        runtimes=("onnxruntime",), precisions=("float",), slices=False, normalization=Normalization(mean=(0.0,) * 3)
    )
    return ExportRequest(
        source=f"{folder / 'net.py'}:network",
        options=options,
        sizes=SIZES,
        frames=(str(folder / "drive.mp4"),),
        sample=sample,
    )


@pytest.fixture(scope="module")
def exported(request_: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    with open_workers(inputs=export_inputs(request_)) as workers:
        made = export_networks(request_, folder, workers)
    assert [path.name for path in made] == ["32x48.evseg", "64x96.evseg"]
    return folder


@pytest.mark.release
def test_processes_export_the_same(request_: ExportRequest, exported: Path, tmp_path: Path) -> None:
    with open_workers(processes=2, inputs=export_inputs(request_)) as workers:
        made = export_networks(request_, tmp_path, workers)
    assert [path.name for path in made] == ["32x48.evseg", "64x96.evseg"]
    for path in made:
        ours, theirs = open_bundle(path).manifest, open_bundle(exported / path.stem / path.name).manifest
        assert ours.files[ours.variants[0].entry] == theirs.files[theirs.variants[0].entry]


def test_each_size_is_a_bundle(exported: Path) -> None:
    networks = open_networks([exported / "32x48/32x48.evseg", exported / "64x96/64x96.evseg"])
    assert list(networks) == ["64x96", "32x48"], "the largest input first"
    assert [bundle.manifest.frame.size_hw for bundle in networks.values()] == [(64, 96), (32, 48)]
    for bundle in networks.values():
        for name in bundle.manifest.files:
            bundle.file(name)


def test_nothing_is_exported_twice(request_: ExportRequest, exported: Path) -> None:
    def never() -> SampleFrames:
        raise AssertionError("nothing is new")

    with open_workers(inputs=export_inputs(request_)) as workers:
        again = export_networks(replace(request_, sample=never), exported, workers)
        assert [open_bundle(path).root for path in again] == again
        changed = replace(request_, options=replace(request_.options, seed=1), sample=never)
        with pytest.raises(AssertionError, match="nothing is new"):
            export_networks(changed, exported, workers)
        # One more size: only that one is new.
        steps: list[str] = []
        wider = replace(request_, sizes=(*SIZES, (64, 64)))
        export_networks(wider, exported, workers, steps.append)
        assert steps == ["exporting 64x64", "exported 64x64"]


def test_a_file_is_read_once_for_all_sizes(
    request_: ExportRequest, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return content_sha256(path)

    monkeypatch.setattr("edge_vseg.tuning.networks.content_sha256", counted)
    with open_workers(inputs=export_inputs(request_)) as workers:
        export_networks(request_, exported, workers)
    assert sorted(path.name for path in read) == ["drive.mp4", "net.py"]


def test_a_source_that_cannot_be_exported(request_: ExportRequest, tmp_path: Path) -> None:
    with (
        open_workers(inputs=export_inputs(request_)) as workers,
        pytest.raises(ExportError, match="32x48 could not be exported: .*missing"),
    ):
        export_networks(replace(request_, source=f"{request_.source}_missing"), tmp_path, workers)
    assert not list(tmp_path.rglob("*.evseg"))


def test_what_a_network_is(tmp_path: Path) -> None:
    one = write_tiny_bundle(tmp_path / "one.evseg", "onnxruntime")
    two = write_tiny_bundle(tmp_path / "two.evseg", "onnxruntime")
    assert is_bundle(str(one))
    assert not is_bundle(str(tmp_path))
    tree = json.loads((two / "manifest.json").read_text())
    tree["made_on"] = {"cpu": "another"}
    (two / "manifest.json").write_text(json.dumps(tree))
    assert network_sha256(open_bundle(one)) == network_sha256(open_bundle(two))
    tree["labels"][0]["name"] = "renamed"
    (two / "manifest.json").write_text(json.dumps(tree))
    assert network_sha256(open_bundle(one)) != network_sha256(open_bundle(two))
    with pytest.raises(OptionError, match="have different classes and cannot be compared"):
        open_networks([one, two])
    (tmp_path / "other").mkdir()
    same = write_tiny_bundle(tmp_path / "other/one.evseg", "onnxruntime")
    with pytest.raises(OptionError, match="two of the bundles have the same name"):
        open_networks([one, same])
