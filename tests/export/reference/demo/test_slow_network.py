"""Exporting a network at the size at which it is slower than the camera."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edge_vseg.analysis.evaluation import VariantScore
from edge_vseg.bundle.manifest import Precision
from edge_vseg.export.reference.demo.input_size import MeasuredInput, in_range
from edge_vseg.export.reference.demo.slow_network import SlowNetwork, live_variant, make_slow_network


def make(measured_ms: float, ns_per_pixel: list[float]) -> tuple[SlowNetwork, list[tuple[int, int]]]:
    """Measure 360x480 at ``measured_ms``; the n-th export then takes its own time for each pixel."""
    sizes: list[tuple[int, int]] = []

    def export(size_hw: tuple[int, int]) -> tuple[Path, str]:
        sizes.append(size_hw)
        return Path(f"export-{len(sizes)}"), "a variant"

    def timer(bundle: Path, variant: str) -> float:
        assert (bundle.name, variant) == (f"export-{len(sizes)}", "a variant")
        return ns_per_pixel[len(sizes) - 1] * math.prod(sizes[-1]) / 1e6

    measured = MeasuredInput(size_hw=(360, 480), network_ms=measured_ms)
    return make_slow_network(measured, 4 / 3, (30.0, 60.0), export, timer), sizes


def test_one_export_where_the_network_takes_what_is_expected() -> None:
    network, sizes = make(20.0, [115.0])
    assert sizes == [(640, 864)]
    assert network.bundle == Path("export-1")
    assert network.input.network_ms == pytest.approx(115.0 * 640 * 864 / 1e6)
    assert in_range(network.input.periods)
    assert (network.input.rate, network.wanted_rate) == (30.0, 30.0)


def test_another_export_where_it_takes_twice_as_long() -> None:
    network, sizes = make(20.0, [230.0, 230.0])
    assert len(sizes) == 2
    assert math.prod(sizes[1]) < math.prod(sizes[0])
    assert network.bundle == Path("export-2")
    assert network.input.size_hw == sizes[1]
    assert network.input.network_ms == pytest.approx(230.0 * math.prod(sizes[1]) / 1e6)
    assert in_range(network.input.periods)


def test_no_third_export() -> None:
    network, sizes = make(20.0, [230.0, 20.0, 20.0])
    assert len(sizes) == 2
    assert network.input.network_ms == pytest.approx(20.0 * math.prod(sizes[1]) / 1e6)


def test_a_higher_rate_where_the_largest_size_is_too_fast() -> None:
    network, sizes = make(11.0, [40.0])  # 64 ns for a pixel are expected: 54 ms, 1.6 periods; it takes 34 ms
    assert len(sizes) == 1
    assert (network.input.rate, network.wanted_rate) == (60.0, 30.0)
    assert network.input.network_ms == pytest.approx(40.0 * math.prod(sizes[0]) / 1e6)
    assert in_range(network.input.periods)


def score(runtime: str, precision: Precision, total_ms: float) -> VariantScore:
    return VariantScore(
        variant=f"{runtime}/{precision}",
        runtime=runtime,
        precision=precision,
        infer_ms=total_ms,
        total_ms=total_ms,
        speed_up=None,
        miou=None,
        iou={},
        agreement=None,
    )


def test_float_runs_live_because_its_export_is_quick() -> None:
    int8 = [score("onnxruntime", "int8", 9.0), score("openvino", "int8", 4.0)]
    floats = [score("onnxruntime", "float", 20.0), score("openvino", "float", 19.0)]
    assert live_variant([*int8, *floats]).variant == "onnxruntime/float"
    assert live_variant(int8).variant == "openvino/int8"
