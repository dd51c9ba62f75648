"""``edge-vseg tune``, from bundles and a video to a bundle that needs no options."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_profile import write_board_profile

from edge_vseg import Segmenter, open_bundle
from edge_vseg.cli.options import parse_classes
from edge_vseg.cli.tune_study import StudyPlan, _clip
from edge_vseg.tuning.clip import read_truth

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def board(sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "board.json"
    write_board_profile(path, sliced_bundle, 60.0)
    return path


def options(video: Path, board: Path, output: Path, *more: object) -> tuple[object, ...]:
    limits = ("--rate", 10, "--deadline-ms", 30, "--cpu-share", 0.8)
    return ("--frames", video, "--device", board, *limits, "--max-frames", 16, "-o", output, *more)


def test_from_a_bundle_to_a_bundle(
    cli: Cli, sliced_bundle: Path, drive_video: Path, board: Path, tmp_path: Path
) -> None:
    best = tmp_path / "best.evseg"
    shown = cli("tune", sliced_bundle, *options(drive_video, board, best, "--trials", 10, "--json"))
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert [trial["number"] for trial in tree["trials"]] == list(range(10))
    assert tree["trials"][0]["default"]
    assert tree["machine"] == "board-2-0123abcd"
    taken = tree["trials"][tree["taken"]]
    assert taken["allowed"]
    assert taken["figures"]["p99_ms"] <= 30
    assert taken["figures"]["cpu_share"] <= 0.8
    allowed = [trial["figures"]["quality"] for trial in tree["trials"] if trial["allowed"]]
    assert taken["figures"]["quality"] == max(allowed)
    schedule = open_bundle(best).manifest.schedule
    assert schedule is not None
    assert (schedule.policy, schedule.parameters) == (taken["setting"]["policy"], taken["setting"]["parameters"])
    assert schedule.origin["wish"] == "10 frames a second, 30 ms in 99 of 100 frames, 80% of the cores"
    with Segmenter.open(best) as segmenter:
        assert segmenter.policy.name == schedule.policy
    page = Path(tree["page"]).read_text(encoding="utf-8")
    assert page.count('<g class="dot"') == 20, "ten trials in two plots"
    assert "trial 3" in page
    assert len(re.findall("data:image/jpeg", page)) >= 4
    # The same command finds everything done, and --take writes another setting.
    before = time.monotonic()
    other = next(t["number"] for t in tree["trials"] if t["figures"] and t["number"] != tree["taken"])
    again = cli("tune", sliced_bundle, *options(drive_video, board, best, "--trials", 10, "--take", other))
    assert again.code == 0, again.err
    assert time.monotonic() - before < 60
    assert f"with trial {other} as its schedule" in again.out
    written = open_bundle(best).manifest.schedule
    assert written is not None
    assert written.policy == tree["trials"][other]["setting"]["policy"]
    assert set(tree["recommended"]) == {"best", "balanced", "thrifty"}, "also where they coincide"
    (tmp_path / "best.study" / "study.html").unlink()
    for bad in ("fastest", "77"):
        refused = cli("tune", sliced_bundle, *options(drive_video, board, best, "--trials", 10, "--take", bad))
        assert refused.code == 1
        assert f"--take {bad}" in refused.err or f"--take '{bad}'" in refused.err
        assert (tmp_path / "best.study" / "study.html").exists() == (bad == "77"), "a word is checked before the study"


def test_nothing_keeps_the_limits(
    cli: Cli, sliced_bundle: Path, drive_video: Path, board: Path, tmp_path: Path
) -> None:
    best = tmp_path / "best.evseg"
    limits = ("--trials", 3, "--deadline-ms", 0.5)
    shown = cli("tune", sliced_bundle, *options(drive_video, board, best), *limits)
    assert shown.code == 3
    assert "no setting keeps the limits" in shown.out
    assert not best.exists()
    assert "No setting keeps the limits" in (tmp_path / "best.study" / "study.html").read_text(encoding="utf-8")


def test_an_interrupted_study_goes_on(sliced_bundle: Path, drive_video: Path, board: Path, tmp_path: Path) -> None:
    best = tmp_path / "best.evseg"
    words = [sys.executable, "-m", "edge_vseg.cli", "tune", str(sliced_bundle)]
    words += list(map(str, options(drive_video, board, best, "--trials", 12, "--json")))
    trials = tmp_path / "best.study" / "trials"
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (trials.is_dir() and len(list(trials.iterdir())) >= 3) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not best.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in trials.iterdir()}
    assert len(kept) >= 3
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["trials"]) == 12
    assert all((trials / name).stat().st_mtime_ns == at for name, at in kept.items()), "known trials are not run again"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--processes", "2", "--frames", "VIDEO"), "trials that measure run one at a time"),
        (("--frames", "VIDEO", "--device", "here", "--device", "BOARD"), "here measures and a profile is replayed"),
        (("--frames", "missing.mp4"), "missing.mp4 does not exist"),
        (("--frames", "drive.mcap:/front"), "only camera is on one topic; copy /front into a recording"),
        (("--frames", "rtsp://me:secret@10.0.0.4/1"), "10.0.0.4/1 does not exist; give a video file"),
        (("--frames", "VIDEO", "--cpu-share", "50"), "0.5 is half of them"),
        ((), "give --frames VIDEO, or --dataset"),
        (("--frames", "VIDEO", "--precision", "int8", "--tiles", "96x128"), "--tiles, --precision: only an export"),
        (("other.onnx", "--frames", "VIDEO"), "other.onnx is no bundle; tune one network, or several bundles"),
    ],
)
def test_bad_options(
    words: tuple[str, ...], message: str, cli: Cli, sliced_bundle: Path, drive_video: Path, board: Path, tmp_path: Path
) -> None:
    given = [{"VIDEO": drive_video, "BOARD": board}.get(word, word) for word in words]
    shown = cli("tune", sliced_bundle, *given, "-o", tmp_path / "b.evseg")
    assert shown.code in (1, 2)
    assert message in " ".join(shown.err.split()), shown.err
    assert "secret" not in shown.err + shown.out


def test_a_folder_that_is_no_bundle_is_left_alone(
    cli: Cli, sliced_bundle: Path, drive_video: Path, board: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    shown = cli("tune", sliced_bundle, *options(drive_video, board, precious))
    assert shown.code == 1
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


def test_labels_judge_where_there_are_some(
    cli: Cli, sliced_bundle: Path, board: Path, tmp_path: Path, drive: list[Any]
) -> None:
    import cv2
    import numpy as np

    names = [label.name for label in open_bundle(sliced_bundle).manifest.labels]
    for folder in ("images/drive", "labels/drive"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    for number, image in enumerate(drive):
        cv2.imwrite(str(tmp_path / f"mine/images/drive/{number}.png"), image)
        truth = np.full(image.shape[:2], number % 2 + 2, np.uint8)
        cv2.imwrite(str(tmp_path / f"mine/labels/drive/{number}.png"), truth)
    classes = [{"name": name, "color": [0, 0, index]} for index, name in enumerate(names)]
    (tmp_path / "mine/classes.json").write_text(json.dumps(classes))
    on_gpu = tmp_path / "gpu.json"
    on_gpu.write_text(json.dumps(json.loads(board.read_text()) | {"provider": "gpu.0"}))
    words = ("--dataset", f"folder:{tmp_path / 'mine'}", "--device", on_gpu, "--trials", 2, "--rate", 10)
    shown = cli("tune", sliced_bundle, *words, "-o", tmp_path / "best.evseg", "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert tree["judged_by"].startswith("labels of folder:")
    done = [trial["figures"] for trial in tree["trials"] if trial["figures"]]
    assert [figures["frames"] for figures in done] == [12, 12]
    assert all(figures["quality"] < 60 for figures in done), "the labels are nonsense"
    # A bundle names no provider; what was tuned on one says so.
    schedule = open_bundle(tmp_path / "best.evseg").manifest.schedule
    assert schedule is not None
    assert tree["provider"] == "gpu.0"
    assert schedule.origin["provider"].endswith("give --provider gpu.0")
    (copied,) = (tmp_path / "best.evseg.calibration").iterdir()
    assert copied.name == f"board-2-0123abcd_{schedule.variant.replace('/', '_')}_t2_gpu-0.json"


def test_labels_are_read_in_the_classes_of_an_export(sliced_bundle: Path, tmp_path: Path, drive: list[Any]) -> None:
    """Of which one may be made of several of the dataset's; bundles have names only."""
    import cv2
    import numpy as np

    first, second = (label.name for label in open_bundle(sliced_bundle).manifest.labels[:2])
    for kind in ("images", "labels"):
        (tmp_path / kind / "drive").mkdir(parents=True)
    for number, image in enumerate(drive[:8]):
        cv2.imwrite(str(tmp_path / f"images/drive/{number}.png"), image)
        cv2.imwrite(str(tmp_path / f"labels/drive/{number}.png"), np.full(image.shape[:2], number % 3, np.uint8))
    (tmp_path / "classes.json").write_text(json.dumps(["lorry", "van", "lawn"]))
    (tmp_path / "mine.json").write_text(
        json.dumps([{"name": first, "of": ["lawn"]}, {"name": second, "of": ["van", "lorry"]}])
    )
    plan = StudyPlan(
        sources=(),
        request=None,
        frames="",
        recording=(),
        dataset=f"folder:{tmp_path}",
        classes=parse_classes(str(tmp_path / "mine.json")),
        companions=(),
        folder=tmp_path / "study",
        output=tmp_path / "best.evseg",
        take="best",
        max_frames=8,
        cluster=None,
        processes=1,
        quiet=True,
    )
    truth = read_truth(_clip(plan, open_bundle(sliced_bundle)).truth)
    assert [set(np.unique(each)) for each in truth[:3]] == [{1}, {1}, {0}]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_a_browser_shows_the_points(
    cli: Cli, sliced_bundle: Path, drive_video: Path, board: Path, tmp_path: Path
) -> None:
    """Each point's lines become visible when it has the focus, which needs no pointer."""
    shown = cli("tune", sliced_bundle, *options(drive_video, board, tmp_path / "best.evseg", "--trials", 3, "--json"))
    page = Path(shown.json()["page"])
    probe = """<script>addEventListener("load", () => {
      const dots = [...document.querySelectorAll(".dot")];
      const seen = () => dots.map(d => getComputedStyle(d.querySelector(".tip")).visibility);
      const before = seen(); dots[1].focus(); const after = seen();
      document.title = JSON.stringify([before, after, document.documentElement.scrollWidth <= innerWidth]);
    });</script></head>"""
    page.write_text(page.read_text(encoding="utf-8").replace("</head>", probe), encoding="utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom",
        f"--user-data-dir={tmp_path / 'browser'}", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=os.environ).stdout
    found = re.search(r"<title>(.*?)</title>", dom)
    assert found is not None
    before, after, fits = json.loads(found[1])
    assert set(before) == {"hidden"}
    assert [index for index, state in enumerate(after) if state == "visible"] == [1]
    assert fits
