"""``edge-vseg shrink``: from layers that a device times to a family of bundles, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from edge_vseg.bundle import open_bundle
from edge_vseg.cli.labelled import frames_to_learn_and_score
from edge_vseg.cli.options import parse_classes
from edge_vseg.errors import DatasetError
from edge_vseg.video import VideoWriter

Cli = Callable[..., Any]
TESTS = Path(__file__).parents[1]

pytest.importorskip("torch", reason="making a network smaller needs the extra 'export'")

pytestmark = pytest.mark.usefixtures("warm_converter", "quick_exports")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty frames, 24x32, of a view that turns along a smooth scene with grain."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.uniform(0, 255, (5, 60, 3)), (1000, 24), interpolation=cv2.INTER_CUBIC)
    scene = np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    with VideoWriter(path, 10.0, (24, 32)) as writer:
        for number in range(60):
            writer.write(np.ascontiguousarray(scene[:, 16 * number : 16 * number + 32]))
    return path


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(TESTS / "export")
    monkeypatch.syspath_prepend(TESTS / "export" / "shrinking")
    from small_networks import wide_onnx

    path = tmp_path / "net.onnx"
    path.write_bytes(wide_onnx().SerializeToString())
    return path


@pytest.fixture
def device(tmp_path: Path, network: Path) -> Path:
    """A device on which time goes with products of channels, and the network takes 10 ms."""
    from small_networks import times_by_products, wide

    from edge_vseg.bundle.layer_times import write_json

    write_json(tmp_path / "device.json", times_by_products(wide()))
    return tmp_path / "device.json"


NORM = ("--mean", 127.5, "--scale", 64)
QUICK = (*NORM, "--finetune", "60steps", "--rounds", 4, "--points", 2, "--sizes", "", "--no-slices")
FRAMES = ("--training-frames", 24, "--validation-frames", 4)


@pytest.mark.slow
def test_a_family_is_written_and_scored(cli: Cli, network: Path, device: Path, street: Path, tmp_path: Path) -> None:
    family = tmp_path / "family"
    words = ("shrink", network, "--frames", street, "--device", device, "--target-ms", 5, *QUICK, *FRAMES)
    outcome = cli(*words, "-o", family, "--work", tmp_path / "work", "--json")
    assert outcome.code == 0, outcome.err
    tree = outcome.json()
    assert tree["machine"] == "made-up"
    names = [each["member"]["name"] for each in tree["members"]]
    assert names[0] == "whole"
    assert len(names) == 3
    assert json.loads((family / "family.json").read_bytes())["members"] == tree["members"]
    assert "Agreement against time" in (family / "report.html").read_text()
    assert names[1].startswith("cut-1-")
    whole, *cut = (each["member"] for each in tree["members"])
    assert cut[1]["predicted_ms"] < cut[0]["predicted_ms"] < 10
    assert cut[1]["macs"] < cut[0]["macs"] < whole["macs"]
    for each, score in zip(cut, tree["members"][1:], strict=True):
        # The network that was written is the source's kind: its own input, its own head.
        model = onnx.load(family / each["onnx"])
        assert [i.name for i in model.graph.input] == ["image"]
        assert model.graph.node[-1].op_type == onnx.load(network).graph.node[-1].op_type
        assert open_bundle(family / each["bundle"]).manifest.source.macs == each["macs"]
        assert 0.5 < score["agreement"] <= 1
    again = cli(*words, "-o", family, "--work", tmp_path / "work", "--json")
    assert [each["member"] for each in again.json()["members"]] == [each["member"] for each in tree["members"]]


@pytest.mark.slow
@pytest.mark.release
def test_this_machine_times_the_network_after_each_round(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    family = tmp_path / "family"
    words = ("shrink", network, "--frames", street, "--target-ms", 0.01, *QUICK, *FRAMES, "-o", family, "--json")
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    tree = outcome.json()
    assert all(each["ms"] > 0 for each in tree["rounds"])
    # How much may be cut depends on what this machine measures; a family that stops before the target says so.
    assert len(tree["rounds"]) == 4 or any("nothing is left to cut" in note for note in tree["notes"])


def test_a_device_times_the_layers(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    layers = tmp_path / "layers"
    written = cli("shrink", network, "--frames", street, *NORM, *FRAMES, "--write-layers", layers)
    assert written.code == 0, written.err
    assert "edge-vseg calibrate layers -o layer_times.json" in " ".join(written.out.split())
    times = cli("calibrate", layers, "-o", tmp_path / "times.json", "--json")
    assert times.code == 0, times.err
    assert times.json()["network_ms"] > 0
    assert len(times.json()["layers"]) == len(json.loads((layers / "layers.json").read_bytes())["layers"])
    named = cli("calibrate", layers, "--runtime", "tflite", "--max-frames", 50)
    assert (named.code, "leave out --runtime, --max-frames" in named.err) == (1, True)
    refused = cli("calibrate", layers, street)
    assert refused.code == 1
    assert "are timed without a video" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "give --target-ms and --output"),
        (("--target-ms", 5, "-o", "x", "--device", "gone.json"), 1, "make them on the device with edge-vseg calibrate"),
        (("--target-ms", 5, "-o", "x", "--labels", "voc:here"), 1, "there is no such folder"),
        (("--target-ms", 5, "-o", "x", "--sizes", "half"), 1, "shares of the input's sides"),
        (("--target-ms", 5, "-o", "x", "--color", "grey"), 1, "expected rgb or bgr"),
        (("--target-ms", 5, "-o", "x", "--finetune", "soon"), 1, "10min, 90s or 500steps"),
    ],
)
def test_what_is_refused(
    cli: Cli, network: Path, street: Path, words: tuple[object, ...], code: int, message: str
) -> None:
    outcome = cli("shrink", network, "--frames", street, *NORM, *FRAMES, *words)
    assert outcome.code == code
    assert message in " ".join(outcome.err.replace("│", " ").split())


def test_what_would_fail_after_the_training_is_refused_before_it(
    cli: Cli, network: Path, device: Path, street: Path, tmp_path: Path
) -> None:
    words = ("shrink", network, "--frames", street, "--device", device, "--target-ms", 5, *QUICK, *FRAMES)
    outcome = cli(*words, "-o", tmp_path / "x", "--runtimes", "openvino")
    assert outcome.code == 1
    assert "compared as int8 and float on onnxruntime" in outcome.err
    write_camvid(tmp_path / "camvid", {"train": 1, "val": 1})
    outcome = cli(*words, "-o", tmp_path / "x", "--labels", f"camvid:{tmp_path / 'camvid'}")
    assert outcome.code == 1
    assert "no class of the dataset (sky, building, pole" in " ".join(outcome.err.split())
    assert not (tmp_path / "x").exists()


def test_classes_that_are_made_of_several_of_the_labels(tmp_path: Path) -> None:
    write_camvid(tmp_path, {"train": 1, "val": 1})
    (tmp_path / "mine.json").write_text(json.dumps(["sky", {"name": "someone", "of": ["pedestrian", "bicyclist"]}]))
    for frames in frames_to_learn_and_score(f"camvid:{tmp_path}", parse_classes(str(tmp_path / "mine.json"))):
        assert [label.name for label in frames.labels] == ["sky", "someone"]
        assert set(np.unique(frames[0].labels)) == {1}, "of class 9, pedestrian"


def write_camvid(folder: Path, splits: dict[str, int]) -> None:
    """Splits with so many frames of class 9."""
    for split, count in splits.items():
        for name, shape, value in ((split, (24, 32, 3), 100), (f"{split}annot", (24, 32), 9)):
            (folder / name).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / name / f"{number}.png"), np.full(shape, value, np.uint8))


@pytest.mark.parametrize(
    ("splits", "named", "learnt", "scored"),
    [
        ({"train": 3, "val": 2}, "", ["0", "1", "2"], ["0", "1"]),
        ({"train": 3, "val": 9}, ":val", ["0", "1", "2", "3", "4", "5", "6"], ["7", "8"]),
        ({"train": 8}, "", ["0", "1", "2", "3", "4", "5"], ["6", "7"]),
    ],
    ids=["two splits", "the split of the scores", "no split for the scores"],
)
def test_frames_that_score_are_not_learnt(
    tmp_path: Path, splits: dict[str, int], named: str, learnt: list[str], scored: list[str]
) -> None:
    write_camvid(tmp_path / "camvid", splits)
    found = frames_to_learn_and_score(f"camvid:{tmp_path / 'camvid'}{named}")
    assert [[entry.image.stem for entry in each.entries] for each in found] == [learnt, scored]
    paths = [{entry.image for entry in each.entries} for each in found]
    assert not paths[0] & paths[1]


def test_a_split_that_is_too_small_to_divide_is_refused(tmp_path: Path) -> None:
    write_camvid(tmp_path / "camvid", {"val": 7})
    with pytest.raises(DatasetError, match="split 'val' is the only one.* takes 8 frames or more, and it has 7"):
        frames_to_learn_and_score(f"camvid:{tmp_path / 'camvid'}:val")


def test_a_network_that_is_fast_enough_stays(
    cli: Cli, network: Path, device: Path, street: Path, tmp_path: Path
) -> None:
    words = ("--device", device, "--target-ms", 12, "-o", tmp_path / "x", *QUICK, *FRAMES)
    outcome = cli("shrink", network, "--frames", street, *words)
    assert outcome.code == 1
    assert "takes 10.0 ms on made-up already" in outcome.err


def test_a_file_for_one_runtime_is_refused(cli: Cli, street: Path, tmp_path: Path) -> None:
    words = ("--target-ms", 5, "-o", tmp_path / "x", *FRAMES)
    outcome = cli("shrink", TESTS / "assets" / "tiny.tflite", "--frames", street, *words)
    assert outcome.code == 1
    assert "give the torch module or the ONNX file that it came from" in outcome.err
