"""Figures as SVG in the page's own colours, and as PNG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from html_page import Page

from edge_vseg.analysis.report import Section
from edge_vseg.analysis.report.figures import INK, draw
from edge_vseg.analysis.report.html import render_page
from edge_vseg.errors import OutputError


def onto(figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], color="#123456", label="a <line> & more")
    axes.set(xlabel="x <b>", ylabel="$y$ and _x", title="title")
    axes.legend()


def test_lines_of_the_drawing_take_the_colour_of_the_page() -> None:
    svg = draw("lines", "", onto).svg
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert INK not in svg
    texts = [each for each in root.iter() if each.tag.endswith("}text")]
    assert len(texts) > 8
    assert all("fill: currentColor" in each.get("style", "") for each in texts)
    assert svg.count("stroke: currentColor") > 2
    assert "stroke: #123456" in svg


def test_no_colour_is_one_that_vanishes_on_a_dark_page() -> None:
    svg = draw("lines", "", onto).svg
    assert set(re.findall(r"(?:fill|stroke): (\S+?)[;\"]", svg)) <= {"none", "currentColor", "#123456", "#888888"}


def test_texts_stay_texts() -> None:
    """In the page's font; a dollar is a dollar and begins no formula."""
    root = ET.fromstring(draw("lines", "", onto).svg)
    texts = ["".join(each.itertext()).strip() for each in root.iter() if each.tag.endswith("}text")]
    assert {"x <b>", "$y$ and _x", "a <line> & more", "title"} <= set(texts)
    fonts = {font for each in root.iter() for font in re.findall(r"font[^;]*sans-serif", each.get("style", ""))}
    assert fonts
    assert all("DejaVu" not in font for font in fonts)


def test_two_drawings_share_a_page(tmp_path: Path) -> None:
    """Their ids differ, or the second would be clipped by the first one's frame."""
    plots = [draw(name, f"about {name}", onto) for name in ("one", "two")]
    page = Page(render_page("", "", [Section(title="", blocks=tuple(plots))]))
    assert page.plots == ["about one", "about two"]
    assert len(page.ids) >= 4


def test_the_same_figure_is_the_same_drawing() -> None:
    assert draw("same", "", onto) == draw("same", "", onto)


def test_a_png_is_written_on_white(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "plots"
    draw("lines", "", onto, height=2.0, folder=folder)
    draw("lines", "", onto, height=2.0, folder=folder)
    assert [path.name for path in folder.iterdir()] == ["lines.png"]
    picture = cv2.imread(str(folder / "lines.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape[:2] == (220, 990)
    assert (picture[0, 0, :3] == 255).all()
    assert np.unique(picture.reshape(-1, picture.shape[2]), axis=0).shape[0] > 20
    assert list(tmp_path.rglob("*.svg")) == []


@pytest.mark.parametrize("where", ["file", "file/plots"])
def test_an_unusable_folder_raises(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file.* cannot be written: (File exists|Not a directory)"):
        draw("lines", "", onto, folder=tmp_path / where)


def test_settings_of_the_caller_are_left_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw("lines", "", onto)
    assert dict(mpl.rcParams) == before
