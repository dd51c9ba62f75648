"""The roofline: bytes and products by hand, peaks of this machine, and what the report says of them."""

from __future__ import annotations

import pytest
from networks import Net, staged

from edge_vseg.export.roofline import MachinePeaks, NodeWork, make_roofline, measure_peaks, node_work
from edge_vseg.export.speed_report import bound_by

PEAKS = MachinePeaks(gmac_per_s={"float": 50.0, "int8": 200.0}, gb_per_s=10.0)


def test_work_of_nodes_by_hand() -> None:
    net = Net()
    wide = net.conv("image", 3, 8)
    depthwise = net.conv(wide, 8, 8, 3, group=8, bias=False)
    model = staged(net.model(net.node("Add", wide, depthwise)))
    work = {each.kind: each for each in node_work(model).values()}
    pixels = 24 * 32
    assert work["Conv"].macs == pixels * 8 * 3 * 9
    assert work["Conv"].elements == pixels * 3 + 8 * 3 * 9 + 8 + pixels * 8
    assert work["depthwise Conv"].macs == pixels * 8 * 9
    assert work["depthwise Conv"].elements == 2 * pixels * 8 + 8 * 9
    assert work["Add"] == NodeWork(kind="Add", macs=0, elements=3 * pixels * 8)


def test_the_longer_of_the_two_bounds() -> None:
    work = {
        "thin": NodeWork(kind="depthwise Conv", macs=9_000_000, elements=2_000_000),
        "thick": NodeWork(kind="Conv", macs=200_000_000, elements=1_000_000),
        "absent": NodeWork(kind="Relu", macs=0, elements=1),
    }
    found = make_roofline("int8", (), {"thin": 0.4, "thick": 1.6, "frame.Sub": 9.0}, work, PEAKS)
    thick, thin = found.nodes
    assert (thick.name, thick.bound, thick.least_ms) == ("thick", "arithmetic", pytest.approx(1.0))
    assert (thin.name, thin.bound, thin.least_ms, thin.bytes) == ("thin", "memory", pytest.approx(0.2), 2_000_000)
    assert found.ms == pytest.approx(2.0)
    assert found.least_ms == pytest.approx(1.2)
    assert found.memory_share == pytest.approx(0.2)
    assert found.gmac_per_s == 200.0


def test_nodes_in_float_have_float_bytes_and_the_float_peak() -> None:
    work = {"thick": NodeWork(kind="Conv", macs=200_000_000, elements=1_000_000)}
    (node,) = make_roofline("int8", ("thick",), {"thick": 5.0}, work, PEAKS).nodes
    assert node.least_ms == pytest.approx(4.0)
    assert node.bytes == 4_000_000


def test_nothing_timed() -> None:
    assert make_roofline("int8", (), {}, {}, PEAKS) is None


def test_in_words() -> None:
    work = {"thin": NodeWork(kind="Conv", macs=0, elements=2_000_000)}

    def words(ms: float) -> str:
        return bound_by(make_roofline("int8", (), {"thin": ms}, work, PEAKS).nodes[0])

    assert words(0.4) == "memory, 50% of the roof"
    assert words(0.1) == "memory, 100% of the roof"
    assert words(2.0) == "its kernel: 10% of the roof (memory)"


def test_peaks_of_this_machine() -> None:
    """Not how fast it is, but what no machine is: between a thousandth and a thousand times a desktop's."""
    found = measure_peaks(1)
    assert 0.1 < found.gmac_per_s["float"] < 1e5
    assert 0.1 < found.gmac_per_s["int8"] < 1e6
    assert 0.05 < found.gb_per_s < 1e4
