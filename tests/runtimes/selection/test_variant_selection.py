"""Which variant of a named runtime is opened, without timing."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_network import manifest, variant

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendError
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


@pytest.mark.parametrize(("status", "warned"), [("slower-than-float", False), ("drop", True)])
def test_a_variant_that_was_named_is_known_to_be_slow(
    status: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """So verify, tune and update open each of a bundle's."""
    slow = variant("onnxruntime/float16", "onnxruntime", precision="float16", status=status, reason="9 ms against 5")
    opened = Bundle(root=Path(), manifest=manifest(slow), sha256="")
    select_variant(opened, SessionOptions(), variant_id=slow.id)
    assert bool(caplog.records) == warned


def machine(architecture: str, *features: str) -> CpuInfo:
    return CpuInfo(model="", architecture=architecture, cores=4, features=features)


X86, AVX2, ARM = (
    variant(f"onnxruntime/int8-{target}", "onnxruntime", precision="int8", target=target, requires=requires)
    for target, requires in (("x86_64", ("vnni",)), ("x86_64-avx2", ()), ("arm64", ()))
)
OLDER = variant("onnxruntime/int8-x86_64", "onnxruntime", precision="int8", target="x86_64")
"""As exports wrote it before they said what it requires."""


@pytest.mark.parametrize(
    ("cpu", "others", "chosen", "reason"),
    [
        pytest.param(machine("x86_64", "avx2"), (), X86, "the CPU lacks vnni", id="saturates"),
        pytest.param(machine("x86_64", "avx2"), (AVX2,), OLDER, "the CPU has no VNNI", id="saturates, older bundle"),
        pytest.param(machine("x86_64", "avx2", "avx512_vnni"), (), ARM, "made for arm64, this is x86_64", id="arm"),
        pytest.param(machine("arm64", "asimd"), (X86,), AVX2, "made for x86_64, this is arm64", id="x86"),
        pytest.param(machine("x86_64", "avx2", "avx512_vnni"), (), X86, "", id="fits"),
        pytest.param(machine("x86_64", "avx2", "avx512_vnni"), (X86,), AVX2, "", id="a bit less, but right"),
        pytest.param(machine("x86_64", "avx2"), (X86,), AVX2, "", id="without vnni"),
    ],
)
def test_a_graph_for_another_cpu_is_not_opened_by_its_id_either(
    cpu: CpuInfo,
    others: tuple,
    chosen: Variant,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(variant_selection, "cpu_features", lambda: cpu)
    opened = Bundle(root=Path(), manifest=manifest(FLOAT, chosen, *others), sha256="")
    if not reason:
        assert select_variant(opened, SessionOptions(), variant_id=chosen.id).variant is chosen
        return
    with pytest.raises(BackendError, match=f"{chosen.id}' of .* does not fit this machine: {reason}.*runtime='auto'"):
        select_variant(opened, SessionOptions(), variant_id=chosen.id)
    with caplog.at_level(logging.WARNING):  # another device's costs are replayed
        assert select_variant(opened, SessionOptions(), variant_id=chosen.id, misfit="warn").variant is chosen
    assert reason in caplog.text
    on_gpu = select_variant(opened, SessionOptions(provider="cuda"), variant_id=chosen.id)
    assert on_gpu.variant is chosen, "whose kernels are not those of the CPU"
