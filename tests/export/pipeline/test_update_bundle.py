"""An update changes what it is asked to, gives what a whole export would, and leaves the rest as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from networks import SIZE_HW, frames
from updated_bundles import INT8, OPTIONS, contents, other_sample

from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import BundleUpdate, SampleFrames, export_bundle, update_bundle
from edge_vseg.open_options import OpenOptions
from edge_vseg.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("warm_converter", "products_for_times")
TORCH = replace(OPTIONS, size_hw=SIZE_HW)


@pytest.mark.parametrize("runtime", ["openvino", pytest.param("tflite", marks=pytest.mark.release)])
def test_another_runtime_is_what_a_whole_export_makes(
    tmp_path: Path, sample: SampleFrames, onnx_file: Path, bundle: Path, runtime: str
) -> None:
    before = contents(bundle, under="onnxruntime/")
    records = open_bundle(bundle).manifest.variants
    onnx_file.rename(tmp_path / "elsewhere.onnx")  # not needed: the bundle holds the float graph
    change = BundleUpdate(runtimes=(runtime,), max_drop=1.0, thresholds=OPTIONS.thresholds)
    made = update_bundle(bundle, sample, change)
    options = replace(OPTIONS, runtimes=("onnxruntime", runtime))
    whole = export_bundle(str(tmp_path / "elsewhere.onnx"), tmp_path / "whole.evseg", sample, options)
    assert contents(bundle, under="onnxruntime/") == before
    assert made.manifest.variants[: len(records)] == records
    assert [v.id for v in made.manifest.variants] == [v.id for v in whole.manifest.variants]
    assert contents(bundle, under=runtime) == contents(whole.path, under=runtime)
    for ours, theirs in zip(made.manifest.variants, whole.manifest.variants, strict=True):
        assert replace_times(ours) == replace_times(theirs)
    assert (made.manifest.source, made.manifest.head) == (
        replace_name(whole.manifest.source, made.manifest.source.name),
        whole.manifest.head,
    )
    assert check_files(open_bundle(bundle))
    assert {check.status for check in check_variants(open_bundle(bundle), threads=1)} == {"ok"}
    assert f"<td>{runtime}/int8</td>" in (bundle / "report.html").read_text()


def replace_times(variant):
    parity = msgspec.structs.replace(variant.parity, latency_ms=None, float_latency_ms=None)
    return msgspec.structs.replace(variant, parity=parity, trials=(), roofline=None, status="ok", reason="")


def replace_name(source, name: str):
    return msgspec.structs.replace(source, name=name)


def test_another_target(bundle: Path, sample: SampleFrames) -> None:
    """The float graph stays; all of the runtime are timed together again."""
    before = contents(bundle, under="onnxruntime/")
    made = update_bundle(bundle, sample, BundleUpdate(runtimes=("onnxruntime",), targets=("arm64",), max_drop=1.0))
    assert [v.id for v in made.manifest.variants] == ["onnxruntime/float", INT8, "onnxruntime/int8-arm64"]
    assert before.items() <= contents(bundle, under="onnxruntime/").items()


def test_the_same_source_is_taken(sample: SampleFrames, bundle: Path, onnx_file: Path) -> None:
    made = update_bundle(bundle, sample, BundleUpdate(source=str(onnx_file), runtimes=("openvino",), max_drop=1.0))
    assert [v.runtime for v in made.manifest.variants] == ["onnxruntime"] * 2 + ["openvino"] * 2


def test_a_torch_network_is_known_again(tmp_path: Path, sample: SampleFrames) -> None:
    """Traced anew, from its name in the manifest: the bundle has no float graph of ONNX Runtime."""
    options = replace(TORCH, runtimes=("openvino",), targets=(), precisions=("int8",))
    path = export_bundle("torch_networks:small", tmp_path / "net.evseg", sample, options).path
    made = update_bundle(
        path,
        sample,
        BundleUpdate(runtimes=("onnxruntime",), targets=("x86_64-avx2",), precisions=("int8",), max_drop=1.0),
    )
    assert [v.id for v in made.manifest.variants] == ["openvino/int8", INT8]
    whole = export_bundle(
        "torch_networks:small", tmp_path / "whole.evseg", sample, replace(TORCH, precisions=("int8",))
    )
    assert contents(path, under=INT8) == contents(whole.path, under=INT8)


def test_other_frames_validate_again(bundle: Path, sample: SampleFrames) -> None:
    before, old = contents(bundle, under="onnxruntime/"), open_bundle(bundle).manifest
    made = update_bundle(bundle, other_sample(), BundleUpdate(max_drop=1.0)).manifest
    assert contents(bundle, under="onnxruntime/") == before
    with (
        Segmenter.open(bundle, threads=1, options=OpenOptions(variant=INT8)) as int8,
        Segmenter.open(bundle, threads=1, options=OpenOptions(variant="onnxruntime/float")) as whole,
    ):
        same = [(int8(f).labels == whole(f).labels).mean() for f in other_sample().validation]
    assert made.variant(INT8).parity.frames == 3
    assert made.variant(INT8).parity.pixel_agreement == pytest.approx(sum(same) / 3)
    assert made.calibration.validation_frames[0].file == "other.mp4"
    assert (made.calibration.sha256, made.calibration.frames) == (old.calibration.sha256, old.calibration.frames)
    assert made.calibration.validation_sha256 not in (None, made.calibration.sha256)
    again = update_bundle(bundle, sample, BundleUpdate(runtimes=("openvino",), max_drop=1.0)).manifest
    assert {v.parity.frames for v in again.variants} == {4}, "all on the same frames"
    assert again.calibration.validation_sha256 is None


def test_without_slices_other_frames_validate_again(bundle: Path) -> None:
    """What the manifest says of the frames is true of the figures."""
    before = contents(bundle, under="onnxruntime/")
    made = update_bundle(bundle, other_sample(), BundleUpdate(slices="remove", max_drop=1.0)).manifest
    assert contents(bundle, under="onnxruntime/") == before
    assert made.calibration.validation_frames[0].file == "other.mp4"
    assert {v.parity.frames for v in made.variants} == {3}


def test_slices_come_and_go(bundle: Path, sample: SampleFrames) -> None:
    whole = contents(bundle, under="onnxruntime/")
    cut = update_bundle(bundle, sample, BundleUpdate(slices="cut", max_drop=1.0))
    assert len(cut.manifest.variant(INT8).slices) > 1
    assert whole.items() < contents(bundle, under="onnxruntime/").items()
    removed = update_bundle(bundle, None, BundleUpdate(slices="remove"))
    assert contents(bundle, under="onnxruntime/") == whole
    assert removed.manifest.variant(INT8).slices == ()
    assert removed.manifest.variant(INT8).parity == cut.manifest.variant(INT8).parity
    assert check_files(open_bundle(bundle))


def test_new_variants_are_cut_as_the_others_are(sliced: Path, sample: SampleFrames) -> None:
    before = contents(sliced, under="onnxruntime/")
    made = update_bundle(sliced, sample, BundleUpdate(runtimes=("openvino",), max_drop=1.0))
    assert len(made.manifest.variant("openvino/int8").slices) > 1
    assert contents(sliced, under="onnxruntime/") == before


def test_tiles(tmp_path: Path) -> None:
    from networks import Net, body, upsample

    net, size = Net(seed=2), (192, 192)
    source = tmp_path / "net.onnx"
    source.write_bytes(net.model(upsample(net, body(net), 2), shape=(1, 3, *size)).SerializeToString())
    smooth = SampleFrames(
        calibration=frames(3, size_hw=size), validation=frames(2, start=9, size_hw=size), spec=CalibrationSpec()
    )
    options = replace(OPTIONS, precisions=("float",))
    path = export_bundle(str(source), tmp_path / "net.evseg", smooth, options).path
    before = contents(path, under="onnxruntime/")
    made = update_bundle(path, smooth, BundleUpdate(source=str(source), tiles=(96, 96), precisions=("float",)))
    variant = made.manifest.variant("onnxruntime/float")
    assert variant.tile is not None or "takes" in variant.untiled, "tile graphs that save no time are left out"
    assert before.items() <= contents(path, under="onnxruntime/").items()
    if variant.tile is not None:
        whole = export_bundle(str(source), tmp_path / "whole.evseg", smooth, replace(options, tiles=(96, 96)))
        assert contents(path, under="onnxruntime/") == contents(whole.path, under="onnxruntime/")


def test_the_result_may_go_elsewhere(bundle: Path, tmp_path: Path) -> None:
    before = contents(bundle)
    made = update_bundle(bundle, None, BundleUpdate(slices="remove"), output=tmp_path / "other.evseg")
    assert made.path == tmp_path / "other.evseg"
    assert contents(bundle) == before


def test_the_work_folder_of_the_export_is_used(tmp_path: Path, sample: SampleFrames, onnx_file: Path) -> None:
    work = tmp_path / "work"
    both = replace(OPTIONS, runtimes=("onnxruntime", "openvino"))
    export_bundle(str(onnx_file), tmp_path / "both.evseg", sample, both, work_dir=work)
    path = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, OPTIONS, work_dir=work).path
    said: list[str] = []
    change = BundleUpdate(runtimes=("openvino",), max_drop=1.0, thresholds=OPTIONS.thresholds)
    update_bundle(path, sample, change, said.append, work_dir=work)
    assert "building openvino/int8" in said
    assert "rounding weights" not in said, "taken from the work folder"
    assert contents(path, under="openvino/") == contents(tmp_path / "both.evseg", under="openvino/")
