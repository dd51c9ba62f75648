"""float16 variants of a whole export: parity, size, slices, tiles, and schedules that run on them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import deep_onnx, frames
from typer.testing import CliRunner

from edge_vseg import open_bundle
from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import CalibrationSpec, Variant
from edge_vseg.cli.app import app
from edge_vseg.errors import OptionError
from edge_vseg.export import BundleUpdate, Exported, ExportOptions, SampleFrames, export_bundle, update_bundle
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo.weights import NORMALIZATION
from edge_vseg.open_options import OpenOptions
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime
from edge_vseg.scheduling.policies import Clockwork, Deadline, Policy, Regional, Sliced
from edge_vseg.segmenter import Segmenter
from edge_vseg.video import VideoWriter

SIZE_HW, TILE_HW = (192, 256), (96, 128)
RUNTIMES = ("onnxruntime", *(pytest.param(name, marks=pytest.mark.release) for name in ("openvino", "tflite")))
OPTIONS = ExportOptions(
    labels=named_labels("camvid"),
    size_hw=SIZE_HW,
    normalization=NORMALIZATION,
    precisions=("float", "float16"),
    tiles=TILE_HW,
)
SMALL = ExportOptions(runtimes=("onnxruntime",), precisions=("float",), targets=("x86_64",), slices=False)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_converter")]


def street(seed: int, count: int) -> list[np.ndarray]:
    return [frame.image for frame in render_street(StreetOptions(size_hw=SIZE_HW, seed=seed), count)]


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def exported(runtime: str, tmp_path_factory: pytest.TempPathFactory, warm_converter: None) -> Exported:
    sample = SampleFrames(calibration=street(1, 2), validation=street(2, 3), spec=CalibrationSpec())
    path = tmp_path_factory.mktemp("float16") / "small.evseg"
    return export_bundle("edge_vseg.export.reference.zoo:small", path, sample, replace(OPTIONS, runtimes=(runtime,)))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "drive.mp4"
    with VideoWriter(path, 15.0, SIZE_HW) as writer:
        for image in street(3, 12):
            writer.write(image)
    return path


def half(exported: Exported, runtime: str) -> Variant:
    return exported.manifest.variant(f"{runtime}/float16")


def test_parity_and_size(exported: Exported, runtime: str) -> None:
    variant, whole = half(exported, runtime), exported.manifest.variant(f"{runtime}/float")
    assert (variant.precision, variant.target, variant.float_nodes) == ("float16", "any", ())
    assert variant.recipe.startswith("float16")
    assert variant.status in ("ok", "slower-than-float")
    assert variant.parity.pixel_agreement > 0.999
    assert variant.parity.worst_agreement > 0.998
    assert variant.parity.sqnr_db > 50
    assert variant.parity.latency_ms > 0
    assert variant.parity.float_latency_ms == whole.parity.latency_ms
    assert 0.48 < variant.graph_bytes / whole.graph_bytes < 0.53
    assert (variant.input.dtype, variant.output.dtype) == ("uint8", "float32")


@pytest.mark.parametrize("runtime", ["onnxruntime"], indirect=True)
def test_the_recipe_says_what_a_gpu_may_give(exported: Exported, runtime: str) -> None:
    """The file here shows the rounding of weights alone."""
    found = re.fullmatch(r"float16; (.*)% as float where activations are rounded too", half(exported, runtime).recipe)
    assert 99.5 < float(found[1]) <= 100


def test_parity_is_what_the_files_give(exported: Exported, runtime: str) -> None:
    opened = open_bundle(exported.path)
    assert opened.manifest == exported.manifest
    assert check_files(opened) == len(opened.manifest.files)
    checks = {check.id: check.status for check in check_variants(opened, threads=1)}
    assert checks[f"{runtime}/float16"] == "ok"
    assert f"<td>{runtime}/float16</td>" in (exported.path / "report.html").read_text()
    shown = CliRunner().invoke(app, ["inspect", str(exported.path)])
    assert f"{runtime}/float16" in shown.output


def test_chained_slices_give_the_classes_of_the_whole(exported: Exported, runtime: str) -> None:
    variant = half(exported, runtime)
    assert variant.unsliced == ""
    assert len(variant.slices) >= 3
    assert variant.context is not None
    backend, options = get_runtime(runtime), SessionOptions(threads=1)
    spec = GraphSpec.of(input=variant.input, output=variant.output)
    whole = backend.open(exported.path / variant.entry, spec, options)
    for frame in street(4, 2):
        expected = whole.run({variant.input.name: frame[None]})[variant.output.name]
        values = {variant.input.name: frame[None]}
        for part in variant.slices:
            spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
            session = backend.open(exported.path / part.entry, spec, options)
            values |= session.run({tensor.name: values[tensor.name] for tensor in part.inputs})
        given = values[variant.output.name]
        assert np.mean(expected.argmax(1) == given.argmax(1)) >= OPTIONS.thresholds.slice_agreement
        assert np.linalg.norm(given - expected) < 3e-3 * np.linalg.norm(expected)
    sizes = [sum(p.stat().st_size for p in (exported.path / variant.id).glob(f"{s}*")) for s in ("slice", "model")]
    assert sizes[0] < 1.3 * sizes[1], "slices hold float16 weights too"


@pytest.mark.parametrize("runtime", ["onnxruntime"], indirect=True)
def test_slices_of_onnx_runtime_hand_over_float16(exported: Exported, runtime: str) -> None:
    (carried,) = half(exported, runtime).carried
    assert carried.dtype == "float16"


def test_tiles(exported: Exported, runtime: str) -> None:
    variant, whole = half(exported, runtime), exported.manifest.variant(f"{runtime}/float")
    assert variant.untiled == whole.untiled == ""
    assert variant.tile.input.hwc[:2] == TILE_HW
    assert variant.tile.agreement == pytest.approx(whole.tile.agreement, abs=2e-3)


@pytest.mark.parametrize(
    ("policy", "source"),
    [
        pytest.param(Sliced(), "propagated", id="sliced"),
        pytest.param(Clockwork(period_frames=2), "partial", id="clockwork"),
        pytest.param(Regional(), "partial", id="regional"),
        pytest.param(Deadline(milliseconds=1000), "inferred", id="deadline"),
    ],
)
def test_schedules_run_on_it(exported: Exported, runtime: str, policy: Policy, source: str) -> None:
    """Frame for frame close to the float variant under the same policy, which makes the same decisions."""
    shown = {}
    for precision in ("float", "float16"):
        options = OpenOptions(variant=f"{runtime}/{precision}")
        with Segmenter.open(exported.path, threads=1, policy=policy, options=options) as segmenter:
            shown[precision] = [segmenter(frame) for frame in street(5, 6)]
    results = shown["float16"]
    assert all(r.labels.shape == SIZE_HW for r in results)
    assert source in {r.source for r in results}
    if isinstance(policy, Clockwork):  # it looks at no clock, and no slice count is the same for both
        assert np.mean(results[-1].labels == shown["float"][-1].labels) > 0.9


@pytest.mark.parametrize("runtime", ["onnxruntime"], indirect=True)
def test_run_with_a_deadline(exported: Exported, runtime: str, drive: Path) -> None:
    arguments = ["run", str(exported.path), str(drive), "--runtime", runtime, "--precision", "float16"]
    shown = CliRunner().invoke(app, [*arguments, "--deadline-ms", "30", "--json"])
    assert shown.exit_code == 0, shown.output
    assert f'"variant": "{runtime}/float16"' in shown.output


def test_a_bundle_gets_float_16_later(tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(deep_onnx().SerializeToString())
    sample = SampleFrames(calibration=frames(6), validation=frames(3, start=50), spec=CalibrationSpec())
    path = export_bundle(str(source), tmp_path / "net.evseg", sample, SMALL).path
    change = BundleUpdate(runtimes=("onnxruntime", "openvino"), precisions=("float16",))
    made = update_bundle(path, sample, change).manifest
    assert [v.id for v in made.variants] == ["onnxruntime/float", "onnxruntime/float16", "openvino/float16"]
    assert all(v.parity.pixel_agreement > 0.99 for v in made.variants)
    assert check_files(open_bundle(path))


def test_unknown_precisions_name_the_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown precision 'float8'; known: int8, float, float16"):
        ExportOptions(precisions=("float8",))
    shown = CliRunner().invoke(app, ["run", "x.evseg", "y.mp4", "--precision", "float8"])
    assert "expected auto, int8, float or float16" in str(shown.exception)


def test_float16_is_made_only_when_it_is_asked_for() -> None:
    assert "float16" not in ExportOptions().precisions
    assert "float16" not in BundleUpdate().precisions
