"""A real browser opens the page of a profile: at a phone's width and a desktop's, light and dark."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from hand_made import make_profile
from test_html import BLOCKS, RED, example

from edge_vseg.analysis.profiling.profile_page import write_profile_page
from edge_vseg.analysis.profiling.profiler import ProfileRun
from edge_vseg.analysis.report import Cell, Facts, Note, Picture, Pictures, Section, Table, write_page
from edge_vseg.bundle.labels import named_labels

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path"), pytest.mark.slow]

LONG = "onnxruntime/int8-arm64-" + "wide" * 60
# Told by the title, for the DOM is all that comes back; plots and tables may be wider, in a box that scrolls.
PROBE = """<script>addEventListener("load", () => {
  const wide = [...document.querySelectorAll(".scroll, .plot")].every(e => getComputedStyle(e).overflowX === "auto");
  const broken = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
  document.title = JSON.stringify([document.documentElement.scrollWidth, innerWidth, wide, broken]);
});</script>"""


def browse(page: Path, tmp_path: Path, *options: str) -> str:
    """What Chromium writes to standard output."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'browser'}", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a profile, and one with every kind of block and the longest words."""
    folder = tmp_path_factory.mktemp("pages")
    scores = np.random.default_rng(0).random((11, 8, 10), np.float32)
    run = ProfileRun(
        profile=make_profile(variant=LONG, video=LONG),
        examples=(example(0.5, scores, np.ones((8, 10), np.float32)),),
        labels=named_labels("camvid"),
    )
    write_profile_page(folder / "profile.html", run)
    hard = (
        *BLOCKS,
        Note(text=LONG),
        Facts(items=tuple((LONG, LONG, "warn") for _ in range(5))),
        Table.of(["name", *map(str, range(30))], [[Cell(text=LONG, prose=True), *["12345.67"] * 30]]),
        Pictures(items=tuple(Picture.of(RED, f"{number}", LONG) for number in range(7)), title=LONG),
    )
    write_page(folder / "blocks.html", LONG, LONG, [Section(title=LONG, blocks=hard)], warning=LONG)
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["profile", "blocks"])
def test_the_page_is_no_wider_than_the_window(name: str, width: int, pages: dict[str, Path], tmp_path: Path) -> None:
    """Inside of a frame, for no window of Chromium's is narrower than 500 pixels."""
    probed = tmp_path / "probed.html"
    html = pages[name].read_text(encoding="utf-8")
    probed.write_text(html.replace("</head>", f"{PROBE}</head>"), encoding="utf-8")
    framed = tmp_path / "framed.html"
    framed.write_text(
        f'<!doctype html><title>none</title><iframe id="f" src="probed.html" width="{width}" height="900" '
        'style="border: 0" onload="setTimeout(() => { document.title = f.contentDocument.title }, 50)"></iframe>',
        encoding="utf-8",
    )
    dom = browse(framed, tmp_path, "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom")
    (told,) = re.findall(r"<title>\[(\d+),(\d+),(true|false),(\d+)\]</title>", dom)
    assert told[1] == str(width)
    assert int(told[0]) <= width, "the page has to be moved sideways"
    assert told[2:] == ("true", "0")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_dark_where_the_reader_likes_it_dark(
    scheme: str, width: int, pages: dict[str, Path], tmp_path: Path
) -> None:
    picture = tmp_path / "example.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(pages["profile"], tmp_path, f"--window-size={width},1400", f"--screenshot={picture}", *dark)
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    assert grey is not None, "no picture was taken"
    ground = np.median(grey)
    assert ground < 60 if scheme == "dark" else ground > 220
    assert grey.mean() < 80 if scheme == "dark" else grey.mean() > 200
    written = np.abs(grey.astype(int) - ground) > 100
    assert 0.005 < written.mean() < 0.3, "texts stand out from the ground"
    rows = written.any(axis=1)
    assert rows[:200].any()
    assert rows[-300:].any(), "the page is full, not only its head"


def test_texts_of_plots_are_light_on_the_dark_page(pages: dict[str, Path], tmp_path: Path) -> None:
    """The same page with nothing else in it: what a drawing writes takes the colour of the page."""
    html = pages["profile"].read_text(encoding="utf-8")
    (svg, *_) = re.findall(r'<div class="plot".*?</svg></?div>|<div class="plot".*?</svg>\s*</div>', html, re.DOTALL)
    alone = tmp_path / "alone.html"
    alone.write_text(html.split("<body>")[0] + f"<body>{svg}</body></html>", encoding="utf-8")
    values = []
    for scheme in ("light", "dark"):
        picture = tmp_path / f"{scheme}.png"
        dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
        browse(alone, tmp_path, "--window-size=800,400", f"--screenshot={picture}", *dark)
        values.append(cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE))
    light, dark_one = values
    assert np.percentile(light, 0.2) < 80
    assert np.percentile(dark_one, 99.8) > 180
