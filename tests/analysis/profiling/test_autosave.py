"""What there is so far is handed over about once a minute, and never costs the run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from edge_vseg.analysis.profiling import LatencyProfile, ProfileOptions, profile_video
from edge_vseg.analysis.profiling import profiler as session
from edge_vseg.analysis.profiling.autosave import Autosave

SOMETHING = cast(LatencyProfile, object())


def test_saves_once_a_minute_but_not_at_the_start() -> None:
    kept: list[LatencyProfile] = []
    made: list[float] = []
    saver = Autosave(kept.append, 60.0)

    for at_s in np.arange(0, 200, 0.5):

        def snapshot(at_s: float = at_s) -> LatencyProfile:
            made.append(at_s)
            return SOMETHING

        saver.update(at_s, snapshot)
        saver.close()
    assert made == [60.0, 120.0, 180.0]
    assert kept == [SOMETHING] * 3


def test_no_snapshot_without_a_save_function() -> None:
    saver = Autosave(None, 60.0)
    saver.update(1e9, lambda: pytest.fail("nobody wants it"))
    saver.close()


def test_one_save_at_a_time_and_close_waits_for_it() -> None:
    go, kept = threading.Event(), list[LatencyProfile]()

    def slowly(profile: LatencyProfile) -> None:
        assert go.wait(10)
        kept.append(profile)

    saver = Autosave(slowly, 60.0)
    saver.update(60, lambda: SOMETHING)
    saver.update(120, lambda: pytest.fail("the one before is not written yet"))
    go.set()
    saver.close()
    assert kept == [SOMETHING]
    saver.update(120, lambda: SOMETHING)
    saver.close()
    assert kept == [SOMETHING] * 2


@pytest.mark.parametrize("where", ["made", "written"])
def test_a_failing_save_is_logged_and_the_run_goes_on(where: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> LatencyProfile:
        raise OSError("no space left")

    saver = Autosave(fail, 60.0)
    saver.update(60, fail if where == "made" else lambda: SOMETHING)
    saver.close()
    assert "no space left" in caplog.text


def test_a_running_profile_is_saved(sliced_bundle: Path, drive_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "AUTOSAVE_INTERVAL_S", 0.2)
    kept: list[LatencyProfile] = []
    options = ProfileOptions(seconds=3.0, flat_out=True, operators=False, runtime="onnxruntime", threads=1)
    finished = profile_video(sliced_bundle, str(drive_video), options, autosave=kept.append).profile
    assert kept
    counts = [profile.frames for profile in kept]
    assert counts == sorted(set(counts))
    assert 2 <= counts[-1] < finished.frames
    for profile in kept:
        assert not profile.complete
        assert profile.stopped == "it was still running when this was saved"
        assert profile.latency_ms.count == profile.frames == sum(profile.sources.values())
        assert profile.to_json()
    assert finished.complete
    assert kept[-1].rounds > 0
