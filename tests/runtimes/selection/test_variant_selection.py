"""Which variant of a named runtime is opened, without timing."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_network import manifest, variant

from edge_vseg.bundle import Bundle
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.selection import variant_selection
from edge_vseg.runtimes.selection.variant_selection import pick_variant, select_variant

FLOAT, HALF, INT8 = (
    variant(f"onnxruntime/{name}", "onnxruntime", precision=name) for name in ("float", "float16", "int8")
)


@pytest.mark.parametrize(
    ("provider", "variants", "expected"),
    [
        pytest.param("", (FLOAT, HALF), "float", id="cpu"),
        pytest.param("cpu", (HALF, FLOAT), "float", id="cpu by name"),
        pytest.param("", (HALF,), "float16", id="nothing else"),
        pytest.param("cuda", (FLOAT, HALF), "float16", id="cuda"),
        pytest.param("tensorrt", (FLOAT, HALF), "float16", id="tensorrt"),
        pytest.param("cuda", (FLOAT, HALF, INT8), "int8", id="cuda with int8"),
        pytest.param("", (FLOAT, HALF, INT8), "int8", id="cpu with int8"),
    ],
)
def test_float16_comes_before_float_on_a_gpu_only(provider: str, variants: tuple, expected: str) -> None:
    selection = pick_variant(manifest(*variants), "onnxruntime", None, SessionOptions(provider=provider))
    assert selection.variant.precision == expected
    mode = {"trt_fp16_enable": "1"} if provider == "tensorrt" else {}
    assert dict(selection.options.provider_options) == mode


@pytest.mark.parametrize(("device", "expected"), [("GPU", "float16"), ("GPU.1", "float16"), ("CPU", "float")])
def test_devices_of_openvino(device: str, expected: str) -> None:
    both = [variant(f"openvino/{name}", "openvino", precision=name) for name in ("float", "float16")]
    chosen = pick_variant(manifest(*both), "openvino", None, SessionOptions(provider=device))
    assert chosen.variant.precision == expected


def test_a_jetson_opens_float16_on_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = CpuInfo(model="", architecture="arm64", cores=4, features=())
    backend = SimpleNamespace(providers=lambda: ("cpu", "cuda"))
    monkeypatch.setattr(variant_selection, "cpu_features", lambda: jetson)
    monkeypatch.setattr(variant_selection, "get_runtime", lambda name: backend)
    selection = pick_variant(manifest(FLOAT, HALF), "onnxruntime", None, SessionOptions())
    assert (selection.variant.precision, selection.options.provider) == ("float16", "cuda")
    named = select_variant(
        Bundle(root=Path(), manifest=manifest(FLOAT, HALF), sha256=""), SessionOptions(), variant_id=HALF.id
    )
    assert named.options.provider == "cuda"
    backend.providers = lambda: ("cpu",)
    assert pick_variant(manifest(FLOAT, HALF), "onnxruntime", None, SessionOptions()).variant.precision == "float"


@pytest.mark.parametrize(("provider", "warned"), [("", True), ("cuda", False)])
def test_slower_on_the_cpu_of_the_export_says_nothing_about_a_gpu(
    provider: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    slow = variant(
        "onnxruntime/float16", "onnxruntime", precision="float16", status="slower-than-float", reason="9 ms against 5"
    )
    opened = Bundle(root=Path(), manifest=manifest(slow), sha256="")
    with caplog.at_level(logging.WARNING):
        select_variant(opened, SessionOptions(provider=provider), runtime="onnxruntime", precision="float16")
    assert ("slower than float at export" in caplog.text) == warned
