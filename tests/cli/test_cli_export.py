"""``edge-vseg export``: what it writes, prints and exits with, and what it refuses before a video is decoded."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.cli import main
from edge_vseg.cli.labelled import frames_to_learn
from edge_vseg.cli.options import parse_classes, parse_labels
from edge_vseg.video import VideoWriter

Cli = Callable[..., Any]
TESTS = Path(__file__).parents[1]
ASSETS = TESTS / "assets"
MIN_SAMPLES = (
    "--runtimes",
    "onnxruntime",
    "--targets",
    "x86_64-avx2",
    "--calibration-frames",
    4,
    "--validation-frames",
    4,
)
NORM = ("--mean", 127.5, "--scale", 64, "--no-slices")
IDS = ["onnxruntime/float", "onnxruntime/int8-x86_64-avx2"]

pytest.importorskip("torch", reason="exporting needs the extra 'export'")

pytestmark = pytest.mark.usefixtures("warm_converter", "quick_exports")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames, 48x64, of a view that turns along a smooth scene with grain."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.uniform(0, 255, (5, 60, 3)), (640, 48), interpolation=cv2.INTER_CUBIC)
    scene = np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    with VideoWriter(path, 10.0, (48, 64)) as writer:
        for number in range(20):
            writer.write(np.ascontiguousarray(scene[:, 28 * number : 28 * number + 64]))
    return path


def write_network(path: Path) -> Path:
    """Twelve convolutions with random weights, 4 classes, input 24x32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TESTS / "export")
        from networks import deep_onnx
    path.write_bytes(deep_onnx().SerializeToString())
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "net.onnx")


@pytest.fixture(scope="module")
def first_bundle(
    tmp_path_factory: pytest.TempPathFactory, street: Path, warm_converter: None, quick_exports: None
) -> Path:
    """What the command makes of the network; tests of updates change a copy of it."""
    folder = tmp_path_factory.mktemp("first")
    words = ("export", write_network(folder / "net.onnx"), "-o", folder / "net.evseg", "--frames", street, *MIN_SAMPLES)
    levels = {name: logging.getLogger(name).level for name in ("root", "edge_vseg")}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(sys, "argv", ["edge-vseg", *map(str, (*words, *NORM, "--max-drop", 1))])
        main()
    for name, level in levels.items():  # the command line sets them for the whole process
        logging.getLogger(name).setLevel(level)
    assert not stopped.value.code
    return folder / "net.evseg"


@pytest.fixture
def bundle(first_bundle: Path, network: Path, tmp_path: Path) -> Path:
    """A copy, beside its network."""
    return shutil.copytree(first_bundle, tmp_path / "net.evseg")


def test_a_bundle_and_what_is_said_of_it(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    target = tmp_path / "made" / "net.evseg"
    shown = cli("export", network, "-o", target, "--frames", street, *MIN_SAMPLES, *NORM, "--max-drop", 0.3)
    assert shown.code == 0, shown.err
    assert f"wrote {target}" in shown.out.replace("\n", "")
    assert [variant for variant in IDS if variant not in shown.out] == []
    assert "Traceback" not in shown.err
    opened = open_bundle(target)
    assert [v.id for v in opened.manifest.variants] == IDS
    assert check_files(opened) == len(opened.manifest.files)
    assert {"report.html", *(f"{variant}/model.onnx" for variant in IDS)} <= set(opened.manifest.files)
    assert len(opened.manifest.calibration.frames) == 4
    assert len(opened.manifest.calibration.validation_frames) == 4
    assert opened.manifest.source.mean == (127.5,) * 3
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == ["made", "net.onnx"]


def test_a_drop_is_written_and_exits_with_3(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.evseg"
    shown = cli("export", network, "-o", target, "--frames", street, *MIN_SAMPLES, *NORM, "--max-drop", 0, "--json")
    assert shown.code == 3
    tree = shown.json()
    assert set(tree) == {"path", "warnings", "notes", "manifest"}
    assert tree["path"] == str(target)
    assert {v["id"]: v["status"] for v in tree["manifest"]["variants"]} == {IDS[0]: "ok", IDS[1]: "drop"}
    assert tree["manifest"] == json.loads((target / "manifest.json").read_bytes())
    assert check_files(open_bundle(target))


def test_force_takes_a_drop(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.evseg"
    shown = cli("export", network, "-o", target, "--frames", street, *MIN_SAMPLES, *NORM, "--max-drop", 0, "--force")
    assert shown.code == 0, shown.err
    assert "0.00% may" in shown.out
    assert open_bundle(target).manifest.variant(IDS[1]).status == "drop"


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.xml"])
def test_a_ready_made_file(name: str, cli: Cli, street: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.evseg"
    shown = cli("export", ASSETS / name, "-o", target, "--frames", street, "--validation-frames", 2, "--json")
    assert shown.code == 0, shown.err
    (variant,) = shown.json()["manifest"]["variants"]
    assert variant["recipe"] == "as it came"
    assert check_files(open_bundle(target))


def test_a_folder_that_is_no_bundle_is_left_alone(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "main.tex").write_text("x")
    shown = cli("export", network, "-o", target, "--frames", street, *MIN_SAMPLES, *NORM, "--force")
    assert shown.code == 1
    assert shown.err.startswith("BundleWriteError: ")
    assert [p.name for p in target.iterdir()] == ["main.tex"]
    assert (target / "main.tex").read_text() == "x"


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("frames were sampled")

    monkeypatch.setattr("edge_vseg.calibration.sample_frames", refuse)


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.xml"])
def test_a_damaged_ready_made_file_is_refused_first(name: str, cli: Cli, street: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((ASSETS / name).read_bytes()[:900])
    shutil.copyfile(ASSETS / "tiny.bin", tmp_path / "tiny.bin")
    shown = cli("export", path, "-o", tmp_path / "net.evseg", "--frames", street)
    assert shown.code == 1
    assert shown.err.startswith("ModelFileError: ")
    assert "damaged" in shown.err


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize("name", ["net.onnx", "tiny.tflite", "tiny.xml"])
def test_classes_that_disagree_are_refused_first(
    name: str, cli: Cli, network: Path, street: Path, tmp_path: Path
) -> None:
    path = network if name == "net.onnx" else ASSETS / name
    shown = cli("export", path, "-o", tmp_path / "net.evseg", "--frames", street, "--classes", "camvid")
    assert shown.code == 1
    assert shown.err.startswith("HeadError: --classes names 11 classes, ")
    assert not (tmp_path / "net.evseg").exists()


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("tiny.tflite", ("--input-size", "48x64")),
        ("tiny.tflite", ("--weights", "w.pt")),
        ("tiny.xml", ("--tiles", "96x96")),
        ("net.onnx", ("--tiles", "96x96")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_options_that_do_not_apply_are_refused_first(
    name: str, option: tuple[str, str], cli: Cli, network: Path, street: Path, tmp_path: Path
) -> None:
    path = network if name == "net.onnx" else ASSETS / name
    shown = cli("export", path, "-o", tmp_path / "net.evseg", "--frames", street, *option)
    assert shown.code == 1
    assert shown.err.startswith("OptionError: ")


def test_usage_without_what_is_needed(cli: Cli, network: Path) -> None:
    shown = cli("export", network)
    assert shown.code == 2
    assert "or --update BUNDLE" in shown.err.replace("\n", "")


def test_update(cli: Cli, bundle: Path, street: Path) -> None:
    """The same video with no counts given: as many frames are taken as the bundle was made with."""
    before = {name: spec.sha256 for name, spec in open_bundle(bundle).manifest.files.items() if "onnx" in name}
    shown = cli("export", "--update", bundle, "--frames", street, "--runtimes", "openvino", "--max-drop", 1, "--json")
    assert shown.code == 0, shown.err
    assert [v["id"] for v in shown.json()["manifest"]["variants"]] == [*IDS, "openvino/float", "openvino/int8"]
    after = open_bundle(bundle).manifest.files
    assert {name: after[name].sha256 for name in before} == before
    removed = cli("export", "--update", bundle, "--no-slices", "--json")
    assert removed.code == 0, removed.err
    assert "timing" not in removed.err


@pytest.mark.release
def test_an_update_to_another_precision_takes_the_runtimes_that_are_there(cli: Cli, bundle: Path, street: Path) -> None:
    cli("export", "--update", bundle, "--frames", street, "--runtimes", "openvino", "--max-drop", 1)
    shown = cli("export", "--update", bundle, "--frames", street, "--precision", "float16", "--max-drop", 1, "--json")
    assert shown.code == 0, shown.err
    ids = [v["id"] for v in shown.json()["manifest"]["variants"]]
    assert ids[-2:] == ["onnxruntime/float16", "openvino/float16"], "no runtime that the bundle did not have"


def test_another_target_is_one_of_onnx_runtime(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    """OpenVINO's graphs have no targets: nothing is built for it."""
    target = tmp_path / "net.evseg"
    both = ("--runtimes", "onnxruntime,openvino", "--precision", "float", "--no-slices")
    cli("export", network, "-o", target, "--frames", street, *MIN_SAMPLES, *NORM[:4], *both, "--max-drop", 1)
    shown = cli("export", "--update", target, "--frames", street, "--targets", "arm64", "--max-drop", 1, "--json")
    assert shown.code == 0, shown.err
    ids = {v["id"] for v in shown.json()["manifest"]["variants"]}
    assert ids == {"onnxruntime/float", "openvino/float", "onnxruntime/int8-arm64"}


def test_an_update_validates_again(cli: Cli, bundle: Path, street: Path) -> None:
    shown = cli("export", "--update", bundle, "--frames", street, "--validation-frames", 2, "--max-drop", 0)
    assert shown.code == 3, "the new limit is stricter"
    assert {v.parity.frames for v in open_bundle(bundle).manifest.variants if v.parity} == {2}


@pytest.mark.parametrize(
    "option",
    [("--mean", 5), ("--classes", "camvid"), ("--seed", 3), ("--input-size", "48x64"), ("--output-name", "out")],
)
def test_an_update_keeps_what_the_bundle_says(option: tuple[str, object], cli: Cli, bundle: Path, street: Path) -> None:
    shown = cli("export", "--update", bundle, "--frames", street, "--runtimes", "openvino", *option)
    assert shown.code == 1
    assert f"so {option[0]} cannot be given" in shown.err


def test_an_export_goes_on_in_its_work_folder(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    few = (*MIN_SAMPLES, *NORM, "--max-drop", 1, "--precision", "float")
    words = ("export", network, "--frames", street, *few, "--work", tmp_path / "work")
    first = cli(*words, "-o", tmp_path / "a.evseg", "--json").json()["manifest"]["variants"]
    second = cli(*words, "-o", tmp_path / "b.evseg", "--json").json()["manifest"]["variants"]
    assert first == second, "even the times"


def test_an_output_that_the_network_does_not_have(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    shown = cli("export", network, "-o", tmp_path / "net.evseg", "--frames", street, "--output-name", "nothing")
    assert shown.code == 1
    assert "no output 'nothing'; it has: " in shown.err


def test_a_network_that_says_what_it_expects(cli: Cli, street: Path, tmp_path: Path) -> None:
    source = f"{TESTS / 'export' / 'torch_networks.py'}:says_it"
    words = (source, "-o", tmp_path / "net.evseg", "--frames", street, *MIN_SAMPLES, "--input-size", "24x32")
    shown = cli("export", *words, "--no-slices", "--force", "--precision", "float")
    assert shown.code == 0, shown.err
    assert "--mean 127.5,127.5,127.5 --scale 60,61,62 --color bgr" in shown.err.replace("\n", "")
    assert open_bundle(tmp_path / "net.evseg").manifest.source.scale == (60, 61, 62)


def test_a_network_that_nobody_normalizes(
    cli: Cli, network: Path, street: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ("-o", tmp_path / "net.evseg", "--frames", street, *MIN_SAMPLES, "--no-slices", "--precision", "float")
    shown = cli("export", network, *words, "--json")
    assert any("no --mean and --scale were given" in warning for warning in shown.json()["warnings"])
    assert "no --mean and --scale were given" in caplog.text
    shown = cli("export", network, *words, "--mean", 0, "--json")
    assert shown.json()["warnings"] == []


def labelled_folder(folder: Path, count: int) -> Path:
    """Pictures 48x64 and label maps of four classes, in the layout ``folder``."""
    rng = np.random.default_rng(3)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"images/{number:03}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))
        cv2.imwrite(str(folder / f"labels/{number:03}.png"), rng.integers(0, 4, (48, 64), np.uint8))
    classes = [{"name": f"class_{number}", "color": [40 * number] * 3} for number in range(4)]
    (folder / "classes.json").write_text(json.dumps(classes))
    return folder


def test_frames_of_a_dataset(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path / "garden", 3)
    for clip in ("day", "night"):
        (folder / "images" / clip).mkdir()
        for path in folder.glob("images/*.png"):
            shutil.copyfile(path, folder / "images" / clip / path.name)
    words = ("export", network, "-o", tmp_path / "net.evseg", *MIN_SAMPLES, *NORM, "--precision", "float")
    shown = cli(*words, "--json", "--frames", street, "--frames", f"folder:{folder}")
    assert shown.code == 0, shown.err
    assert shown.json()["manifest"]["calibration"]["seen"] == 20 + 3 + 6
    refused = cli(*words, "--frames", f"folder:{folder}:train")
    assert refused.code == 1
    assert "has no split 'train'; it has all" in " ".join(refused.err.split())


def test_int8_is_taught_by_labels(cli: Cli, network: Path, street: Path, tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path / "garden", 12)
    words = ("export", network, "-o", tmp_path / "net.evseg", "--frames", street, *MIN_SAMPLES, *NORM, "--force")
    few = cli(*words, "--finetune", "3steps", "--labels", f"folder:{folder}:all")
    assert few.code == 1
    assert "8 calibration frames or more, got 4" in few.err
    done = cli(*words, "--calibration-frames", 8, "--finetune", "3steps", "--labels", f"folder:{folder}:all")
    assert done.code == 0, done.err
    assert "labelled frames that were set aside" in " ".join(done.out.split())


def test_classes_that_are_made_of_several_of_the_labels(cli: Cli, network: Path, tmp_path: Path) -> None:
    folder, mine = labelled_folder(tmp_path / "garden", 1), tmp_path / "mine.json"
    mine.write_text(json.dumps([{"name": "odd", "of": ["class_1", "class_3"]}, {"name": "even", "of": ["class_2"]}]))
    known = parse_labels(str(mine))
    assert known is not None
    assert [type(each).__name__ for each in known] == ["Label", "Label"], "as a manifest has them"
    frame = frames_to_learn(f"folder:{folder}:all", parse_classes(str(mine)))[0]
    given = cv2.imread(str(folder / "labels/000.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(frame.labels, np.array([255, 0, 1, 0], np.uint8)[given])
    rows = [{"name": f"class {number}", "of": [f"part {number}"]} for number in range(4)]
    mine.write_text(json.dumps(rows))
    words = ("--finetune", "3steps", "--labels", f"folder:{folder}:all", "--classes", mine)
    refused = cli("export", network, "-o", tmp_path / "net.evseg", "--frames", tmp_path / "no.mp4", *NORM, *words)
    assert refused.code == 1
    assert "class 'class 0' is made of part 0, and the dataset has none" in " ".join(refused.err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--labels", "folder:garden"), "give both, such as --finetune 10min"),
        (("--finetune", "9steps", "--labels", "garden"), "expected LAYOUT:DIR"),
        (("--finetune", "9steps", "--labels", "camvid:garden"), "does not hold"),
    ],
)
def test_labels_that_are_not_there_are_refused_first(
    words: tuple[str, ...], message: str, cli: Cli, network: Path, tmp_path: Path
) -> None:
    refused = cli("export", network, "-o", tmp_path / "net.evseg", "--frames", tmp_path / "no.mp4", *words)
    assert refused.code == 1
    assert message in " ".join(refused.err.split())
