"""Slices in a bundle give what the whole graph gives, on every runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import onnx
import pytest

from edge_vseg import open_bundle
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import CalibrationSpec, Variant
from edge_vseg.errors import ExportError
from edge_vseg.export import ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.partition import slice_runs, slicer
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.slice_runs import WholeVariant
from edge_vseg.export.partition.slicer import slicing_rank
from edge_vseg.export.quantization.uint8_input import take_bytes
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo.weights import NORMALIZATION
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime

pytestmark = pytest.mark.usefixtures("warm_converter")

SIZE_HW = (192, 256)
OPTIONS = ExportOptions(
    labels=named_labels("camvid"), size_hw=SIZE_HW, normalization=NORMALIZATION, max_drop=1.0, precisions=("int8",)
)


def street(seed: int, count: int) -> list[np.ndarray]:
    """Frames as the network expects them; on noise any two ways of rounding disagree."""
    return [frame.image for frame in render_street(StreetOptions(size_hw=SIZE_HW, seed=seed), count)]


def street_sample() -> SampleFrames:
    return SampleFrames(calibration=street(1, 8), validation=street(2, 3), spec=CalibrationSpec())


RUNTIMES = ("onnxruntime", *(pytest.param(name, marks=pytest.mark.release) for name in ("openvino", "tflite")))


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def exported(runtime: str, sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small network as int8 on one runtime."""
    if runtime == "onnxruntime":
        return open_bundle(sliced_bundle)
    path = tmp_path_factory.mktemp("sliced") / "small.evseg"
    options = replace(OPTIONS, runtimes=(runtime,))
    return open_bundle(export_bundle("edge_vseg.export.reference.zoo:small", path, street_sample(), options).path)


def chained(folder: Path, variant: Variant, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the whole graph gives, and what its slices give one after another."""
    runtime, options = get_runtime(variant.runtime), SessionOptions(threads=1)
    whole = runtime.open(folder / variant.entry, GraphSpec.of(input=variant.input, output=variant.output), options)
    expected = whole.run({variant.input.name: frame[None]})[variant.output.name]
    values = {variant.input.name: frame[None]}
    for part in variant.slices:
        session = runtime.open(folder / part.entry, GraphSpec(inputs=part.inputs, outputs=part.outputs), options)
        values |= session.run({tensor.name: values[tensor.name] for tensor in part.inputs})
    return expected, values[variant.output.name]


def test_chained_slices_give_the_scores_of_the_whole(exported: Bundle, runtime: str) -> None:
    (variant,) = exported.manifest.variants
    assert variant.unsliced == ""
    assert len(variant.slices) >= 3
    assert variant.slice_overhead is not None
    for frame in street(3, 2):
        expected, given = chained(exported.root, variant, frame)
        if runtime == "openvino":
            assert np.mean(expected.argmax(1) == given.argmax(1)) >= OPTIONS.thresholds.slice_agreement
        else:
            assert np.array_equal(expected, given)


def test_the_carried_tensor_is_the_context(exported: Bundle) -> None:
    """At stride 8, as wide as the per-frame path, in integers."""
    (variant,) = exported.manifest.variants
    (carried,) = variant.carried
    assert carried.hwc == (SIZE_HW[0] // 8, SIZE_HW[1] // 8, 48)
    assert carried.dtype in ("uint8", "int8")


def test_a_bundle_with_slices_lists_their_files(exported: Bundle) -> None:
    for variant in exported.manifest.variants:
        assert {part.entry for part in variant.slices} <= exported.manifest.files.keys()
        stray = {p.name for p in (exported.root / variant.id).glob("slice*")}
        assert len(stray) >= len(variant.slices)
        assert {name.rpartition("/")[2] for name in variant.files} >= stray


def test_slices_can_be_left_out(tmp_path, sample, onnx_file) -> None:
    options = ExportOptions(runtimes=("onnxruntime",), max_drop=1.0, slices=False)
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    assert all(variant.slices == () for variant in made.manifest.variants)


def test_a_tensor_that_cannot_be_carried_is_refused(tmp_path, sample, onnx_file) -> None:
    options = ExportOptions(runtimes=("onnxruntime",), max_drop=1.0, carried=("nothing_like_it",))
    with pytest.raises(ExportError, match="nothing_like_it"):
        export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    assert not (tmp_path / "net.evseg").exists()


def byte_graph(mean: float, gain: float, scale: float, zero: int) -> onnx.ModelProto:
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        helper.make_node("Cast", ["frame"], ["a"], to=1, name="frame.Cast"),
        helper.make_node("Sub", ["a", "mean"], ["b"], name="frame.Sub"),
        helper.make_node("Mul", ["b", "gain"], ["c"], name="frame.Mul"),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["out"], name="d"),
    ]
    tensors = [
        tensor(np.float32(mean), "mean"),
        tensor(np.float32(gain), "gain"),
        tensor(np.float32(scale), "scale"),
        tensor(np.uint8(zero), "zero"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("frame", 2, (1, 4, 64, 1))], [value("out", 1, (1, 4, 64, 1))], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_slices_that_fit_into_a_budget_come_before_a_small_overhead(sliced_bundle: Path) -> None:
    """Slices as they were found on a fast CPU: the whole 9.8 ms, and three ways to cut it."""
    (variant,) = open_bundle(sliced_bundle).manifest.variants

    def cut(milliseconds: list[float | None], overhead: float | None) -> Variant:
        parts = tuple(msgspec.structs.replace(variant.slices[0], latency_ms=ms) for ms in milliseconds)
        return msgspec.structs.replace(variant, slices=parts, slice_overhead=overhead)

    stages = cut([1.65, 6.85, 2.26], 0.099)
    four = cut([1.65, 3.7, 3.7, 2.26], 0.15)
    six = cut([1.7, 2.0, 2.1, 2.0, 2.0, 2.2], 0.22)
    untimed = cut([None, None], None)
    assert sorted([six, stages, four], key=lambda each: slicing_rank(each, 0.4)) == [four, six, stages]
    assert slicing_rank(untimed, 0.4) == (False, 0.0)


@pytest.mark.parametrize(
    ("case", "left"),
    [
        pytest.param((110, 1 / 75, 1 / 75, 110), 1, id="undone"),
        pytest.param((110.5, 1 / 75, 1 / 75, 110), 5, id="broken-mean"),
        pytest.param((110, 1 / 75, 1 / 74, 110), 5, id="other-scale"),
    ],
)
def test_bytes_are_taken_only_where_nothing_changes(case: tuple, left: int) -> None:
    from onnx.reference import ReferenceEvaluator

    model = byte_graph(*case)
    value = np.arange(256, dtype=np.uint8).reshape(1, 4, 64, 1)
    (before,) = ReferenceEvaluator(model).run(None, {"frame": value})
    take_bytes(model)
    assert len(model.graph.node) == left
    (after,) = ReferenceEvaluator(model).run(None, {"frame": value})
    np.testing.assert_allclose(before, after, atol=1e-6)


CUT = ExportOptions(
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    runtimes=("onnxruntime",),
    targets=("x86_64",),
    max_drop=1.0,
    thresholds=ExportThresholds(slice_overhead=100, int8_accepted=1.0),
)
"""Of a network so small that its slices take several times as long."""


@pytest.mark.usefixtures("products_for_times")
def test_slices_do_not_change_the_whole_graph(tmp_path, sample, onnx_file) -> None:
    made = [
        export_bundle(str(onnx_file), tmp_path / f"{slices}.evseg", sample, replace(CUT, slices=slices)).manifest
        for slices in (True, False)
    ]
    assert [[bool(v.slices) for v in each.variants] for each in made] == [[True, True], [False, False]]
    assert len(made[0].files) > len(made[1].files)
    for variant in made[1].variants:
        assert made[0].files[variant.entry] == made[1].files[variant.entry]


@pytest.mark.parametrize(
    ("module", "broken", "failure", "reason"),
    [
        pytest.param(slice_runs, "write_slices", KeyError("permute_1.u8"), "KeyError: 'permute_1.u8'", id="cut"),
        pytest.param(slicer, "DataFlow", TypeError("no shape\nat all"), "TypeError: no shape", id="plan"),
        pytest.param(slice_runs, "write_slices", ExportError("as we say it"), "as we say it", id="ours"),
    ],
)
def test_whatever_fails_while_cutting_the_export_goes_on(
    tmp_path, sample, onnx_file, monkeypatch, module: ModuleType, broken: str, failure: Exception, reason: str
) -> None:
    def fail(*args: object) -> None:
        raise failure

    monkeypatch.setattr(module, broken, fail)
    options = ExportOptions(runtimes=("onnxruntime",), max_drop=1.0, precisions=("float",))
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    (variant,) = open_bundle(made.path).manifest.variants
    assert (variant.slices, variant.unsliced) == ((), reason)
    assert not list((made.path / variant.id).glob("slice*"))


@pytest.mark.parametrize(("most", "expected"), [(3, 3), (1, 0)])
def test_where_many_slices_disagree_fewer_are_tried(
    tmp_path, sample, onnx_file, monkeypatch, most: int, expected: int
) -> None:
    compare = slice_runs.write_and_compare

    def refuse(whole: WholeVariant, parts: Sequence[Part], timed: bool) -> Variant:
        made = compare(whole, parts, timed)
        if len(parts) > most:
            raise ExportError(f"{len(parts)} slices disagree")
        return made

    monkeypatch.setattr(slicer, "write_and_compare", refuse)
    options = ExportOptions(
        runtimes=("onnxruntime",),
        max_drop=1.0,
        precisions=("float",),
        thresholds=ExportThresholds(slice_overhead=100),
    )
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    (variant,) = made.manifest.variants
    assert (len(variant.slices), bool(variant.unsliced)) == (expected, expected == 0)
    assert len(list((made.path / variant.id).glob("slice*"))) == expected


def test_float_variants_are_cut_beside_int8(tmp_path, sample, onnx_file) -> None:
    made = export_bundle(str(onnx_file), tmp_path / "both.evseg", sample, CUT)
    for variant in made.manifest.variants:
        assert variant.unsliced == ""
        assert len(variant.slices) > 1
        expected, given = chained(made.path, variant, sample.validation[0])
        np.testing.assert_allclose(given, expected, atol=1e-3)


@pytest.mark.release
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tflite"])
def test_float_variants_of_a_real_network_are_cut_beside_int8(tmp_path, runtime: str) -> None:
    targets = ("x86_64",) if runtime == "onnxruntime" else ()
    options = replace(OPTIONS, runtimes=(runtime,), precisions=("int8", "float"), targets=targets)
    made = export_bundle("edge_vseg.export.reference.zoo:small", tmp_path / "both.evseg", street_sample(), options)
    (variant,) = (v for v in made.manifest.variants if v.precision == "float")
    assert variant.unsliced == ""
    expected, given = chained(made.path, variant, street(3, 1)[0])
    np.testing.assert_allclose(given, expected, atol=1e-3)


@pytest.mark.parametrize(("short_from", "last"), [(1, 3), (4, 3), (5, 4)])
def test_slices_that_can_only_be_longer_are_not_tried(
    tmp_path, sample, onnx_file, monkeypatch, short_from: int, last: int
) -> None:
    """All take 20 % more than the whole, so that each number is tried; a third of that is 0.4 of the whole."""
    compare, tried = slice_runs.write_and_compare, []

    def timed_evenly(whole: WholeVariant, parts: Sequence[Part], timed: bool) -> Variant:
        made = compare(whole, parts, timed)
        tried.append(len(parts))
        times = [1.0] * len(parts) if len(parts) >= short_from else [9.0, *[1.0] * (len(parts) - 1)]
        slices = [msgspec.structs.replace(part, latency_ms=ms) for part, ms in zip(made.slices, times, strict=True)]
        return msgspec.structs.replace(made, slices=tuple(slices), slice_overhead=0.2)

    monkeypatch.setattr(slicer, "write_and_compare", timed_evenly)
    options = ExportOptions(runtimes=("onnxruntime",), max_drop=1.0, precisions=("float",))
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    assert tried[-1] == last
    (variant,) = made.manifest.variants
    assert len(variant.slices) == tried[0], "the first of those with the same overhead"
