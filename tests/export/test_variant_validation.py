"""Validation: statuses and figures of variants."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
from networks import SIZE_HW, deep_onnx, frames, staged

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import HeadSpec, Parity, PrecisionTrial, TensorSpec, Variant
from edge_vseg.export.variant_validation import ValidationSpec, VariantValidator

HEAD = HeadSpec(kind="scores", size_hw=(12, 16), cut=("Resize",))
IMAGES = frames(3)


def variant(precision: str = "int8", **more) -> Variant:
    fields = {
        "id": f"onnxruntime/{precision}", "runtime": "onnxruntime", "precision": precision, "target": "any",
        "status": "ok", "entry": f"{precision}.onnx", "files": (f"{precision}.onnx",),
        "input": TensorSpec(name="frame", shape=(1, *SIZE_HW, 3), dtype="uint8", layout="NHWC"),
        "output": TensorSpec(name="scores", shape=(1, 4, 12, 16), dtype="float32", layout="NCHW"),
    }  # fmt: skip
    return Variant(**fields | more)


@pytest.fixture
def model() -> onnx.ModelProto:
    return staged(deep_onnx())


def shifted(model: onnx.ModelProto, amount: float) -> onnx.ModelProto:
    """Class 2 gets more of everything."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    bias = [n for n in copy.graph.node if n.op_type == "Conv"][-1].input[2]
    tensor = next(t for t in copy.graph.initializer if t.name == bias)
    value = onnx.numpy_helper.to_array(tensor) + np.array([0, 0, amount, 0], np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, bias))
    return copy


def validator_of(tmp_path, max_drop: float = 0.02, min_speedup: float | None = None) -> VariantValidator:
    spec = ValidationSpec(
        frames=IMAGES, head=HEAD, labels=numbered_labels(4), max_drop=max_drop, min_speedup=min_speedup
    )
    return VariantValidator(tmp_path, spec)


def validated(tmp_path, model, other, max_drop=0.02) -> list:
    onnx.save(model, tmp_path / "float.onnx")
    onnx.save(other, tmp_path / "int8.onnx")
    validator = validator_of(tmp_path, max_drop)
    variants, failed = validator.validate(
        [variant("float"), variant("int8")], validator.run_float(model), lambda step: None
    )
    assert failed == []
    return variants


def test_the_same_graph_agrees_with_itself(tmp_path, model):
    same, _ = validated(tmp_path, model, model)
    assert same.variant.status == "ok"
    assert same.variant.parity.pixel_agreement == 1
    assert same.variant.parity.mean_iou == 1
    assert same.variant.parity.frames == 3
    assert same.variant.parity.latency_ms > 0
    assert same.worst.shape == SIZE_HW


def test_figures_of_a_worse_graph(tmp_path, model):
    other = shifted(model, 0.5)
    validator = validator_of(tmp_path)
    truth, ours = ([a.labels for a in validator.run_float(m)] for m in (model, other))
    agreement = [np.mean(a == b) for a, b in zip(truth, ours, strict=True)]
    assert 0.1 < np.mean(agreement) < 0.98
    made = validated(tmp_path, model, other)[1]
    parity = made.variant.parity
    assert made.variant.status == "drop"
    assert f"{1 - np.mean(agreement):.2%}" in made.variant.reason
    assert parity.pixel_agreement == pytest.approx(np.mean(agreement))
    assert parity.worst_frame == int(np.argmin(agreement))
    np.testing.assert_array_equal(made.worst, ours[parity.worst_frame])
    for i, row in enumerate(parity.iou):
        both = sum(np.sum((a == i) & (b == i)) for a, b in zip(truth, ours, strict=True))
        either = sum(np.sum((a == i) | (b == i)) for a, b in zip(truth, ours, strict=True))
        assert row.iou == (pytest.approx(both / either) if either else None)


def test_more_may_be_allowed(tmp_path, model):
    assert validated(tmp_path, model, shifted(model, 0.5), max_drop=1.0)[1].variant.status != "drop"


def test_a_graph_that_does_not_open_has_failed(tmp_path, model):
    onnx.save(model, tmp_path / "float.onnx")
    (tmp_path / "int8.onnx").write_bytes(b"nothing")
    validator = validator_of(tmp_path)
    (good,), (bad,) = validator.validate(
        [variant("float"), variant("int8")], validator.run_float(model), lambda step: None
    )
    assert good.variant.status == "ok"
    assert (bad.id, bad.runtime, bad.precision, bad.target) == ("onnxruntime/int8", "onnxruntime", "int8", "any")
    assert bad.reason


@pytest.mark.parametrize(
    ("precision", "ours", "theirs", "status"),
    [("int8", 10.0, 20.0, "ok"), ("int8", 20.0, 10.0, "slower-than-float"), ("int8", None, 10.0, "ok"),
     ("float", 20.0, 10.0, "ok")],
)  # fmt: skip
def test_slower_than_float(tmp_path, precision, ours, theirs, status):
    validator = validator_of(tmp_path)
    parity = Parity(
        frames=1, pixel_agreement=0.99, mean_iou=1, iou=(), sqnr_db=None, worst_frame=0, worst_agreement=0.99,
        latency_ms=ours, float_latency_ms=theirs,
    )  # fmt: skip
    given, reason = validator._status(variant(precision), parity)
    assert given == status
    assert bool(reason) == (status != "ok")
    dropped = msgspec.structs.replace(parity, pixel_agreement=0.97)
    hidden, reason = validator._status(variant(precision), dropped)
    assert hidden == "drop"
    assert ("slower than float: 20.0 ms against 10.0 ms" in reason) == (status == "slower-than-float")


def parity_of(agreement: float, ms: float, float_ms: float) -> Parity:
    return Parity(
        frames=1, pixel_agreement=agreement, mean_iou=1, iou=(), sqnr_db=None, worst_frame=0,
        worst_agreement=agreement, latency_ms=ms, float_latency_ms=float_ms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("agreement", "ms", "status"),
    [
        pytest.param(0.99, 10.0, "ok", id="both"),
        pytest.param(0.99, 15.0, "slower-than-asked", id="too slow"),
        pytest.param(0.97, 10.0, "drop", id="too different"),
        pytest.param(0.97, 15.0, "drop", id="neither"),
        pytest.param(0.99, 21.0, "slower-than-float", id="slower than float"),
    ],
)
def test_drop_and_speed_are_both_honoured(tmp_path, agreement: float, ms: float, status: str) -> None:
    validator = validator_of(tmp_path, min_speedup=1.8)
    given, reason = validator._status(variant("int8"), parity_of(agreement, ms, 20.0))
    assert given == status
    assert ("1.33 times as fast as float; at least 1.8 times was asked for" in reason) == (ms == 15.0)
    assert ("3.00% of the pixels differ" in reason) == (agreement < 0.98)
    assert validator._status(variant("float"), parity_of(1.0, 20.0, 20.0))[0] == "ok", "nothing is asked of float"
    assert validator_of(tmp_path)._status(variant("int8"), parity_of(0.99, 15.0, 20.0))[0] == "ok"


def test_a_contradiction_says_what_would_have_to_give(tmp_path) -> None:
    trials = tuple(
        PrecisionTrial(float_nodes=nodes, agreement=agreement, latency_ms=20 / speedup, speedup=speedup, taken=taken)
        for nodes, agreement, speedup, taken in ((0, 0.971, 1.9, False), (27, 0.989, 1.06, True))
    )
    tried = variant("int8", trials=trials)
    _, reason = validator_of(tmp_path, min_speedup=1.8)._status(tried, parity_of(0.989, 19.0, 20.0))
    assert "98.9% at 1.06x (27 nodes in float), or 97.1% at 1.90x (all in int8)" in reason
    assert "give --min-speedup 1.05 or --max-drop 0.039" in reason
    assert validator_of(tmp_path)._status(tried, parity_of(0.989, 19.0, 20.0)) == ("ok", "")


def test_speed_that_is_asked_for_is_not_of_another_machine(tmp_path, monkeypatch) -> None:
    """Its trials of an earlier version have times of this machine; --min-speedup has no effect on it."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    trials = tuple(
        PrecisionTrial(float_nodes=nodes, agreement=agreement, latency_ms=20 / speedup, speedup=speedup, taken=taken)
        for nodes, agreement, speedup, taken in ((0, 0.965, 0.9, False), (27, 0.971, 1.06, True))
    )
    parity = msgspec.structs.replace(parity_of(0.971, 19.0, 20.0), latency_ms=None, float_latency_ms=None)
    status, reason = validator_of(tmp_path, min_speedup=1.8)._status(
        variant("int8", target="arm64", trials=trials), parity
    )
    assert status == "drop"
    assert "--max-drop" in reason
    assert "--min-speedup" not in reason
    here = variant("int8", target="x86_64", trials=trials)
    assert "--min-speedup" not in validator_of(tmp_path)._status(here, parity)[1]
    assert "both, lower" in validator_of(tmp_path, min_speedup=1.8)._status(here, parity)[1]
