"""A bundle's own schedule: what ``Segmenter.open`` and the command line do without any options."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from reference_bundle import Recipe, make_variant, write_bundle
from tiny_bundle import SIZE_HW, write_tiny_bundle

from edge_vseg import OpenOptions, Segmenter, open_bundle
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle.manifest import CompanionSpec, ScheduleSpec
from edge_vseg.bundle.scheduled_copy import write_scheduled_copy
from edge_vseg.errors import BackendError, BundleError, OptionError
from edge_vseg.scheduling.device_profile import machine_key
from edge_vseg.scheduling.policies import EveryFrame, Fixed

TUNED = ScheduleSpec(
    policy="fixed",
    parameters={"period_frames": 3, "motion": "still"},
    variant="onnxruntime/float",
    threads=1,
    origin={"study": "street.study, trial 12", "objective": "99.1 % like every frame"},
)


def tuned(folder: Path, schedule: ScheduleSpec = TUNED) -> Path:
    plain = write_tiny_bundle(folder / "tiny.evseg", "onnxruntime")
    write_scheduled_copy(open_bundle(plain), folder / "best.evseg", schedule)
    return folder / "best.evseg"


def ages(segmenter: Segmenter) -> list[int]:
    frames = np.random.default_rng(0).integers(0, 255, (7, *SIZE_HW, 3), np.uint8)
    with segmenter:
        return [segmenter(frame).age_frames for frame in frames]


def test_the_copy_is_the_same_network(tmp_path: Path) -> None:
    copy, plain = open_bundle(tuned(tmp_path)), open_bundle(tmp_path / "tiny.evseg")
    assert copy.manifest.files == plain.manifest.files
    assert copy.manifest.schedule == TUNED
    assert (copy.manifest.name, copy.manifest.schema_version) == ("best", 5)
    again = write_scheduled_copy(copy, copy.root, ScheduleSpec(policy="every-frame"))
    assert again.manifest.schedule == ScheduleSpec(policy="every-frame")


def test_it_holds_without_options(tmp_path: Path) -> None:
    segmenter = Segmenter.open(tuned(tmp_path))
    assert segmenter.policy == Fixed(period_frames=3, motion="still")
    assert (segmenter.variant.id, segmenter.session_options.threads) == ("onnxruntime/float", 1)
    assert ages(segmenter) == [0, 1, 2, 0, 1, 2, 0]


def test_a_policy_of_the_callers_replaces_it(tmp_path: Path) -> None:
    segmenter = Segmenter.open(tuned(tmp_path), policy="every-frame")
    assert segmenter.session_options.threads == 0
    assert ages(segmenter) == [0] * 7
    other = Fixed(period_frames=2, motion="still")
    assert ages(Segmenter.open(tuned(tmp_path / "b"), policy=other)) == [0, 1, 0, 1, 0, 1, 0]


def test_a_runtime_of_the_callers_keeps_the_policy(tmp_path: Path) -> None:
    with Segmenter.open(tuned(tmp_path), runtime="onnxruntime", threads=2) as segmenter:
        assert segmenter.policy == Fixed(period_frames=3, motion="still")
        assert segmenter.session_options.threads == 2


def test_options_of_commands(tmp_path: Path) -> None:
    best = tuned(tmp_path)
    options, policy = RuntimeOptions().with_own_schedule(best, None)
    assert (options.variant, options.threads) == ("onnxruntime/float", 1)
    assert policy == Fixed(period_frames=3, motion="still")
    given = RuntimeOptions(runtime="openvino", borders="guided")
    options, policy = given.with_own_schedule(best, None)
    assert (options.variant, options.runtime, options.borders) == ("", "openvino", "guided")
    assert given.with_own_schedule(best, EveryFrame()) == (given, EveryFrame())
    assert given.with_own_schedule(tmp_path / "tiny.evseg", None) == (given, None)


def test_a_policy_that_this_version_does_not_know(tmp_path: Path) -> None:
    best = tuned(tmp_path, ScheduleSpec(policy="telepathy"))
    with pytest.raises(OptionError, match=r"best\.evseg cannot be used: unknown policy 'telepathy'.* tune the bundle"):
        Segmenter.open(best)
    Segmenter.open(best, policy="every-frame").close()
    odd = tuned(tmp_path / "b", ScheduleSpec(policy="fixed", parameters={"period_frames": 0}))
    with pytest.raises(OptionError, match="cannot be used: .*period_frames"):
        Segmenter.open(odd)


def test_another_machine_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for machine, warned in ((machine_key(), False), ("raspberry-pi-5-4-01234567", True)):
        caplog.clear()
        folder = tmp_path / machine
        with caplog.at_level(logging.WARNING):
            Segmenter.open(tuned(folder, ScheduleSpec(policy="fixed", machine=machine))).close()
        assert ("was tuned for raspberry-pi-5-4-01234567" in caplog.text) == warned


def saturating(folder: Path, schedule: ScheduleSpec) -> Path:
    """A tuned bundle whose int8 graph wants a CPU with a feature that none has."""
    made_for = make_variant("reference/int8", precision="int8", requires=("vnni3",))
    plain = write_bundle(folder / "plain.evseg", Recipe(extra_variants=(made_for,)))
    return write_scheduled_copy(open_bundle(plain), folder / "best.evseg", schedule).root


def test_a_variant_that_does_not_fit_this_cpu_gives_way_to_auto(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = ScheduleSpec(policy="fixed", parameters={"period_frames": 3}, variant="reference/int8")
    best = saturating(tmp_path, schedule)
    with caplog.at_level(logging.WARNING), Segmenter.open(best, options=OpenOptions(cache=tmp_path / "c")) as opened:
        assert (opened.variant.id, opened.policy) == ("reference/float", Fixed(period_frames=3))
        assert opened.chosen is not None, "auto has chosen"
    warnings = [record.getMessage() for record in caplog.records]
    assert len([text for text in warnings if "tuned with reference/int8" in text and "lacks vnni3" in text]) == 1
    options, policy = RuntimeOptions().with_own_schedule(best, None)
    assert (options.variant, policy) == ("", Fixed(period_frames=3))
    with pytest.raises(BackendError, match="int8' of .* does not fit this machine: the CPU lacks vnni3"):
        Segmenter.open(best, options=OpenOptions(variant="reference/int8"))


def test_a_schedule_whose_parts_no_fitting_variant_has_is_refused(tmp_path: Path) -> None:
    best = saturating(tmp_path, ScheduleSpec(policy="regional", variant="reference/int8"))
    with pytest.raises(OptionError, match="needs a tile"):
        Segmenter.open(best, options=OpenOptions(cache=tmp_path / "c"))


def test_a_companion_lies_beside_it(tmp_path: Path) -> None:
    friend = write_tiny_bundle(tmp_path / "fast.evseg", "onnxruntime")
    companion = CompanionSpec(name="fast.evseg", sha256=open_bundle(friend).sha256)
    best = tuned(tmp_path, ScheduleSpec(policy="async", companion=companion))
    Segmenter.open(best).close()
    options, _ = RuntimeOptions().with_own_schedule(best, None)
    assert options.companion == friend
    write_scheduled_copy(open_bundle(friend), friend, ScheduleSpec(policy="every-frame"))
    with pytest.raises(BundleError, match="is not the companion that"):
        Segmenter.open(best)
    friend.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"must lie beside it"):
        Segmenter.open(best)


def test_inspect_says_where_it_comes_from(tmp_path: Path) -> None:
    best = tuned(tmp_path)
    words = [sys.executable, "-m", "edge_vseg.cli", "inspect", str(best)]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "own schedule: fixed(period_frames=3, motion=still), onnxruntime/float, 1 thread" in shown
    assert "study: street.study, trial 12; objective: 99.1 % like every frame" in shown
    manifest = json.loads(subprocess.run([*words, "--json"], capture_output=True, text=True, check=True).stdout)
    assert manifest["manifest"]["schedule"]["parameters"] == {"period_frames": 3, "motion": "still"}


def test_run_takes_it(tmp_path: Path) -> None:

    best, images = tuned(tmp_path), tmp_path / "images"
    images.mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 255, (6, *SIZE_HW, 3), np.uint8)):
        cv2.imwrite(str(images / f"{number}.png"), image)
    words = [sys.executable, "-m", "edge_vseg.cli", "run", str(best), str(images), "--json"]
    shown = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert shown["sources"] == {"inferred": 2, "held": 4}


def test_evaluate_takes_it(tmp_path: Path) -> None:

    best, images = tuned(tmp_path), tmp_path / "images"
    images.mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 255, (6, *SIZE_HW, 3), np.uint8)):
        cv2.imwrite(str(images / f"{number}.png"), image)
    words = [sys.executable, "-m", "edge_vseg.cli", "evaluate", str(best), "--video", str(images), "--json"]
    shown = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert (shown["policy"], shown["sources"]) == ("fixed", {"inferred": 2, "held": 4})
    plain = subprocess.run([*words, "--policy", "every-frame"], capture_output=True, text=True, check=True).stdout
    assert json.loads(plain)["sources"] == {"inferred": 6}
