from __future__ import annotations

import pytest
from tiny_network import variant

from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.selection.compatibility import fit_options, split_by_fit


def cpu(architecture: str, *features: str) -> CpuInfo:
    return CpuInfo(model="", architecture=architecture, cores=4, features=features)


VNNI = cpu("x86_64", "avx2", "avx512_vnni")
AVX2 = cpu("x86_64", "avx2")
OLD = cpu("x86_64")
PI_4 = cpu("arm64", "asimd")
PI_5 = cpu("arm64", "asimd", "asimddp")

VARIANTS = [
    variant("ort/int8-x86_64", "onnxruntime", target="x86_64", precision="int8"),
    variant("ort/int8-x86_64-avx2", "onnxruntime", target="x86_64-avx2", precision="int8"),
    variant("ort/int8-arm64", "onnxruntime", target="arm64", precision="int8"),
    variant("ort/int8-jetson", "onnxruntime", target="jetson", precision="int8"),
    variant("ort/float", "onnxruntime"),
]


@pytest.mark.parametrize(
    ("machine", "gpu", "expected"),
    [
        pytest.param(VNNI, (), ["ort/int8-x86_64", "ort/float"], id="vnni"),
        pytest.param(AVX2, (), ["ort/int8-x86_64-avx2", "ort/float"], id="avx2"),
        pytest.param(OLD, (), ["ort/int8-x86_64", "ort/float"], id="old-x86"),
        pytest.param(VNNI, ("cpu", "cuda"), ["ort/int8-x86_64", "ort/float"], id="x86-with-cuda"),
        pytest.param(PI_5, ("cpu",), ["ort/int8-arm64", "ort/float"], id="pi5"),
        pytest.param(PI_5, ("cpu", "tensorrt"), ["ort/int8-arm64", "ort/int8-jetson", "ort/float"], id="jetson"),
        pytest.param(cpu("riscv64"), (), ["ort/float"], id="riscv"),
    ],
)
def test_machines(machine: CpuInfo, gpu: tuple[str, ...], expected: list[str]) -> None:
    fit, unfit = split_by_fit(VARIANTS, machine, {"onnxruntime": gpu})
    assert [v.id for v in fit] == expected
    assert {v.id for v in VARIANTS} == {*expected, *unfit}
    assert all(unfit.values())


@pytest.mark.parametrize(
    ("index", "machine", "words"),
    [
        pytest.param(0, PI_5, "made for x86_64, this is arm64", id="x86-on-arm"),
        pytest.param(0, AVX2, "no VNNI, which 'ort/int8-x86_64-avx2' is made for", id="full-range-without-vnni"),
        pytest.param(1, VNNI, "has VNNI, which 'ort/int8-x86_64' is made for", id="reduced-range-with-vnni"),
        pytest.param(1, OLD, "lacks avx2", id="avx2"),
        pytest.param(2, VNNI, "made for arm64, this is x86_64", id="arm-on-x86"),
        pytest.param(3, VNNI, "made for jetson (arm64), this is x86_64", id="jetson-on-x86"),
        pytest.param(3, PI_5, "neither the tensorrt nor the cuda provider", id="jetson-on-pi"),
    ],
)
def test_reasons(index: int, machine: CpuInfo, words: str) -> None:
    _, unfit = split_by_fit(VARIANTS, machine, {})
    assert words in unfit[VARIANTS[index].id]


def test_reduced_range_alone_serves_a_cpu_with_vnni() -> None:
    fit, _ = split_by_fit(VARIANTS[1:2], VNNI, {})
    assert fit == VARIANTS[1:2]


def test_other_runtimes_and_precisions_do_not_compete() -> None:
    others = [
        variant("ov/int8", "openvino", target="x86_64-avx2", precision="int8"),
        variant("ort/half", "onnxruntime", target="x86_64-avx2", precision="float16"),
    ]
    fit, _ = split_by_fit([VARIANTS[0], *others], VNNI, {})
    assert fit == [VARIANTS[0], *others]


@pytest.mark.parametrize(
    ("requires", "machine", "reason"),
    [
        pytest.param(("vnni",), VNNI, "", id="either-vnni"),
        pytest.param(("vnni",), AVX2, "the CPU lacks vnni", id="no-vnni"),
        pytest.param(("avx512_vnni", "amx_int8"), VNNI, "the CPU lacks amx_int8", id="names-the-missing-one"),
        pytest.param(("dotprod",), PI_5, "", id="dotprod"),
        pytest.param(("i8mm", "sve"), PI_5, "the CPU lacks i8mm, sve", id="both"),
    ],
)
def test_required_features(requires: tuple[str, ...], machine: CpuInfo, reason: str) -> None:
    _, unfit = split_by_fit([variant("one", "onnxruntime", requires=requires)], machine, {})
    assert unfit.get("one", "") == reason


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param(PI_4, ["ov/float", "tfl/int8"], id="pi4"),
        pytest.param(PI_5, ["ov/int8", "ov/float", "tfl/int8"], id="pi5"),
        pytest.param(cpu("arm64"), ["ov/int8", "ov/float", "tfl/int8"], id="features-unknown"),
        pytest.param(OLD, ["ov/int8", "ov/float", "tfl/int8"], id="old-x86"),
    ],
)
def test_int8_of_openvino_needs_the_dot_product_on_arm(machine: CpuInfo, expected: list[str]) -> None:
    """On a Cortex-A72 OpenVINO 2026.4 does not compile int8, and 2025.2 takes longer for it than for float."""
    variants = [
        variant("ov/int8", "openvino", precision="int8"),
        variant("ov/float", "openvino"),
        variant("tfl/int8", "tflite", precision="int8"),
    ]
    fit, unfit = split_by_fit(variants, machine, {})
    assert [v.id for v in fit] == expected
    assert all("lacks dotprod" in reason for reason in unfit.values())


def test_unknown_target() -> None:
    fit, unfit = split_by_fit([variant("odd", "tflite", target="mips")], VNNI, {})
    assert fit == []
    assert unfit == {"odd": "unknown target 'mips'"}


@pytest.mark.parametrize(
    ("providers", "expected", "extra"),
    [
        pytest.param(("cpu", "cuda", "tensorrt"), "tensorrt", {"trt_int8_enable": "1"}, id="tensorrt"),
        pytest.param(("cpu", "cuda"), "cuda", {}, id="cuda"),
    ],
)
def test_jetson_gets_its_provider(providers: tuple[str, ...], expected: str, extra: dict[str, str]) -> None:
    options = fit_options(VARIANTS[3], SessionOptions(threads=2), providers)
    assert (options.provider, options.provider_options, options.threads) == (expected, extra, 2)


@pytest.mark.parametrize(
    ("asked", "providers", "expected"),
    [
        pytest.param("", ("cpu", "cuda", "tensorrt"), ("tensorrt", {"trt_fp16_enable": "1"}), id="jetson, tensorrt"),
        pytest.param("", ("cpu", "cuda"), ("cuda", {}), id="jetson, cuda"),
        pytest.param("", ("cpu", "xnnpack"), ("", {}), id="arm64 without a GPU"),
        pytest.param("", (), ("", {}), id="elsewhere"),
        pytest.param("tensorrt", (), ("tensorrt", {"trt_fp16_enable": "1"}), id="tensorrt by name"),
        pytest.param("cpu", ("cpu", "cuda"), ("cpu", {}), id="cpu by name"),
    ],
)
def test_float16_gets_the_gpu_and_its_mode(asked: str, providers: tuple[str, ...], expected: tuple[str, dict]) -> None:
    half = variant("ort/float16", "onnxruntime", precision="float16")
    options = fit_options(half, SessionOptions(provider=asked), providers)
    assert (options.provider, dict(options.provider_options)) == expected
    whole = variant("ort/float", "onnxruntime", precision="float")
    assert fit_options(whole, SessionOptions(provider=asked), providers) == SessionOptions(provider=asked)


def test_float16_of_other_runtimes_is_left_to_them() -> None:
    half = variant("ov/float16", "openvino", precision="float16")
    assert fit_options(half, SessionOptions(), ("cuda",)).provider == ""


def test_the_callers_provider_is_kept() -> None:
    asked = SessionOptions(provider="cuda")
    assert fit_options(VARIANTS[3], asked, ("cpu", "cuda", "tensorrt")) is asked
    off = SessionOptions(provider_options={"trt_int8_enable": "0"})
    assert fit_options(VARIANTS[3], off, ("tensorrt",)).provider_options == {"trt_int8_enable": "0"}
    assert fit_options(VARIANTS[2], off, ("tensorrt",)) is off
