"""An update changes what it is asked to, gives what a whole export would, and leaves the rest as it was."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from networks import SIZE_HW, deep_onnx, frames, segmenter_onnx

from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec, Manifest, SampledFrame
from edge_vseg.errors import (
    BackendMissingError,
    CalibrationError,
    EdgeVsegError,
    ModelFileError,
    OptionError,
    SourceChangedError,
)
from edge_vseg.export import (
    BundleUpdate,
    ExportOptions,
    ExportThresholds,
    Normalization,
    SampleFrames,
    export_bundle,
    update_bundle,
    variant_validation,
)
from edge_vseg.export.pipeline.bundle_update import check_update
from edge_vseg.open_options import OpenOptions
from edge_vseg.runtimes import Session
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.segmenter import Segmenter

INT8 = "onnxruntime/int8-x86_64-avx2"
pytestmark = pytest.mark.usefixtures("warm_converter", "products_for_times")
OPTIONS = ExportOptions(
    labels=numbered_labels(4),
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    runtimes=("onnxruntime",),
    targets=("x86_64-avx2",),
    max_drop=1.0,
    slices=False,
    thresholds=ExportThresholds(int8_accepted=1.0),  # nothing is chosen by measured time
)
TORCH = replace(OPTIONS, size_hw=SIZE_HW)
ASSETS = Path(__file__).parents[2] / "assets"


def contents(folder: Path, *, under: str = "") -> dict[str, bytes]:
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix()).startswith(under)
    }


def exported(folder: Path, sample: SampleFrames, options: ExportOptions) -> Path:
    (folder / "net.onnx").write_bytes(deep_onnx().SerializeToString())
    return export_bundle(str(folder / "net.onnx"), folder / "net.evseg", sample, options).path


@pytest.fixture(scope="module")
def pristine(
    tmp_path_factory: pytest.TempPathFactory, sample: SampleFrames, warm_converter: None, products_for_times: None
) -> Path:
    return exported(tmp_path_factory.mktemp("pristine"), sample, OPTIONS)


@pytest.fixture(scope="module")
def pristine_slices(
    tmp_path_factory: pytest.TempPathFactory, sample: SampleFrames, warm_converter: None, products_for_times: None
) -> Path:
    return exported(tmp_path_factory.mktemp("slices"), sample, replace(OPTIONS, slices=True))


@pytest.fixture
def bundle(tmp_path: Path, pristine: Path, onnx_file: Path) -> Path:
    """A copy of its own, beside its network."""
    return shutil.copytree(pristine, tmp_path / "net.evseg")


@pytest.fixture
def sliced(tmp_path: Path, pristine_slices: Path, onnx_file: Path) -> Path:
    return shutil.copytree(pristine_slices, tmp_path / "net.evseg")


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


def test_a_changed_source_is_refused(tmp_path: Path, sample: SampleFrames, bundle: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(segmenter_onnx(seed=7).SerializeToString())
    before = contents(bundle)
    with pytest.raises(SourceChangedError, match=r"other\.onnx is not the network that .*net\.evseg was made from"):
        update_bundle(bundle, sample, BundleUpdate(source=str(other), runtimes=("openvino",)))
    assert contents(bundle) == before


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


def test_a_source_that_is_gone(tmp_path: Path, sample: SampleFrames, onnx_file: Path) -> None:
    path = export_bundle(str(onnx_file), tmp_path / "a.evseg", sample, replace(OPTIONS, precisions=("int8",))).path
    onnx_file.unlink()
    with pytest.raises(ModelFileError, match=r"no model at net\.onnx; .*; this update needs the network"):
        update_bundle(path, sample, BundleUpdate(runtimes=("openvino",)))


def other_sample() -> SampleFrames:
    spec = CalibrationSpec(validation_frames=(SampledFrame(file="other.mp4", seq=3, time_s=None),))
    return SampleFrames(calibration=frames(4, start=50), validation=frames(3, start=70), spec=spec)


def test_other_frames_cannot_calibrate(bundle: Path) -> None:
    with pytest.raises(CalibrationError, match="was calibrated on other frames; give the same video, counts and seed"):
        update_bundle(bundle, other_sample(), BundleUpdate(runtimes=("openvino",)))


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


def stop_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on int8 does not run, as on a machine that lacks what it needs."""
    find = variant_validation.get_runtime

    class Runtime:
        def __init__(self, name: str) -> None:
            self._found = find(name)

        def open(self, path: Path, *args: object) -> Session:
            if path.parts[-2] == Path(INT8).name:
                raise BackendMissingError("no such kernels here")
            return self._found.open(path, *args)

    monkeypatch.setattr(variant_validation, "get_runtime", Runtime)


def test_a_graph_that_does_not_run_here_stays(
    bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, old = contents(bundle, under="onnxruntime/"), open_bundle(bundle).manifest
    stop_int8(monkeypatch)
    made = update_bundle(bundle, other_sample(), BundleUpdate(max_drop=1.0))
    assert contents(bundle, under="onnxruntime/") == before
    assert made.manifest.variant(INT8) == old.variant(INT8)
    assert made.manifest.variant("onnxruntime/float").parity.frames == 3
    assert (made.manifest.failed, made.troubled) == ((), ())
    warning = f"{INT8} could not be validated and stays as it was, with its old figures: no such kernels here"
    assert warning in made.warnings
    assert warning in caplog.text
    assert check_files(open_bundle(bundle))


def test_slices_of_a_graph_that_does_not_run_here_stay(
    sliced: Path, sample: SampleFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another CPU all are validated, and cut if asked for; a graph that cannot be judged is not cut."""
    before, old = contents(sliced, under=INT8), open_bundle(sliced).manifest
    assert old.variant(INT8).slices
    stop_int8(monkeypatch)
    other_cpu = replace(cpu_features(), model="another")
    monkeypatch.setattr(sys.modules["edge_vseg.export.pipeline.update_bundle"], "cpu_features", lambda: other_cpu)
    made = update_bundle(sliced, sample, BundleUpdate(slices="cut", max_drop=1.0)).manifest
    assert contents(sliced, under=INT8) == before
    assert made.variant(INT8) == old.variant(INT8)


def test_a_new_graph_that_does_not_run_here_failed(
    bundle: Path, sample: SampleFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_int8(monkeypatch)
    change = BundleUpdate(runtimes=("onnxruntime",), targets=("x86_64-avx2",), max_drop=1.0)
    made = update_bundle(bundle, sample, change)
    assert [variant.id for variant in made.manifest.variants] == ["onnxruntime/float"]
    assert [failure.id for failure in made.manifest.failed] == [INT8]


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


def test_a_failed_update_leaves_the_bundle(bundle: Path, sample: SampleFrames) -> None:
    before = contents(bundle)

    def stop(said: str) -> None:
        if said == "writing the bundle":
            raise EdgeVsegError("stopped")

    with pytest.raises(EdgeVsegError, match="stopped"):
        update_bundle(bundle, sample, BundleUpdate(runtimes=("openvino",)), stop)
    assert contents(bundle) == before
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["net.evseg", "net.onnx"]


def test_a_damaged_file_stops_an_update(bundle: Path, sample: SampleFrames) -> None:
    path = bundle / INT8 / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EdgeVsegError, match="SHA-256 differs"):
        update_bundle(bundle, sample, BundleUpdate(runtimes=("openvino",)))


def test_the_result_may_go_elsewhere(bundle: Path, tmp_path: Path) -> None:
    before = contents(bundle)
    made = update_bundle(bundle, None, BundleUpdate(slices="remove"), output=tmp_path / "other.evseg")
    assert made.path == tmp_path / "other.evseg"
    assert contents(bundle) == before


def test_a_wrapped_file_cannot_be_updated(tmp_path: Path, sample: SampleFrames) -> None:
    path = export_bundle(str(ASSETS / "tiny.tflite"), tmp_path / "tiny.evseg", sample, ExportOptions()).path
    with pytest.raises(OptionError, match=r"wraps tiny\.tflite as it came"):
        update_bundle(path, sample, BundleUpdate(runtimes=("openvino",)))


def test_frames_are_needed(bundle: Path) -> None:
    with pytest.raises(CalibrationError, match="needs sample frames"):
        update_bundle(bundle, None, BundleUpdate(runtimes=("openvino",)))


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


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (BundleUpdate(targets=("arm64",)), "add onnxruntime to --runtimes"),
        (BundleUpdate(targets=("arm64",), runtimes=("openvino",)), "add onnxruntime to --runtimes"),
        (BundleUpdate(carried=("mid",)), "this update cuts none; give --slices"),
        (BundleUpdate(carried=("mid",), slices="remove"), "this update cuts none"),
        (BundleUpdate(carried=("mid",), tiles=(96, 96)), "this update cuts none"),
    ],
    ids=["targets", "targets-of-others", "validated", "removed", "tiles"],
)
def test_what_an_update_would_pass_over_is_refused(sliced_bundle: Path, update: BundleUpdate, message: str) -> None:
    manifest, sample = of_a_network(sliced_bundle), other_sample()
    with pytest.raises(OptionError, match=message):
        check_update(manifest, sample, update)
    for fits in (
        BundleUpdate(targets=("arm64",), runtimes=("onnxruntime",)),
        BundleUpdate(carried=("mid",), slices="cut"),
        BundleUpdate(carried=("mid",), runtimes=("openvino",)),
    ):
        check_update(manifest, sample, fits)
    whole = msgspec.structs.replace(
        manifest, variants=tuple(msgspec.structs.replace(v, slices=(), context=None) for v in manifest.variants)
    )
    with pytest.raises(OptionError, match="this update cuts none"):
        check_update(whole, sample, BundleUpdate(carried=("mid",), runtimes=("openvino",)))


def of_a_network(path: Path) -> Manifest:
    """The manifest of a bundle as if an ONNX file were its source, and nobody knew its frames."""
    manifest = open_bundle(path).manifest
    source = msgspec.structs.replace(manifest.source, kind="onnx")
    return msgspec.structs.replace(manifest, source=source, calibration=CalibrationSpec())


def test_a_fine_tuned_bundle_gets_no_untrained_graphs(sliced_bundle: Path) -> None:
    manifest = of_a_network(sliced_bundle)
    (first, *others) = manifest.variants
    trained = msgspec.structs.replace(
        manifest,
        variants=(msgspec.structs.replace(first, recipe=f"{first.recipe}, fine-tuned"), *others),
    )
    sample = SampleFrames(calibration=frames(2), validation=frames(2), spec=CalibrationSpec())
    for update in (BundleUpdate(runtimes=("onnxruntime",)), BundleUpdate(tiles=(96, 96))):
        with pytest.raises(OptionError, match=f"{first.id} was fine-tuned"):
            check_update(trained, sample, update)
    check_update(trained, sample, BundleUpdate())
