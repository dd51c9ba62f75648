"""The report of ``edge-vseg evaluate``; its figures are in ``test_cli_scheduling.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hand_made import make_profile
from html_page import Page

from edge_vseg import Segmenter, open_bundle

Cli = Callable[..., Any]
ONNX = ("--runtime", "onnxruntime", "--threads", 1)


def test_evaluate_writes_a_report_beside_other_evaluations(
    cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path
) -> None:
    base = ("evaluate", sliced_bundle, "--video", drive_video, *ONNX, "--policy", "fixed", "--json", "--set")
    other, html, plots = tmp_path / "often.json", tmp_path / "e.html", tmp_path / "plots"
    shown = cli(*base, "period_frames=2")
    assert shown.code == 0, shown.err
    other.write_text(shown.out)
    shown = cli(*base, "period_frames=6", "--html", html, "--plots", plots, "--beside", other)
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert (tree["kind"], tree["schema"], tree["data"]) == ("evaluation", 2, str(drive_video))
    assert (tree["bundle"], tree["bundle_sha256"]) == (str(sliced_bundle), open_bundle(sliced_bundle).sha256)
    assert tree["settings"].startswith("Fixed(period_frames=6")
    assert {"python", "onnxruntime", "edge-vseg"} <= set(tree["machine"]["versions"])
    assert tree["machine"]["cpu"]
    assert "--set period_frames=6" in tree["command"]
    assert tree["quality"]["consistency"] > 0
    assert (tree["streaming"], tree["rivals"], tree["cpu_share"]) == (None, {}, None), "there is no rate"
    written = Page(html.read_text(encoding="utf-8"))
    assert written.row("command")[1] == tree["command"]
    assert written.row("temporal consistency")[1] == f"{100 * tree['quality']['consistency']:.2f}"
    assert "Classes" not in written.headings, "there is no truth"
    assert "overlay at frame 12" in written.pictures
    assert "fixed (often)" in html.read_text(encoding="utf-8")
    assert {path.stem for path in plots.iterdir()} == {"pareto", "latency-cdf", "decision-strip"}
    compared = cli("compare", other, other, "--max-regression", 0, "--json")
    assert (compared.code, compared.json()["kind"]) == (0, "evaluation")


def test_a_rate_brings_rivals_and_the_share_of_the_machine(
    cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path
) -> None:
    """Without labels the figures are agreement with every-frame inference."""
    html, paced = tmp_path / "e.html", ("--rate", 25, "--deadline-ms", 30)
    base = ("evaluate", sliced_bundle, "--video", drive_video, *ONNX, *paced, "--max-frames", 15)
    shown = cli(*base, "--html", html, "--json")
    assert shown.code == 0, shown.err
    tree, written = shown.json(), Page(html.read_text(encoding="utf-8"))
    assert {"miou", "every_frame_miou", "agreement", "misses", "timing", "network_scale"} <= set(tree)
    assert {"background_keyframes", "over_budget"} <= set(tree)
    assert 0 < tree["cpu_share"] <= 1
    assert 0 < tree["process_cpu_share"] < 1.2
    assert set(tree["rivals"]) == {"newest-frame", "newest-frame-async"}
    for figures in (tree["streaming"], *tree["rivals"].values()):
        assert set(figures) == {"miou", "agreement", "age_frames", "dropped", "cpu_share"}
        assert figures["miou"] is None
        assert 0.3 < figures["agreement"] <= 1
    newest = tree["rivals"]["newest-frame"]
    assert written.row("newest-frame")[1] == f"{100 * newest['agreement']:.2f}"
    assert "What is shown in time" in written.headings
    table = cli(*base).out
    assert "shown 30 ms after arrival" in table
    assert "newest-frame-async" in table
    assert "share of all cores" in table


def test_a_report_with_truth_tells_classes_and_shows_the_truth(
    cli: Cli, sliced_bundle: Path, drive: list[np.ndarray], tmp_path: Path
) -> None:
    """Which is the network's own map but for the sky, whose upper rows nobody knows."""
    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
    with Segmenter.open(sliced_bundle, threads=1) as segmenter:
        for number, image in enumerate((*drive, *drive[:3])):
            cv2.imwrite(str(tmp_path / f"val/{number:02d}.png"), image)
            labels = segmenter(image).labels.copy()
            labels[:20] = 11  # void
            cv2.imwrite(str(tmp_path / f"valannot/{number:02d}.png"), labels)
    html, fixed = tmp_path / "e.html", ("--policy", "fixed", "--set", "period_frames=3")
    shown = cli("evaluate", sliced_bundle, "--dataset", f"camvid:{tmp_path}", *ONNX, *fixed, "--html", html, "--json")
    assert shown.code == 0, shown.err
    tree, written = shown.json(), Page(html.read_text(encoding="utf-8"))
    assert written.row("mIoU")[1:] == [f"{100 * tree['miou']:.2f}", "100.00"]
    assert {"Classes", "mIoU by age of the labels"} <= set(written.headings)
    for name, found in tree["quality"]["classes"].items():
        figures = [found[key] for key in ("precision", "recall", "dice", "boundary_f")]
        assert written.row(name)[3:] == ["" if value is None else f"{100 * value:.2f}" for value in figures]
    assert written.row("age, frames")[1:] == ["0", "1", "2"]
    shares = tree["quality"]["by_distance"].values()
    assert all(0.4 < share < 1 for share in shares), "keyframes are fused with what was carried"
    assert written.row("mIoU, %")[1:] == [f"{100 * share:.2f}" for share in shares]
    assert {"overlay at frame 12", "truth"} <= set(written.pictures)
    assert "IoU by class" in written.plots


def test_a_class_that_is_made_of_several_is_judged(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    """The dataset has each class of the bundle as two, of other names."""
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    names = [label.name for label in open_bundle(reference_bundle).manifest.labels]
    (tmp_path / "set/classes.json").write_text(json.dumps([f"{half} {name}" for name in names for half in "ab"]))
    (tmp_path / "mine.json").write_text(
        json.dumps([{"name": name, "of": [f"a {name}", f"b {name}"]} for name in names[::-1]])
    )
    with Segmenter.open(reference_bundle) as segmenter:
        for number in range(2):
            image = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
            halves = 2 * segmenter(image).labels
            halves[:, 32:] += 1
            cv2.imwrite(str(tmp_path / f"set/images/{number}.png"), image)
            cv2.imwrite(str(tmp_path / f"set/labels/{number}.png"), halves)
    words = ("evaluate", reference_bundle, "--classes", tmp_path / "mine.json")
    shown = cli(*words, "--dataset", f"folder:{tmp_path}/set", "--json")
    assert shown.code == 0, shown.err
    assert shown.json()["miou"] == 1.0
    refused = cli(*words, "--video", tmp_path / "set/images")
    assert refused.code == 1
    assert "--classes says how --dataset is read" in refused.err


def test_images_that_are_no_stream_have_no_streaming_figures(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    """Not 0 for the policy, and all of it for rivals."""
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    names = [label.name for label in open_bundle(reference_bundle).manifest.labels]
    (tmp_path / "set/classes.json").write_text(json.dumps(names))
    with Segmenter.open(reference_bundle) as segmenter:
        for number in range(3):
            image = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / f"set/images/{number}.png"), image)
            cv2.imwrite(str(tmp_path / f"set/labels/{number}.png"), segmenter(image).labels)
    html, base = tmp_path / "e.html", ("evaluate", reference_bundle, "--dataset", f"folder:{tmp_path}/set")
    shown = cli(*base, "--rate", 25, "--deadline-ms", 5000, "--html", html, "--json")
    assert shown.code == 0, shown.err
    tree, written = shown.json(), Page(html.read_text(encoding="utf-8"))
    assert (tree["miou"], tree["streaming"], tree["rivals"]) == (1.0, None, {})
    streaming = {key: value for key, value in tree["quality"].items() if key.startswith("streaming")}
    assert streaming == {"streaming_miou": None, "streaming_dropped": None, "streaming_rate": None}
    assert tree["misses"] == 0, "a deadline is kept without a stream, too"
    assert "What is shown in time" not in written.headings
    table = cli(*base, "--rate", 25, "--deadline-ms", 30)
    assert table.code == 0, table.err
    assert "mIoU, %" in table.out
    assert "streaming" not in table.out + html.read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plots", "PLACE/plots"), "--html"),
        (("--beside", "PLACE/file"), "--html"),
        (("--html", "PLACE/file"), "--force"),
        (("--html", "PLACE/e.html", "--beside", "PLACE/file"), "is not an evaluation"),
        (("--html", "PLACE/e.html", "--beside", "PLACE/profile.json"), "is not an evaluation"),
        (("--html", "PLACE/e.html", "--beside", "PLACE/nan.json"), "is not an evaluation"),
        (("--html", "PLACE/e.html", "--beside", "PLACE/none.json"), "cannot be read"),
        (("--html", "PLACE/e.html", "--plots", "PLACE/file"), "is not a folder"),
    ],
)
def test_report_options_are_checked_before_evaluating(
    options: tuple, words: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("edge_vseg.cli.evaluate.evaluate_policy", lambda *_, **__: pytest.fail("it was evaluated"))
    (tmp_path / "file").touch()
    (tmp_path / "profile.json").write_bytes(make_profile().to_json())
    (tmp_path / "nan.json").write_text(json.dumps({"policy": "x", "miou": 0.5, "cost": float("nan")}))
    given = (str(each).replace("PLACE", str(tmp_path)) for each in options)
    shown = cli("evaluate", reference_bundle, "--video", clip, *given)
    assert (shown.code, words in shown.err) == (1, True), shown.err
