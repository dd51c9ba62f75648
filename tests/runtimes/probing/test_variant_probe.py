"""A graph that kills, blocks or eats all memory does so to a child, and this process says which graph it was."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from deadly_runtime import deadly_runtime, picture, write_deadly_bundle

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.analysis.verification import check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendCrashError, ProbeTimeoutError
from edge_vseg.runtimes import SessionOptions
from edge_vseg.runtimes.doctor import probe_runtime
from edge_vseg.runtimes.probing import ProbeRecord, ProbeRule, VariantProbe
from edge_vseg.runtimes.probing.probe_rule import PROBE_VARIABLE
from edge_vseg.runtimes.selection import auto
from edge_vseg.runtimes.selection.auto import Choice, choose_variant
from edge_vseg.runtimes.selection.cache import MAX_DEATHS, CachedTiming


@pytest.fixture(autouse=True)
def _probing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(PROBE_VARIABLE, "first:20")
    with deadly_runtime(tmp_path / "site"):
        yield


def opened(bundle: Path, name: str, rule: ProbeRule | None = None) -> None:
    with Segmenter.open(bundle, options=OpenOptions(variant=f"deadly/{name}", probe=rule)) as segmenter:
        assert segmenter(picture()).labels.shape == (48, 64)


@pytest.mark.parametrize(
    ("graph", "kind", "message"),
    [
        (
            "open abort",
            BackendCrashError,
            "died by SIGABRT; its last lines: F0000 kernel.cc:7. Check failed: rank == 4$",
        ),
        (
            "run segfault",
            BackendCrashError,
            "deadly/run-segfault/graph.npz was tried out with deadly .* died by SIGSEGV",
        ),
        ("run hang", ProbeTimeoutError, "was stopped after 3 s; .*EDGE_VSEG_PROBE=first:300$"),
    ],
)
def test_a_deadly_graph_is_a_named_error(tmp_path: Path, graph: str, kind: type[Exception], message: str) -> None:
    bundle = write_deadly_bundle(tmp_path / "a.evseg", graph)
    with pytest.raises(kind, match=message):
        opened(bundle, graph.replace(" ", "-"), ProbeRule(seconds=3) if "hang" in graph else None)


def test_a_good_graph_is_tried_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = write_deadly_bundle(tmp_path / "a.evseg", "all fine")
    with caplog.at_level(logging.INFO, "edge_vseg"):
        opened(bundle, "all-fine")
        assert "in a process of their own" in caplog.text
        caplog.clear()
        opened(bundle, "all-fine")
        assert "in a process of their own" not in caplog.text
        opened(bundle, "all-fine", ProbeRule(when="always"))
        assert "in a process of their own" in caplog.text
        caplog.clear()
        plugin = tmp_path / "site/plugin_deadly.py"
        plugin.write_text(plugin.read_text().replace("deadly 1", "deadly 1.0.1"))
        del sys.modules["plugin_deadly"]
        opened(bundle, "all-fine")
        assert "in a process of their own" in caplog.text, "another version of the runtime"


def test_auto_times_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = write_deadly_bundle(tmp_path / "a.evseg", "run abort")
    with Segmenter.open(bundle) as segmenter:
        assert segmenter.variant.id == "reference/float"
        assert segmenter.chosen is not None
        rows = {row.variant_id: row for row in segmenter.chosen.table}
    assert rows["deadly/run-abort"].median_ms is None
    assert "died by SIGABRT" in rows["deadly/run-abort"].reason
    assert rows["reference/float"].median_ms is not None
    assert "timed one by one" in caplog.text


@pytest.mark.parametrize(("deaths", "timed"), [(1, 2), (9, MAX_DEATHS)], ids=["of the moment", "for good"])
def test_a_death_is_not_remembered_at_once(
    deaths: int, timed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill for want of memory, or a probe that was late at boot, may be gone at the next start."""
    bundle = open_bundle(write_deadly_bundle(tmp_path / "a.evseg", "all fine"))
    calls: list[int] = []

    def time_them(group: Sequence[Variant], options: object, **_: object) -> dict[str, CachedTiming]:
        calls.append(len(group))
        good = CachedTiming(variant_id="deadly/all-fine", median_ms=1.0)
        dead = CachedTiming(variant_id="deadly/all-fine", median_ms=None, reason="killed", deaths=1)
        mine = dead if len(calls) <= deaths else good
        return {mine.variant_id: mine, "reference/float": CachedTiming(variant_id="reference/float", median_ms=9.0)}

    def choose(probe: VariantProbe | None) -> Choice:
        return choose_variant(bundle, options=SessionOptions(), cache=tmp_path / "auto.json", probe=probe)

    monkeypatch.setattr(auto, "time_in_child", time_them)
    probe = VariantProbe(bundle=bundle, rule=ProbeRule(), record=ProbeRecord(None))
    first = choose(probe)
    assert (first.variant.id, first.origin) == ("reference/float", "measured")
    assert choose(None).origin == "cache", "never in this process, which it might kill"
    later = [choose(probe) for _ in range(4)]
    assert {choice.variant.id for choice in later} == {"deadly/all-fine" if deaths == 1 else "reference/float"}
    assert (later[-1].origin, len(calls)) == ("cache", timed)


def test_verify_goes_on_after_a_death(tmp_path: Path) -> None:
    bundle = write_deadly_bundle(tmp_path / "a.evseg", "open segfault", "all fine")
    good, dead, fine = check_variants(open_bundle(bundle))
    assert (good.id, good.status) == ("reference/float", "ok")
    assert (dead.id, dead.status) == ("deadly/open-segfault", "wrong")
    assert "died by SIGSEGV" in dead.detail
    assert (fine.status, fine.agreement is not None) == ("wrong", True), "its labels are all zero"


def test_doctor_outlives_a_package_for_another_cpu(tmp_path: Path) -> None:
    assert probe_runtime("deadly").status == "ok"
    (tmp_path / "site/dies-when-loaded").touch()
    report = probe_runtime("deadly")
    assert report.status == "broken"
    assert "died by SIGABRT" in report.problem
    assert "another CPU" in report.problem
    assert probe_runtime("reference").status == "ok"
