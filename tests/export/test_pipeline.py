"""Whole exports of small networks."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, body, deep_onnx, frames, ops, segmenter_onnx, upsample

from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.calibration import sample_frames
from edge_vseg.errors import BundleWriteError, CalibrationError, ExportError, HeadError, OptionError, ParityError
from edge_vseg.export import Exported, ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.progress import count_steps
from edge_vseg.open_options import OpenOptions
from edge_vseg.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("warm_converter")

NORM = Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3)
ONNX = ExportOptions(normalization=NORM, runtimes=("onnxruntime",), targets=("x86_64-avx2",), max_drop=0.2)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def hashes(path: Path) -> dict[str, str]:
    return {name: spec.sha256 for name, spec in open_bundle(path).manifest.files.items() if name != "report.html"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, sample, warm_converter) -> Exported:
    """For all tests; leave it as it is."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "net.onnx").write_bytes(deep_onnx().SerializeToString())
    return export_bundle(str(folder / "net.onnx"), folder / "net.evseg", sample, ONNX)


@pytest.mark.usefixtures("real_figures")
def test_a_torch_network_becomes_a_bundle(tmp_path, sample):
    said: list[str] = []
    options = replace(ONNX, size_hw=SIZE_HW, labels=numbered_labels(4))
    made = export_bundle("torch_networks:small", tmp_path / "net.evseg", sample, options, said.append)
    assert made.path == tmp_path / "net.evseg"
    assert [v.id for v in made.manifest.variants] == ["onnxruntime/float", "onnxruntime/int8-x86_64-avx2"]
    assert made.troubled == ()
    assert said[0] == "reading the network"
    assert said[-1] == "writing the bundle"
    assert 0 <= count_steps("torch_networks:small", options) - len(said) <= 1, "the bar is about right"
    opened = open_bundle(made.path)
    assert opened.manifest == made.manifest
    assert opened.manifest.source.kind == "torch"
    assert opened.manifest.source.agreement > 0.999
    assert opened.manifest.source.macs == 12 * 16 * 9 * (8 * 3 + 4 * 8)
    assert opened.manifest.head.cut == ("Resize",)
    assert opened.manifest.head.size_hw == (12, 16)
    assert check_files(opened) == len(opened.manifest.files)
    checks = check_variants(opened, threads=1)
    assert {c.id: c.status for c in checks} == {v.id: "ok" for v in made.manifest.variants}
    with Segmenter.open(made.path, threads=1, options=OpenOptions(variant="onnxruntime/float")) as segmenter:
        result = segmenter(sample.validation[0])
    assert result.labels.shape == SIZE_HW
    assert result.logits.shape == (4, 12, 16)
    assert len(np.unique(result.labels)) > 1
    assert not list(tmp_path.glob(".*")), "nothing is left beside the bundle"


def test_the_same_seed_gives_the_same_graphs(tmp_path, sample, onnx_file, exported):
    export_bundle(str(onnx_file), tmp_path / "b.evseg", sample, ONNX)
    # Where slices begin goes by measured time.
    first, second = (
        {name: digest for name, digest in hashes(path).items() if "/slice" not in name}
        for path in (exported.path, tmp_path / "b.evseg")
    )
    assert first == second
    assert "onnxruntime/int8-x86_64-avx2/model.onnx" in first
    kinds = ops(onnx.load(exported.path / "onnxruntime/int8-x86_64-avx2/model.onnx"))
    assert kinds.count("QuantizeLinear") > 8


def test_only_what_was_asked_for_is_kept(tmp_path, sample, onnx_file):
    options = replace(ONNX, precisions=("int8",), targets=("arm64", "jetson"), slices=False)
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    assert [v.id for v in made.manifest.variants] == ["onnxruntime/int8-arm64", "onnxruntime/int8-jetson"]
    assert not any(name.startswith("onnxruntime/float") for name in made.manifest.files)
    assert not (made.path / "onnxruntime" / "float").exists()


def test_parity_is_what_a_segmenter_shows(sample, exported):
    """The agreement in the manifest, computed again from outside."""
    made = exported
    labels = {}
    for variant in made.manifest.variants:
        with Segmenter.open(made.path, threads=1, options=OpenOptions(variant=variant.id)) as segmenter:
            labels[variant.id] = [segmenter(f).labels for f in sample.validation]
    truth, ours = labels["onnxruntime/float"], labels["onnxruntime/int8-x86_64-avx2"]
    agreement = [float(np.mean(a == b)) for a, b in zip(truth, ours, strict=True)]
    parity = made.manifest.variant("onnxruntime/int8-x86_64-avx2").parity
    assert parity.frames == 4
    assert parity.pixel_agreement == pytest.approx(np.mean(agreement))
    assert parity.worst_agreement == pytest.approx(min(agreement))
    assert parity.worst_frame == int(np.argmin(agreement))
    assert made.manifest.variant("onnxruntime/float").parity.pixel_agreement == 1


def test_speed_that_cannot_be_reached(tmp_path, sample, onnx_file) -> None:
    """The graph is there, its status says so, and its trials and its roofline are in manifest and report."""
    options = replace(ONNX, min_speedup=1000.0, slices=False)
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    in_float, int8 = made.manifest.variants
    assert in_float.status == "ok"
    assert int8.status in ("slower-than-asked", "slower-than-float"), "the network is tiny: either may be so"
    assert "give --min-speedup" in int8.reason
    assert (int8 in made.troubled) == (int8.status == "slower-than-asked")
    assert all(trial.speedup > 0 and trial.quartiles_ms is not None for trial in int8.trials)
    for variant in (in_float, int8):
        assert variant.roofline.least_ms > 0
        assert any("Conv" in node.kind for node in variant.roofline.nodes)
    assert open_bundle(made.path).manifest == made.manifest
    assert "<h2>Roofline</h2>" in (made.path / "report.html").read_text()


def test_drop(tmp_path, sample, onnx_file):
    options = replace(ONNX, max_drop=0.0, slices=False)
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    int8 = made.manifest.variant("onnxruntime/int8-x86_64-avx2")
    assert int8.parity.pixel_agreement < 1, "this network would prove nothing"
    assert int8.status == "drop"
    assert "at most 0.00% may" in int8.reason
    assert made.troubled == (int8,)
    assert (made.path / int8.entry).is_file()
    report = (made.path / "report.html").read_text()
    assert all(f"<td>{variant.id}</td>" in report for variant in made.manifest.variants)
    assert all(f"</span>{label.name}</td>" in report for label in made.manifest.labels)
    assert f"<h3>{int8.id}: " in report
    assert report.count('src="data:image/jpeg;base64,') == 4, "float, int8, its classes, and where they differ"


def test_a_variant_that_fails_leaves_the_others(tmp_path, sample):
    """TFLite's importer does not know Det; ONNX Runtime runs it."""
    net = Net()
    x = net.conv(net.node("Relu", net.conv("image", 3, 8)), 8, 4)
    square = net.node("Slice", x, net.const([0, 0], np.int64), net.const([4, 4], np.int64), net.const([2, 3], np.int64))
    det = net.node("Unsqueeze", net.node("Det", square), net.const([2, 3], np.int64))
    path = tmp_path / "net.onnx"
    path.write_bytes(net.model(net.node("Add", x, det)).SerializeToString())
    options = replace(ONNX, runtimes=("onnxruntime", "tflite"), slices=False)
    made = export_bundle(str(path), tmp_path / "net.evseg", sample, options)
    assert [v.id for v in made.manifest.variants] == ["onnxruntime/float", "onnxruntime/int8-x86_64-avx2"]
    assert [f.id for f in made.manifest.failed] == ["tflite/float", "tflite/int8"]
    assert all("Det" in failure.reason for failure in made.manifest.failed)
    with pytest.raises(ParityError, match=r"tflite/int8 \(failed\): .*Det"):
        made.require_parity()
    assert not (made.path / "tflite" / "int8").exists()
    assert {v.id for v in made.troubled} >= {"tflite/float", "tflite/int8"}
    assert check_files(open_bundle(made.path))


def test_nothing_could_be_made(tmp_path, sample):
    net = Net()
    x = net.conv("image", 3, 4)
    square = net.node("Slice", x, net.const([0, 0], np.int64), net.const([4, 4], np.int64), net.const([2, 3], np.int64))
    det = net.node("Unsqueeze", net.node("Det", square), net.const([2, 3], np.int64))
    path = tmp_path / "net.onnx"
    path.write_bytes(net.model(net.node("Add", x, det)).SerializeToString())
    with pytest.raises(ExportError, match="no graph could be made: tflite/float: .*Det"):
        export_bundle(str(path), tmp_path / "net.evseg", sample, replace(ONNX, runtimes=("tflite",), targets=()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx"]


@pytest.fixture
def no_long_work(monkeypatch):
    def refuse(*args: object) -> None:
        raise AssertionError("long work began")

    monkeypatch.setattr("edge_vseg.export.pipeline.quantize_step.Int8Preparation", refuse)


def test_too_many_classes(tmp_path, sample, onnx_file, no_long_work):
    with pytest.raises(HeadError, match="--classes names 5 classes, the network gives 4"):
        export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, replace(ONNX, labels=numbered_labels(5)))
    assert not (tmp_path / "net.evseg").exists()


def test_two_classes_of_one_name(tmp_path, sample, onnx_file, no_long_work):
    named = zip(numbered_labels(4), ("sky", "road", "car", "road"), strict=True)
    labels = tuple(msgspec.structs.replace(each, name=name) for each, name in named)
    with pytest.raises(OptionError, match="classes 1 and 3 are both called 'road'"):
        export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, replace(ONNX, labels=labels))
    assert not (tmp_path / "net.evseg").exists()


def test_a_label_map_needs_classes(tmp_path, sample):
    net = Net()
    best = net.node("ArgMax", upsample(net, body(net), 2), axis=1, keepdims=0)
    x = net.node("Gather", net.const([3, 0, 1, 2], np.int64), best, axis=0)
    path = tmp_path / "net.onnx"
    path.write_bytes(net.model(x).SerializeToString())
    with pytest.raises(HeadError, match="does not tell its classes; give --classes"):
        export_bundle(str(path), tmp_path / "net.evseg", sample, ONNX)
    made = export_bundle(str(path), tmp_path / "net.evseg", sample, replace(ONNX, labels=numbered_labels(4)))
    assert made.manifest.head.kind == "labels"
    with Segmenter.open(made.path, threads=1, options=OpenOptions(variant="onnxruntime/float")) as segmenter:
        result = segmenter(sample.validation[0])
    assert result.logits is None
    assert result.probabilities is None
    assert result.labels.shape == SIZE_HW


@pytest.mark.parametrize("occupied", ["file", "folder"])
def test_occupied_output(tmp_path, sample, onnx_file, no_long_work, occupied):
    target = tmp_path / "precious"
    if occupied == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
    with pytest.raises(BundleWriteError):
        export_bundle(str(onnx_file), target, sample, ONNX)
    assert (target if occupied == "file" else target / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("part", ["calibration", "validation"])
def test_frames_are_needed(tmp_path, sample, onnx_file, part):
    fewer = replace_frames(sample, **{part: []})
    with pytest.raises(CalibrationError, match="longer video"):
        export_bundle(str(onnx_file), tmp_path / "net.evseg", fewer, ONNX)


def replace_frames(sample: SampleFrames, **more: object) -> SampleFrames:
    fields = {"calibration": sample.calibration, "validation": sample.validation, "spec": sample.spec} | more
    return SampleFrames(**fields)


def test_frames_of_other_sizes_are_resized(tmp_path, onnx_file):
    large = SampleFrames(
        calibration=frames(4, size_hw=(50, 70)), validation=frames(2, start=9, size_hw=(30, 20)), spec=CalibrationSpec()
    )
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", large, replace(ONNX, slices=False))
    assert made.manifest.frame.size_hw == SIZE_HW


def test_constant_output_warns(tmp_path, sample, caplog):
    net = Net()
    x = net.node("Add", body(net), net.const(np.reshape([0, 0, 1e4, 0], (1, 4, 1, 1))))
    path = tmp_path / "net.onnx"
    path.write_bytes(net.model(x).SerializeToString())
    made = export_bundle(str(path), tmp_path / "net.evseg", sample, replace(ONNX, precisions=("float",), targets=()))
    assert len(made.warnings) == 1
    assert "class 2 fills 100.0% of the validation frames" in made.warnings[0]
    assert made.warnings[0] in caplog.text
    assert "class 2 fills" in (made.path / "report.html").read_text()


def test_no_warning_without_reason(exported):
    assert exported.warnings == ()


def test_an_older_bundle_is_replaced(tmp_path, sample, onnx_file, exported):
    target = tmp_path / "net.evseg"
    shutil.copytree(exported.path, target)
    export_bundle(str(onnx_file), target, sample, replace(ONNX, targets=("jetson",), slices=False))
    assert [v.target for v in open_bundle(target).manifest.variants] == ["any", "jetson"]
    assert not (target / "onnxruntime" / "int8-x86_64-avx2").exists()


def test_a_failing_export_leaves_the_old_bundle(tmp_path, sample, onnx_file, exported, monkeypatch):
    target = shutil.copytree(exported.path, tmp_path / "net.evseg")
    before = contents(target)

    def fail(*args: object) -> None:
        raise ExportError("disk of the printer is full")

    monkeypatch.setattr("edge_vseg.export.pipeline.write_step.write_report", fail)
    with pytest.raises(ExportError, match="printer"):
        export_bundle(str(onnx_file), target, sample, replace(ONNX, seed=1, slices=False))
    assert contents(target) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.evseg", "net.onnx"]


KILLED = """
import sys
from dataclasses import replace
sys.path.insert(0, {here!r})
from networks import frames
from test_pipeline import ONNX
from edge_vseg.export import SampleFrames, export_bundle
from edge_vseg.bundle.manifest import CalibrationSpec
sample = SampleFrames(calibration=frames(8), validation=frames(4, start=100), spec=CalibrationSpec())
other = replace(ONNX, seed=3, slices=False)
print("start", flush=True)
for _ in range(50):
    export_bundle({source!r}, __import__("pathlib").Path({target!r}), sample, other, lambda s: print(s, flush=True))
    print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("moment", "delay_s"),
    [
        pytest.param("building onnxruntime/float", 0.0, marks=pytest.mark.release),
        pytest.param("comparing", 0.0, marks=pytest.mark.release),
        ("writing the bundle", 0.0),
        pytest.param("writing the bundle", 0.02, marks=pytest.mark.release),
        ("done", 0.0),
    ],
)
def test_killed_at_any_moment_the_bundle_is_complete(tmp_path, sample, onnx_file, exported, moment, delay_s):
    target = shutil.copytree(exported.path, tmp_path / "net.evseg")
    script = KILLED.format(here=str(Path(__file__).parent), source=str(onnx_file), target=str(target))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(moment):
                time.sleep(delay_s)
                process.send_signal(signal.SIGKILL)
                break
        else:
            pytest.fail(f"the export never said {moment!r}")
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    opened = open_bundle(target)
    assert check_files(opened) == len(opened.manifest.files)
    assert set(contents(target)) == {*opened.manifest.files, "manifest.json"}
    # What the killed export left beside it does not stop the next one.
    export_bundle(str(onnx_file), target, sample, replace(ONNX, slices=False))
    assert check_files(open_bundle(target))


def test_validation_frames_are_never_calibration_frames(tmp_path, onnx_file, panning_clip):
    sample = sample_frames([panning_clip], calibration=12, validation=6, seed=4)
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, replace(ONNX, slices=False))
    tree = json.loads((made.path / "manifest.json").read_bytes())["calibration"]
    learned, judged = ({(f["file"], f["seq"]) for f in tree[key]} for key in ("frames", "validation_frames"))
    assert (len(learned), len(judged)) == (12, 6)
    assert not learned & judged
    assert not {image.tobytes() for image in sample.calibration} & {image.tobytes() for image in sample.validation}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"runtimes": ("tensorflow",)}, "unknown runtime 'tensorflow'; known: onnxruntime, openvino, tflite"),
        ({"targets": ("riscv",)}, "unknown target 'riscv'"),
        ({"precisions": ("int4",)}, "unknown precision 'int4'"),
        ({"runtimes": ()}, "at least one"),
        ({"max_drop": 1.5}, "between 0 and 1"),
        ({"min_speedup": 0.0}, "how many times as fast as float"),
        ({"targets": ("arm64",), "runtimes": ("openvino", "tflite")}, "add onnxruntime to --runtimes"),
        ({"carried": ("mid",), "slices": False}, "--carry says where to cut slices, and --no-slices asks for none"),
    ],
    ids=["runtime", "target", "precision", "none", "max_drop", "min_speedup", "targets-of-others", "carry"],
)
def test_impossible_options(wrong, message):
    with pytest.raises(OptionError, match=message):
        ExportOptions(**wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("real_figures")
def test_all_runtimes_agree_with_float(tmp_path, sample):
    path = tmp_path / "net.onnx"
    path.write_bytes(segmenter_onnx(seed=3).SerializeToString())
    options = ExportOptions(normalization=NORM, targets=("x86_64-avx2",), max_drop=0.1)
    said: list[str] = []
    made = export_bundle(str(path), tmp_path / "net.evseg", sample, options, said.append)
    assert 0 <= count_steps(str(path), options) - len(said) <= 1
    parity = {v.id: v.parity.pixel_agreement for v in made.manifest.variants}
    assert set(parity) == {
        "onnxruntime/float", "onnxruntime/int8-x86_64-avx2", "openvino/float", "openvino/int8", "tflite/float",
        "tflite/int8",
    }  # fmt: skip
    assert min(v for k, v in parity.items() if k.endswith("float")) >= 0.999
    assert min(parity.values()) >= 0.95
    assert {c.status for c in check_variants(open_bundle(made.path), threads=1)} == {"ok"}
