"""What the report says about time: tables and figures, read back out of the page."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from test_export_report import INT8, Page, manifest_of

from edge_vseg.analysis.report import write_page
from edge_vseg.analysis.report.int8_plots import FrontPoint, RoofPoint, precision_front, roofline_plot
from edge_vseg.bundle.manifest import PrecisionTrial, Roofline, RooflineNode
from edge_vseg.export.speed_report import speed_sections

pytestmark = pytest.mark.usefixtures("real_figures")

TRIALS = (
    PrecisionTrial(
        float_nodes=0, agreement=0.971, latency_ms=4.0, taken=False, quartiles_ms=(3.9, 4.2), speedup=2.5
    ),
    PrecisionTrial(
        float_nodes=9, agreement=0.989, latency_ms=5.0, taken=True, quartiles_ms=(4.8, 5.5), speedup=2.0
    ),
)  # fmt: skip
NODES = (
    RooflineNode(name="wide", kind="Conv", ms=2.0, macs=200_000_000, bytes=1_000_000, least_ms=1.0, bound="arithmetic"),
    RooflineNode(
        name="thin", kind="depthwise Conv", ms=1.0, macs=9_000_000, bytes=8_000_000, least_ms=0.8, bound="memory"
    ),
    RooflineNode(name="slow", kind="Resize", ms=0.5, macs=0, bytes=100_000, least_ms=0.01, bound="memory"),
)  # fmt: skip
ROOF = Roofline(gmac_per_s=200.0, gb_per_s=10.0, ms=4.0, least_ms=2.0, memory_share=0.375, nodes=NODES)


def page_of(tmp_path, *variants) -> Page:
    path = tmp_path / "report.html"
    write_page(path, "net", "", speed_sections(manifest_of(*variants)))
    return Page(path)


def test_all_that_was_tried(tmp_path) -> None:
    page = page_of(tmp_path, replace(INT8, trials=TRIALS))
    rows = [row for row in page.rows if row and row[0] == INT8.id]
    assert rows == [
        [INT8.id, "0", "97.10%", "4.0", "3.9 to 4.2", "2.50 x", ""],
        [INT8.id, "9", "98.90%", "5.0", "4.8 to 5.5", "2.00 x", "taken"],
    ]
    assert "9 in float, taken" in page.text, "written into the figure"


def test_what_bounds_the_slowest_nodes(tmp_path) -> None:
    in_float = replace(
        INT8, id="onnxruntime/float", precision="float", roofline=replace(ROOF, ms=12.0, least_ms=8.0), trials=()
    )
    page = page_of(tmp_path, in_float, replace(INT8, precision="int8", roofline=ROOF))
    assert page.row(INT8.id)[1:] == ["4.00", "2.00", "38% of the time", "200 GMAC/s", "10 GB/s"]
    assert page.row("wide")[-1] == "arithmetic, 50% of the roof"
    assert page.row("thin")[-1] == "memory, 80% of the roof"
    assert page.row("slow")[-1] == "its kernel: 2% of the roof (memory)"
    text = " ".join(page.text.split())
    assert "the roof allows 6.0 times its speed, and against float at its own roof 4.0 times; 2.50 was measured" in text


def test_nothing_measured_nothing_said() -> None:
    assert speed_sections(manifest_of(replace(INT8, trials=TRIALS[:1]))) == []


def test_old_bundles_without_spreads_have_their_front(tmp_path) -> None:
    old = tuple(replace(each, quartiles_ms=None, speedup=None) for each in TRIALS)
    page = page_of(tmp_path, replace(INT8, trials=old))
    assert [INT8.id, "9", "98.90%", "5.0", "", "", "taken"] in page.rows


def test_graphs_for_another_machine_have_no_times(tmp_path) -> None:
    foreign = tuple(replace(each, latency_ms=None, quartiles_ms=None, speedup=None) for each in TRIALS)
    page = page_of(tmp_path, replace(INT8, trials=foreign))
    assert [INT8.id, "9", "98.90%", "", "", "", "taken"] in page.rows
    assert "9 in float" not in page.text, "no figure of speed"


def test_figures_as_pictures(tmp_path) -> None:
    front = [
        FrontPoint(name="0", ms=4.0, quartiles_ms=(3.9, 4.2), agreement=0.97),
        FrontPoint(name="9", ms=5.0, quartiles_ms=None, agreement=0.99, taken=True),
    ]
    assert "9, taken" in precision_front("front", "int8, ms", front, 10.0, tmp_path).svg
    nodes = [
        RoofPoint(kind="Conv", macs_per_byte=50.0, gmac_per_s=100.0, share=0.5),
        RoofPoint(kind="Resize", macs_per_byte=0.0, gmac_per_s=0.0, share=0.1),
    ]
    drawn = roofline_plot("roof", "int8", nodes, 200.0, 10.0, tmp_path)
    assert ">Conv<" in drawn.svg
    assert "Resize" not in drawn.svg, "it computes no products"
    assert "mathdefault" not in drawn.svg
    assert roofline_plot("empty", "int8", [], 200.0, 10.0).svg
    assert {path.name for path in tmp_path.glob("*.png")} == {"front.png", "roof.png"}
