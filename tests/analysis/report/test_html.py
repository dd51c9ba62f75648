"""The page that all reports share, and the page of a profile, read back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hand_made import make_profile, reading
from html_page import Page

from edge_vseg.analysis.profiling.profile_page import write_profile_page
from edge_vseg.analysis.profiling.profiler import ProfileRun
from edge_vseg.analysis.report import Cell, Facts, Note, Picture, Pictures, Plot, Section, Table, write_page
from edge_vseg.analysis.report.example_frames import ExampleFrame
from edge_vseg.analysis.report.html import render_page
from edge_vseg.bundle.labels import named_labels
from edge_vseg.decision import Decision, Hold
from edge_vseg.errors import OutputError
from edge_vseg.types import Result

EVIL = "<b>&amp;\"'</b><script>alert(1)</script>"
RED = np.full((30, 40, 3), (0, 0, 255), np.uint8)
BLOCKS = (
    Note(text=f"note {EVIL}", tone="bad"),
    Facts(items=((f"fact {EVIL}", f"value {EVIL}", "good"),)),
    Table.of(
        (f"head {EVIL}", "figure"),
        [(Cell(text=f"cell {EVIL}", swatch=(1, 2, 3)), "4.5"), (Cell(text="wide", span=2, prose=True),)],
    ),
    Pictures(items=(Picture.of(RED, f"red {EVIL}"),), title=f"title {EVIL}"),
    Plot(svg='<svg viewBox="0 0 1 1"><g></g></svg>', about=f"plot {EVIL}"),
)


def read(*blocks: object, warning: str = "") -> Page:
    sections = [Section(title=f"section {EVIL}", blocks=tuple(blocks))]
    return Page(render_page(f"page {EVIL}", f"subtitle {EVIL}", sections, warning=warning))


def test_every_text_is_shown_as_it_is() -> None:
    page = read(*BLOCKS, warning=f"warning {EVIL}")
    for what in ("page", "subtitle", "section", "warning", "note", "fact", "value", "head", "cell", "title"):
        assert f"{what} {EVIL}" in page.text
    assert page.plots == [f"plot {EVIL}"]
    assert list(page.pictures) == [f"red {EVIL}"]
    assert page.headings == [f"page {EVIL}", f"section {EVIL}", f"title {EVIL}"]


def test_tables_and_pictures_keep_their_content() -> None:
    page = read(*BLOCKS)
    assert page.rows == [[f"head {EVIL}", "figure"], [f"cell {EVIL}", "4.5"], ["wide"]]
    (picture,) = page.pictures.values()
    np.testing.assert_allclose(picture, RED, atol=4)


def test_the_swatch_is_a_colour_of_css() -> None:
    html = render_page("", "", [Section(title="", blocks=BLOCKS)])
    assert re.search(r"background: rgb\(1, 2, 3\)", html)
    assert 'colspan="2"' in html


def test_a_page_without_sections_and_warning() -> None:
    html = render_page("title", "below", [])
    assert Page(html).headings == ["title"]
    assert 'class="warning"' not in html


def test_wide_pictures_are_made_smaller_and_keep_their_shape() -> None:
    wide = np.zeros((500, 1680, 3), np.uint8)
    page = read(Pictures(items=(Picture.of(wide, "wide"), Picture.of(RED, "small", caption="as it is"))))
    assert page.pictures["wide"].shape[:2] == (125, 420)
    assert page.pictures["small"].shape[:2] == (30, 40)
    assert "as it is" in page.text


def test_writing_replaces_a_page_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for title in ("one", "twö"):
        write_page(path, title, "", [])
        assert Page(path.read_text(encoding="utf-8")).headings == [title]
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("where", ["missing/page.html", "file/page.html", "folder"])
def test_a_page_that_cannot_be_written(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written: \w+"):
        write_page(tmp_path / where, "", "", [])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_the_old_page_is_intact_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    write_page(path, "old", "", [])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_page(path, "new", "", [])
    assert Page(path.read_text(encoding="utf-8")).headings == ["old"]
    assert list(tmp_path.iterdir()) == [path]


class Maps:
    """What a result computes when it is asked."""

    def __init__(self, probabilities: np.ndarray, age_map: np.ndarray) -> None:
        self.logits = None
        self.probabilities = probabilities
        self.age_map = age_map
        self.age_ms_map = 40 * age_map
        self.drift_map = np.zeros((4, 5), np.float32)


def example(at_s: float, probabilities: np.ndarray | None, age_map: np.ndarray | None) -> ExampleFrame:
    labels = np.zeros((30, 40), np.uint8)
    made = Result(
        labels=labels,
        maps=None if probabilities is None else Maps(probabilities, age_map),
        seq=0,
        capture_ns=0,
        done_ns=1,
        decision=Decision(actions=(Hold(),), reason="<b>"),
    )
    return ExampleFrame(image=RED, result=made, when=f"{at_s:.1f} s")


def profile_page(path: Path, examples: tuple[ExampleFrame, ...] = (), **changes: object) -> Page:
    run = ProfileRun(profile=make_profile(**changes), examples=examples, labels=named_labels("camvid"))
    write_profile_page(path, run)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_of_a_profile_has_its_figures(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((11, 8, 10), np.float32)
    examples = (example(0.5, None, None), example(1.5, scores, np.full((8, 10), 3, np.float32)))
    page = profile_page(tmp_path / "page.html", examples)
    assert page.row("image to label map") == [
        "image to label map", "99", "11.00", "10.00", "15.00", "20.00", "30.00", "35.00", "40.00",
    ]  # fmt: skip
    assert page.row("infer")[1:4] == ["33", "8.80", "8.00"]
    assert page.row("0 to 0.1")[-2:] == ["1", "2"]
    assert page.row("0.6 s, frame 17") == [
        "0.6 s, frame 17", "40.0", "infer took longer than usual", "infer: fits <25 & more>",
    ]  # fmt: skip
    assert page.row("whole")[1:] == ["conv<1>", "Conv", "3.000", "60.0%"]
    assert page.row("kernel") == ["kernel", "6.1"]
    assert list(page.pictures) == ["overlay at 0.5 s", "overlay at 1.5 s", "uncertainty at 1.5 s", "age at 1.5 s"]
    assert len(page.plots) == 6
    for text in ("Throttled: too hot", "9.00%", "+1.5 MB/h", "0.17 J", "age, oldest 3 frames", "hold: <b>"):
        assert text in page.text
    assert "ended early" not in page.text


def test_the_page_of_a_minimal_profile(tmp_path: Path) -> None:
    bare = make_profile()
    page = profile_page(
        tmp_path / "page.html",
        complete=False, stopped="the <camera> is gone", pace="flat-out", rate=None, deadline_ms=None, limit_ms=None,
        missed=0, causes={}, worst=[], policy="",
        timeline=bare.timeline[:1], last=bare.last[:1], steps_ms={"infer": bare.latency_ms}, sources={"inferred": 3},
        curve=bare.curve[:1], energy_j={}, operators=[], without_operators="no <tool>",
        readings=[reading(0.0, cpu_percent=(), frequency_mhz=(), temperature_c={}, power_w={})],
    )  # fmt: skip
    assert "Deadline misses" not in page.headings
    for text in (
        "Not available: no <tool>",
        "The run ended early, after 3 s: the <camera> is gone.",
        "as fast as possible",
        "No throttling reported",
        "No policy",
    ):
        assert text in page.text


def test_a_profile_without_misses_says_so(tmp_path: Path) -> None:
    page = profile_page(tmp_path / "page.html", missed=0, causes={}, worst=[])
    assert "None." in page.text
    assert "0.00%" in page.text
