"""Tuning a real bundle on real frames, on the replayed costs of a board."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from board_profile import write_board_profile
from deadly_runtime import deadly_runtime, write_deadly_bundle

from edge_vseg import Segmenter, open_bundle
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import EvaluationOptions, evaluate_policy
from edge_vseg.errors import BundleWriteError, OptionError
from edge_vseg.runtimes.backends.onnx_runtime import OnnxRuntime
from edge_vseg.scheduling.device_profile import device_profile_path, machine_key
from edge_vseg.tuning import Figures, TuneOptions, Wish, make_job, open_networks, reference_clip, run_trial, tune
from edge_vseg.tuning.clip import Clip, labelled_clip, longest_clip, read_clip, read_truth
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.tuned_bundle import companion_place, write_tuned_bundle
from edge_vseg.tuning.tuner import _versions
from edge_vseg.video import open_source

WISH = Wish(rate=10.0, deadline_ms=30.0, cpu_share=0.8)


RUN: list[int] = []


def counted(*_: object) -> Figures:
    RUN.append(1)
    raise AssertionError


@pytest.fixture(scope="module")
def clip(sliced_bundle: Path, drive_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("reference")
    made = reference_clip(drive_video, 24, open_bundle(sliced_bundle), folder, threads=1)
    assert reference_clip(drive_video, 24, open_bundle(sliced_bundle), folder, threads=1) == made
    assert len(list(folder.iterdir())) == 1
    return made


@pytest.fixture(scope="module")
def profile(sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "board.json"
    write_board_profile(path, sliced_bundle, 60.0)
    return path


def test_the_reference_is_every_frame(clip: Clip, sliced_bundle: Path) -> None:
    with Segmenter.open(sliced_bundle, policy="every-frame", threads=1) as segmenter:
        for frame in read_clip(clip.frames, clip.truth, clip.count):
            assert np.array_equal(segmenter(frame.image).labels, frame.labels)
    assert clip.count == 24
    with open_source(str(clip.frames), max_frames=clip.count) as source:
        times_s = [frame.time_s for frame in read_clip(clip.frames, clip.truth, clip.count)]
        assert times_s == [pytest.approx((frame.pts_ns or 0) / 1e9) for frame in source]
    assert times_s[-1] == pytest.approx(23 / 15, abs=1e-3)
    assert "on every frame" in clip.judged_by


def test_a_tuned_bundle(sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path) -> None:
    networks = open_networks([sliced_bundle])
    options = TuneOptions(wish=WISH, trials=10, profiles=(profile,))
    done: list[int] = []
    tuned = tune(networks, clip, tmp_path / "study", options, done.append)
    assert done == list(range(11))
    assert tuned.machine == "board-2-0123abcd"
    best = tuned.recommended[0]
    assert best.name == "best"
    assert best.trial.figures is not None
    assert WISH.allows(best.trial.figures)
    assert best.trial.figures.quality == max(
        trial.figures.quality for trial in tuned.trials if trial.figures and WISH.allows(trial.figures)
    )
    again = tune(networks, clip, tmp_path / "again", options)
    assert again.trials == tuned.trials, "replayed costs give the same twice"
    bundle = write_tuned_bundle(
        best.trial.setting,
        networks,
        tmp_path / "best.evseg",
        machine=tuned.machine,
        profile=profile,
        origin={"by": "me"},
    )
    with Segmenter.open(bundle.root) as segmenter:
        assert segmenter.policy == best.trial.setting.make_policy()
        assert segmenter.variant.id == best.trial.setting.variant
    (copied,) = (tmp_path / "best.evseg.calibration").iterdir()
    assert copied.name == f"board-2-0123abcd_{best.trial.setting.variant.replace('/', '_')}_t2.json"
    ours, theirs = json.loads(copied.read_text()), json.loads(profile.read_text())
    assert ours == theirs | {"bundle_sha256": bundle.sha256}
    job = make_job(best.trial.setting, networks, tuned, options)
    assert run_trial(job, lambda path: path) == best.trial.figures


def test_the_figures_are_those_of_evaluate(sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path) -> None:
    """Another program counts the same: ``edge-vseg evaluate`` with the reference's maps as truth."""
    networks = open_networks([sliced_bundle])
    tuned = tune(networks, clip, tmp_path, TuneOptions(wish=WISH, trials=8, profiles=(profile,)))
    trial = tuned.trials[0]
    setting, figures = trial.setting, trial.figures
    assert figures is not None
    options = EvaluationOptions(
        variant=setting.variant, rate=WISH.rate, deadline_ms=WISH.deadline_ms, replay=profile, borders=setting.borders
    )
    frames = read_clip(clip.frames, clip.truth, clip.count)
    score = evaluate_policy(sliced_bundle, frames, setting.make_policy(), options)
    assert score.streaming is not None
    assert figures.p99_ms == pytest.approx(score.timing.p99)
    assert figures.p50_ms == pytest.approx(score.timing.p50)
    assert figures.misses == score.misses
    assert figures.cpu_share == pytest.approx(score.cpu_share)
    assert figures.age_frames == pytest.approx(score.streaming.age_frames)
    assert figures.accuracy == pytest.approx(100 * score.streaming.agreement)
    assert figures.frames == score.frames


def test_versions_are_those_of_the_variants_that_are_tried(tmp_path: Path) -> None:
    networks = {"a": open_bundle(write_deadly_bundle(tmp_path / "a.evseg", "all fine"))}
    with deadly_runtime(tmp_path / "site"):
        assert _versions(networks, ["deadly/all-fine"]) == {"deadly/all-fine": "[('deadly', 'deadly 1')]"}
        (said,) = _versions(networks, ["reference/float"]).values()
    assert ("numpy" in said, "deadly" in said) == (True, False)


def test_known_trials_are_not_run_again(
    sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, folder = open_networks([sliced_bundle]), tmp_path / "study"
    first = tune(networks, clip, folder, TuneOptions(wish=WISH, trials=8, profiles=(profile,)))
    RUN.clear()
    monkeypatch.setattr("edge_vseg.tuning.tuner.run_trial", counted)
    # Another limit is another study; trial 0 is the same, and so are others that do not depend on the limit.
    other = replace(WISH, cpu_share=0.799)
    second = tune(networks, clip, folder, TuneOptions(wish=other, trials=8, profiles=(profile,), seed=0))
    known = {trial.number for trial, before in zip(second.trials, first.trials, strict=True) if trial.figures}
    assert len(known) + len(RUN) == 8
    assert known
    assert RUN, "the policy deadline has another share"
    RUN.clear()
    monkeypatch.setattr(OnnxRuntime, "version", lambda runtime: "onnxruntime 99.0")
    tune(networks, clip, folder, TuneOptions(wish=WISH, trials=8, profiles=(profile,)))
    assert len(RUN) == 8, "all figures are those of another version"
    monkeypatch.undo()
    # A damaged file is made again.
    for path in (folder / "trials").iterdir():
        path.write_bytes(b"{")
    assert tune(networks, clip, tmp_path / "b", TuneOptions(wish=WISH, trials=8, profiles=(profile,))) == replace(
        first, left_out=first.left_out
    )


def test_a_hopeless_trial_is_given_up(sliced_bundle: Path, clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "slow.json"
    write_board_profile(path, sliced_bundle, 900.0)
    wish = Wish(rate=4.0, deadline_ms=100.0)
    tuned = tune(
        open_networks([sliced_bundle]), clip, tmp_path / "s", TuneOptions(wish=wish, trials=16, profiles=(path,))
    )
    stopped = [trial.figures for trial in tuned.trials if trial.figures and trial.figures.stopped]
    assert stopped
    assert all(figures.frames == 12 and figures.p99_ms > 150 for figures in stopped)
    assert not any(wish.allows(figures) for figures in stopped)


def test_a_clip_with_labels(sliced_bundle: Path, drive: list[np.ndarray], tmp_path: Path) -> None:
    maps = [np.full(image.shape[:2], number % 3, np.uint8) for number, image in enumerate(drive)]
    frames = [LabelledFrame(image=image, labels=labels) for image, labels in zip(drive, maps, strict=True)]
    made = labelled_clip(longest_clip(frames, "folder:mine"), tmp_path / "clip", "folder:mine")
    assert labelled_clip(frames, tmp_path / "clip", "folder:mine") == made
    assert len(list((tmp_path / "clip").iterdir())) == 1, "named by its content"
    assert (made.count, made.judged_by, made.least_share) == (len(drive), "labels of folder:mine", 0.0)
    back = list(read_clip(made.frames, made.truth, made.count))
    assert all(np.array_equal(ours.image, image) for ours, image in zip(back, drive, strict=True))
    assert all(np.array_equal(ours.labels, labels) for ours, labels in zip(back, maps, strict=True))


def test_the_longest_recording_with_labels(drive: list[np.ndarray]) -> None:
    def recording(name: str, count: int, *, labels: bool = True) -> list[LabelledFrame]:
        truth = np.full(drive[0].shape[:2], 0 if labels else 255, np.uint8)
        return [LabelledFrame(image=drive[0], labels=truth, clip=name) for _ in range(count)]

    frames = [*recording("a", 9), *recording("b", 12), *recording("c", 20, labels=False)]
    assert [frame.clip for frame in longest_clip(frames, "x")] == ["b"] * 12
    for few in (
        recording("a", 7),
        recording("c", 20, labels=False),
        [],
        [f for n in range(9) for f in recording(f"{n}", 1)],
    ):
        with pytest.raises(OptionError, match="x has no recording of at least 8 frames with labels"):
            longest_clip(few, "x")


def test_a_long_gap_ends_a_recording(drive: list[np.ndarray]) -> None:
    """A dataset that labels one frame in 30 is no video; where the time of a recording restarts, another begins."""
    truth = np.zeros(drive[0].shape[:2], np.uint8)

    def at(*times_s: float) -> list[LabelledFrame]:
        return [LabelledFrame(image=drive[0], labels=truth, clip="a", time_s=time_s) for time_s in times_s]

    with pytest.raises(OptionError, match="has no recording of at least 8 frames"):
        longest_clip(at(*range(20)), "x")
    gaps = at(*(number / 10 for number in (*range(9), *range(30, 42), *range(8))))
    assert [frame.time_s for frame in longest_clip(gaps, "x")] == [number / 10 for number in range(30, 42)]


def test_maps_of_other_frames(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="are not of the frames"):
        list(read_clip(clip.frames, clip.truth, clip.count + 1))
    with pytest.raises(OptionError, match="has 20 frames and"):
        list(read_clip(clip.frames, clip.truth, 20))
    damaged = tmp_path / "t.npz"
    damaged.write_bytes(clip.truth.read_bytes()[:100])
    with pytest.raises(OptionError, match="are damaged"):
        read_truth(damaged)


def test_the_cores_of_this_machine_do_not_matter(
    sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of the board's two cores paces the background, wherever it is replayed."""
    networks = open_networks([sliced_bundle])
    options = TuneOptions(wish=replace(WISH, cpu_share=0.4), trials=8, profiles=(profile,))
    here = tune(networks, clip, tmp_path / "here", options)
    for module in ("assembly", "device_profile"):
        monkeypatch.setattr(f"edge_vseg.scheduling.{module}.usable_cores", lambda: 16)
    assert tune(networks, clip, tmp_path / "there", options).trials == here.trials
    assert any(trial.setting.policy == "deadline" for trial in here.trials)


def test_processes_change_nothing(sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path) -> None:
    networks, options = open_networks([sliced_bundle]), TuneOptions(wish=WISH, trials=8, profiles=(profile,))
    here = tune(networks, clip, tmp_path / "one", options)
    there = tune(networks, clip, tmp_path / "two", replace(options, processes=2))
    assert there.trials == here.trials
    assert [each.trial.number for each in there.recommended] == [each.trial.number for each in here.recommended]


def test_shares_that_are_small(sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path) -> None:
    wish = replace(WISH, cpu_share=0.03)
    tuned = tune(open_networks([sliced_bundle]), clip, tmp_path, TuneOptions(wish=wish, trials=8, profiles=(profile,)))
    assert all(0 < trial.setting.parameters.get("cpu_share", 0.01) <= 0.03 for trial in tuned.trials)


def test_a_companion_is_copied_once(sliced_bundle: Path, tmp_path: Path) -> None:
    fast = tmp_path / "models" / "fast.evseg"
    shutil.copytree(sliced_bundle, fast)
    networks = open_networks([sliced_bundle, fast])
    setting = Setting(
        network=sliced_bundle.name.removesuffix(".evseg"),
        variant=open_bundle(sliced_bundle).manifest.variants[0].id,
        policy="async",
        parameters={"motion": "dis"},
        companion="fast",
    )
    target = tmp_path / "out" / "best.evseg"
    for _ in range(2):
        write_tuned_bundle(setting, networks, target, machine="m", profile=None, origin={})
    assert open_bundle(tmp_path / "out" / "fast.evseg").sha256 == networks["fast"].sha256
    with Segmenter.open(target) as segmenter:
        assert segmenter.policy == setting.make_policy()
    (tmp_path / "out" / "fast.evseg" / "manifest.json").write_bytes((target / "manifest.json").read_bytes())
    with pytest.raises(BundleWriteError, match="fast.evseg is another bundle"):
        write_tuned_bundle(setting, networks, target, machine="m", profile=None, origin={})
    with pytest.raises(BundleWriteError, match="would lie at .* itself"):
        companion_place(networks["fast"], tmp_path / "elsewhere" / "fast.evseg")


def test_a_profile_of_an_older_export_is_not_passed_on(
    sliced_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = open_bundle(shutil.copytree(sliced_bundle, tmp_path / "net.evseg"))
    networks, variant = {"net": bundle}, bundle.manifest.variants[0].id
    setting = Setting(network="net", variant=variant, policy="fixed", parameters={}, threads=1)
    beside = device_profile_path(bundle.root, variant, 1)
    for number, fits in enumerate((True, False)):
        write_board_profile(beside, bundle.root, 60.0)
        tree = json.loads(beside.read_text()) | {"machine": machine_key(), "threads": 1}
        beside.write_text(json.dumps(tree if fits else tree | {"bundle_sha256": "0" * 64}))
        tuned = write_tuned_bundle(
            setting, networks, tmp_path / f"{number}.evseg", machine="here", profile=None, origin={}
        )
        assert device_profile_path(tuned.root, variant, 1).exists() == fits
    assert "is not used: the device profile is of another bundle" in caplog.text


def test_what_cannot_be_tuned(sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path) -> None:
    networks = open_networks([sliced_bundle])
    with pytest.raises(OptionError, match="trials that measure run one at a time"):
        TuneOptions(wish=WISH, processes=2)
    with pytest.raises(OptionError, match="only replayed costs can be scaled"):
        TuneOptions(wish=WISH, network_scale=6.0)
    with pytest.raises(OptionError, match="at least one trial"):
        TuneOptions(wish=WISH, trials=0)
    tree = json.loads(profile.read_text())
    for name, change, message in (
        ("other", {"bundle_sha256": "0" * 64}, "is of another bundle .* calibrate the bundle that you tune"),
        ("machine", {"machine": "board-4-00000000", "variant": "onnxruntime/float"}, "profiles are of 2 machines"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(tree | change))
        with pytest.raises(OptionError, match=message):
            tune(networks, clip, tmp_path / name, TuneOptions(wish=WISH, trials=1, profiles=(profile, path)))
    with pytest.raises(OptionError, match="no network to tune"):
        tune(networks, clip, tmp_path / "c", TuneOptions(wish=WISH, companions=tuple(networks)))


def test_a_board_without_costs_of_tiles(sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path) -> None:
    """A trial that cannot run is a failure with its reason, and the others go on."""
    tree = json.loads(profile.read_text())
    del tree["costs"]["tile"]
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(tree))
    tuned = tune(
        open_networks([sliced_bundle]), clip, tmp_path / "s", TuneOptions(wish=WISH, trials=24, profiles=(bare,))
    )
    failed = [trial for trial in tuned.trials if trial.figures is None]
    assert failed
    assert {trial.setting.policy for trial in failed} <= {"regional", "deadline"}
    assert all("has no costs of tile" in trial.failure for trial in failed)
    assert tuned.recommended


def test_trials_that_measure(sliced_bundle: Path, clip: Clip, tmp_path: Path) -> None:
    options = TuneOptions(wish=Wish(rate=60.0), trials=2)
    tuned = tune(open_networks([sliced_bundle]), replace(clip, count=24), tmp_path, options)
    assert tuned.trials[0].setting.policy == "every-frame", "without a deadline that is untuned"
    assert all(trial.figures is not None and trial.figures.p50_ms > 0 for trial in tuned.trials)
    assert tuned.trials[0].setting.threads == 0, "the runtime's choice is untuned, too"


def test_a_companion_that_was_calibrated_is_replayed(
    sliced_bundle: Path, clip: Clip, profile: Path, tmp_path: Path
) -> None:
    fast = tmp_path / "fast.evseg"
    shutil.copytree(sliced_bundle, fast)
    manifest = json.loads((fast / "manifest.json").read_bytes())
    (fast / "manifest.json").write_text(json.dumps(manifest, indent=3))
    networks = open_networks([sliced_bundle, fast])
    name = next(each for each, bundle in networks.items() if bundle.root == fast)
    options = TuneOptions(wish=WISH, trials=8, profiles=(profile,), companions=(name,))
    without = tune(networks, clip, tmp_path / "without", options)
    assert "calibrate with --companion" in without.left_out[f"companion {name}"]
    assert not any(trial.setting.companion for trial in without.trials)
    tree = json.loads(profile.read_text())
    tree["costs"][f"companion {networks[name].sha256[:12]}"] = {"runs": 9, "p50": 2.0, "p90": 2.0, "p99": 2.0}
    timed = tmp_path / "timed.json"
    timed.write_text(json.dumps(tree))
    tuned = tune(networks, clip, tmp_path / "with", replace(options, profiles=(timed,)))
    assert f"companion {name}" not in tuned.left_out
    # What it costs counts. The setting is given, not found: which trials have a companion is the search's affair.
    (network,) = {each for each in networks if each != name}
    setting = Setting(
        network=network,
        variant=tuned.trials[0].setting.variant,
        policy="async",
        parameters={},
        threads=tuned.trials[0].setting.threads,
        companion=name,
    )
    job = make_job(setting, networks, tuned, replace(options, profiles=(timed,)))
    figures = run_trial(job, lambda path: path)
    tree["costs"][f"companion {networks[name].sha256[:12]}"] = {"runs": 9, "p50": 20.0, "p90": 20.0, "p99": 20.0}
    timed.write_text(json.dumps(tree))
    slower = run_trial(job, lambda path: path)
    assert slower.cpu_share > figures.cpu_share
