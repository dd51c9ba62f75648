"""``edge-vseg profile``: what it writes, what it refuses, and how it stops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from html_page import Page

from edge_vseg.analysis.profiling import profiler as session
from edge_vseg.analysis.profiling.latency_profile import read_latency_profile
from edge_vseg.cli import console
from edge_vseg.cli import profile as cli_profile
from edge_vseg.files import write_whole

Cli = Callable[..., Any]
ONNX = ("--runtime", "onnxruntime", "--threads", 1)
NUMPY = ("--runtime", "reference", "--flat-out", "--seconds", 0.2)
PROFILE_PLOTS = {
    "decision-strip",
    "decision-timeline",
    "lanes-worst",
    "latency-cdf",
    "latency-timeline",
    "machine",
    "steps",
}


def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_a_profile_for_people_and_for_machines(
    cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path
) -> None:
    figures, html, plots = tmp_path / "p.json", tmp_path / "p.html", tmp_path / "plots"
    asked = ("--deadline-ms", 0.1, "--rate", 50, "--seconds", 0.5, "--json", figures, "--html", html, "--plots", plots)
    shown = cli("profile", sliced_bundle, drive_video, *ONNX, *asked)
    assert shown.code == 0, shown.err
    found = read_latency_profile(figures)
    assert (found.deadline_ms, found.rate, found.complete) == (0.1, 50, True)
    assert found.command.startswith("edge-vseg profile ")
    assert "--deadline-ms 0.1" in found.command
    for text in (f"{found.frames} frames", "50 frames per second", "100.00% of the frames over 0.1 ms", str(html)):
        assert text in shown.out
    written = page(html)
    assert written.row("image to label map")[1] == str(found.latency_ms.count)
    assert written.row("command")[1] == found.command
    assert any(name.startswith("overlay at") for name in written.pictures)
    assert {path.stem for path in plots.iterdir()} == PROFILE_PLOTS
    again = cli("profile", sliced_bundle, drive_video, *ONNX, *asked)
    assert (again.code, "--force" in again.err) == (1, True)
    assert read_latency_profile(figures) == found


def test_json_is_all_that_is_printed(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    shown = cli("profile", reference_bundle, clip, *NUMPY, "--json", "-")
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert (tree["kind"], tree["variant"], tree["rate"], tree["dropped"]) == ("profile", "reference/float", None, 0)
    assert tree["operators"] == []
    assert tree["without_operators"]
    (tmp_path / "again.json").write_text(shown.out)
    assert read_latency_profile(tmp_path / "again.json").frames == tree["frames"]
    assert {path.name for path in tmp_path.iterdir()} == {"again.json", reference_bundle.name}


def test_a_file_is_replaced_only_with_force(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("precious")
    assert cli("profile", reference_bundle, clip, *NUMPY, "--json", path).code == 1
    assert path.read_text() == "precious"
    assert cli("profile", reference_bundle, clip, *NUMPY, "--json", path, "--force").code == 0
    assert read_latency_profile(path).frames > 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--flat-out", "--rate", 9), "--rate or --flat-out"),
        (("--policy", "psychic"), "known: every-frame"),
        (("--policy", "fixed", "--set", "interval=3"), "interval"),
        (("--precision", "int4"), "expected auto, int8, float or float16"),
        (("--runtime", "abacus"), "abacus"),
        (("--json", "PLACE/none/p.json"), "no folder"),
        (("--html", "PLACE/none/p.html"), "no folder"),
        (("--html", "PLACE"), "is a folder"),
        (("--plots", "PLACE/plots"), "--html"),
        (("--html", "PLACE/p.html", "--plots", "PLACE/file"), "is not a folder"),
        (("--html", "PLACE/p.html", "--plots", "PLACE/file/plots"), "is not a folder"),
        (("--seconds", "inf"), "seconds"),
    ],
)
def test_bad_options_raise_before_measuring(
    options: tuple, words: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing is measured first, of which the figures would be lost."""
    monkeypatch.setattr("edge_vseg.analysis.profiling.profiler._segment", lambda *_: pytest.fail("it was measured"))
    (tmp_path / "file").touch()
    shown = cli("profile", reference_bundle, clip, *(str(each).replace("PLACE", str(tmp_path)) for each in options))
    assert (shown.code, words in shown.err, shown.out) == (1, True, ""), shown.err
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize(("bundle", "video"), [("none.evseg", "clip"), ("bundle", "none.mp4")], ids=["bundle", "video"])
@pytest.mark.parametrize("printed", [True, False], ids=["json", "text"])
def test_missing_inputs_are_reported_as_text_or_json(
    bundle: str, video: str, printed: bool, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    given = reference_bundle if bundle == "bundle" else tmp_path / bundle, clip if video == "clip" else tmp_path / video
    shown = cli("profile", *given, "--json", "-" if printed else tmp_path / "p.json")
    kind = "BundleNotFoundError" if video == "clip" else "VideoNotFoundError"
    assert shown.code == 1
    assert (shown.json()["error"]["kind"] == kind and not shown.err) if printed else (kind in shown.err)
    assert printed or not shown.out
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("words", "as_json"),
    [
        (("profile", "--json", "-"), True),
        (("profile", "--json=-"), True),
        (("run", "--stats", "-"), True),
        (("run", "--stats", "gone/s.json"), False),
        (("--debug", "profile", "--json", "-"), True),
        (("profile", "--json", "gone/p.json"), False),
        (("--debug", "profile", "--json", "gone/p.json"), False),
        (("evaluate", "--video", "gone.mp4", "--json"), True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_errors_are_json_where_the_output_is(cli: Cli, tmp_path: Path, words: tuple[str, ...], as_json: bool) -> None:
    name = next(word for word in words if word in ("profile", "run", "evaluate"))
    place = words.index(name) + 1
    video = () if name == "evaluate" else ("gone.mp4",)
    shown = cli(*words[:place], tmp_path / "gone.evseg", *video, *words[place:])
    assert shown.code == 1
    assert shown.out.startswith("{") == as_json


def test_an_interrupt_keeps_the_figures_and_sets_the_exit_code(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def press(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 5:
            raise KeyboardInterrupt

    @contextmanager
    def counter(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
        yield press

    monkeypatch.setattr(console, "counter", counter)
    asked = ("--runtime", "reference", "--flat-out", "--json", tmp_path / "p.json", "--html", tmp_path / "p.html")
    shown = cli("profile", reference_bundle, clip, *asked)
    assert shown.code == 130
    found = read_latency_profile(tmp_path / "p.json")
    assert (found.frames, found.complete) == (5, False)
    assert re.search(r"The run ended early, after \d+ s: stopped with Ctrl-C", page(tmp_path / "p.html").text)


def test_the_json_file_is_saved_during_the_run(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, seen = tmp_path / "p.json", list[tuple[bool, int]]()

    def look(path: Path, data: bytes) -> None:
        write_whole(path, data)
        found = read_latency_profile(path)
        seen.append((found.complete, found.frames))

    monkeypatch.setattr(session, "AUTOSAVE_INTERVAL_S", 0.02)
    monkeypatch.setattr(cli_profile, "write_whole", look)
    assert cli("profile", reference_bundle, clip, *NUMPY, "--json", figures).code == 0
    assert len(seen) > 1
    assert [complete for complete, _ in seen] == [False] * (len(seen) - 1) + [True]
    assert [frames for _, frames in seen] == sorted(frames for _, frames in seen)


def test_a_failing_report_does_not_lose_the_figures(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as when the disk has become full: a day of measuring is not lost."""

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_vseg.analysis.report.html.write_whole", full)
    asked = ("--json", tmp_path / "p.json", "--html", tmp_path / "p.html")
    shown = cli("profile", reference_bundle, clip, *NUMPY, *asked)
    assert (shown.code, "No space left" in shown.err) == (1, True)
    assert read_latency_profile(tmp_path / "p.json").frames > 2


def test_an_unwritable_json_file_is_a_one_line_error(cli: Cli, reference_bundle: Path, clip: Path) -> None:
    shown = cli("profile", reference_bundle, clip, *NUMPY, "--json", "/dev/full", "--force")
    assert (shown.code, "/dev/full cannot be written: No space left" in shown.err) == (1, True)
