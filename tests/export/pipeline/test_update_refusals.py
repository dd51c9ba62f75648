"""Updates of a bundle that cannot be, or not as asked: what is said, and that the bundle stays."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from networks import frames, segmenter_onnx
from updated_bundles import INT8, OPTIONS, contents, other_sample

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import CalibrationSpec, Manifest
from edge_vseg.errors import (
    BackendMissingError,
    CalibrationError,
    EdgeVsegError,
    ModelFileError,
    OptionError,
    SourceChangedError,
)
from edge_vseg.export import BundleUpdate, ExportOptions, SampleFrames, export_bundle, update_bundle, variant_validation
from edge_vseg.export.pipeline.bundle_update import check_update
from edge_vseg.runtimes import Session
from edge_vseg.runtimes.cpu import cpu_features

pytestmark = pytest.mark.usefixtures("warm_converter", "products_for_times")
ASSETS = Path(__file__).parents[2] / "assets"


def test_a_changed_source_is_refused(tmp_path: Path, sample: SampleFrames, bundle: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(segmenter_onnx(seed=7).SerializeToString())
    before = contents(bundle)
    with pytest.raises(SourceChangedError, match=r"other\.onnx is not the network that .*net\.evseg was made from"):
        update_bundle(bundle, sample, BundleUpdate(source=str(other), runtimes=("openvino",)))
    assert contents(bundle) == before


def test_a_source_that_is_gone(tmp_path: Path, sample: SampleFrames, onnx_file: Path) -> None:
    path = export_bundle(str(onnx_file), tmp_path / "a.evseg", sample, replace(OPTIONS, precisions=("int8",))).path
    onnx_file.unlink()
    with pytest.raises(ModelFileError, match=r"no model at net\.onnx; .*; this update needs the network"):
        update_bundle(path, sample, BundleUpdate(runtimes=("openvino",)))


def test_other_frames_cannot_calibrate(bundle: Path) -> None:
    with pytest.raises(CalibrationError, match="was calibrated on other frames; give the same video, counts and seed"):
        update_bundle(bundle, other_sample(), BundleUpdate(runtimes=("openvino",)))


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


def test_a_wrapped_file_cannot_be_updated(tmp_path: Path, sample: SampleFrames) -> None:
    path = export_bundle(str(ASSETS / "tiny.tflite"), tmp_path / "tiny.evseg", sample, ExportOptions()).path
    with pytest.raises(OptionError, match=r"wraps tiny\.tflite as it came"):
        update_bundle(path, sample, BundleUpdate(runtimes=("openvino",)))


def test_frames_are_needed(bundle: Path) -> None:
    with pytest.raises(CalibrationError, match="needs sample frames"):
        update_bundle(bundle, None, BundleUpdate(runtimes=("openvino",)))


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
