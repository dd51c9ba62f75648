"""Device profiles: written atomically, read strictly, used only where they fit."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import msgspec
import pytest

from edge_vseg import OpenOptions, Segmenter, open_bundle
from edge_vseg.errors import CalibrationError, OptionError, OutputError
from edge_vseg.runtimes.cpu import cpu_list, usable_cores
from edge_vseg.scheduling import device_profile, steps
from edge_vseg.scheduling.device_profile import (
    Contention,
    Cost,
    DeviceProfile,
    device_profile_path,
    find_device_profile,
    machine_key,
    place_of_profile,
    provider_key,
    read_device_profile,
    write_device_profile,
)
from edge_vseg.scheduling.drift import DriftModel


def profile_of(bundle: Path) -> DeviceProfile:
    opened = open_bundle(bundle)
    return DeviceProfile(
        bundle_sha256=opened.sha256,
        variant=opened.manifest.variants[0].id,
        machine=machine_key(),
        threads=1,
        runtime="onnxruntime 1",
        video="drive.mp4",
        costs={"infer": Cost(runs=9, p50=30.0, p90=77.0, p99=99.0)},
        drift=DriftModel(bias=0.5),
    )


@pytest.fixture
def written(sliced_bundle: Path) -> Path:
    path = device_profile_path(sliced_bundle, profile_of(sliced_bundle).variant, 1)
    write_device_profile(path, profile_of(sliced_bundle))
    yield path
    path.unlink(missing_ok=True)


def test_round_trip_beside_the_bundle(sliced_bundle: Path, written: Path) -> None:
    assert written.parent.parent == sliced_bundle.parent
    assert read_device_profile(written) == profile_of(sliced_bundle)
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_the_bundle_may_be_the_current_folder(sliced_bundle: Path, monkeypatch) -> None:
    beside = device_profile_path(sliced_bundle, "onnxruntime/int8", 1)
    monkeypatch.chdir(sliced_bundle)
    assert device_profile_path(Path(), "onnxruntime/int8", 1) == beside
    (here,) = [path for path in sliced_bundle.iterdir() if path.is_dir()][:1]
    monkeypatch.chdir(here)
    assert device_profile_path(Path(".."), "onnxruntime/int8", 1) == beside


def test_a_device_profile_needs_a_policy(sliced_bundle: Path, written: Path) -> None:
    with pytest.raises(OptionError, match="serves a policy"):
        Segmenter.open(sliced_bundle, runtime="onnxruntime", device_profile=written)


def test_a_profile_of_another_provider_or_other_threads(
    sliced_bundle: Path, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = open_bundle(sliced_bundle)
    place = None, bundle.root, bundle.sha256, bundle.manifest.variants[0]
    assert find_device_profile(*place, 1) == profile_of(sliced_bundle)
    assert find_device_profile(*place, 1, "CPU") == profile_of(sliced_bundle)
    assert not caplog.records
    assert find_device_profile(*place, 1, "cuda") is None
    assert not caplog.records
    assert find_device_profile(*place, 1, "cuda", wanted=True) is None
    assert "for --threads 1 --provider cuda, only for --threads 1; calibrate as you run" in caplog.text
    assert find_device_profile(*place, 4, wanted=True) is None
    assert "for --threads 4, only for --threads 1" in caplog.text
    asked = written, *place[1:]
    assert find_device_profile(*asked, 4) == profile_of(sliced_bundle)
    assert "measured with 1 threads, and 4 are used" in caplog.text


def test_a_profile_of_another_variant(sliced_bundle: Path, written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A deadline that the whole network fits into may get another variant than calibrate took."""
    bundle = open_bundle(sliced_bundle)
    other = msgspec.structs.replace(bundle.manifest.variants[0], id="openvino/float")
    assert find_device_profile(None, bundle.root, bundle.sha256, other, 1) is None
    assert not caplog.records
    (written.parent / "broken.json").write_text("{")
    assert find_device_profile(None, bundle.root, bundle.sha256, other, 1, wanted=True) is None
    (written.parent / "broken.json").unlink()
    assert f"no device profile for openvino/float, only for {bundle.manifest.variants[0].id}" in caplog.text
    assert "calibrate with --runtime openvino --precision float, or run with --runtime onnxruntime" in caplog.text


def test_a_profile_of_the_same_cpu_with_other_cores(
    sliced_bundle: Path, written: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service with --cpus has fewer cores than the shell that calibrated."""
    bundle, here = open_bundle(sliced_bundle), usable_cores()
    monkeypatch.setattr(device_profile, "usable_cores", lambda: here + 2)
    monkeypatch.setattr(device_profile, "cpu_list", lambda: "4,7")
    assert find_device_profile(None, bundle.root, bundle.sha256, bundle.manifest.variants[0], 1, wanted=True) is None
    assert f"for --threads 1 on {here + 2} cores, only for --threads 1 on {here} core" in caplog.text
    assert "taskset -c 4,7 edge-vseg calibrate" in caplog.text


@pytest.mark.parametrize(("used", "text"), [({2, 3}, "2,3"), ({3, 1, 2, 0}, "0-3"), ({1, 3, 4}, "1,3,4")])
def test_cores_as_taskset_takes_them(used: set[int], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: used, raising=False)
    assert cpu_list() == text


def test_a_profile_of_another_machine_has_the_name_that_it_looks_for(sliced_bundle: Path, written: Path) -> None:
    ours = profile_of(sliced_bundle)
    assert place_of_profile(sliced_bundle, ours) == written
    theirs = msgspec.structs.replace(ours, machine="board-2-0123abcd", provider="GPU.0")
    name = f"board-2-0123abcd_{ours.variant.replace('/', '_')}_t1_gpu-0.json"
    assert place_of_profile(sliced_bundle, theirs) == written.with_name(name)


@pytest.mark.parametrize(
    ("asked", "active", "key"),
    [
        ("", "cpu", ""),
        ("CPU", "CPU", ""),
        ("", "xnnpack", ""),
        ("builtin", "builtin", "builtin"),
        ("", "tensorrt", "tensorrt"),  # a Jetson's variants take it unasked
        ("cpu", "cpu", ""),
        ("GPU.0", "GPU.0", "gpu.0"),
    ],
)
def test_the_provider_of_a_profile(asked: str, active: str, key: str) -> None:
    assert provider_key(asked, active) == key


def test_each_provider_has_a_profile_of_its_own(sliced_bundle: Path, written: Path) -> None:
    bundle = open_bundle(sliced_bundle)
    variant = bundle.manifest.variants[0]
    place = bundle.root, bundle.sha256, variant, 1
    mine = msgspec.structs.replace(profile_of(sliced_bundle), provider="gpu.0")
    path = device_profile_path(sliced_bundle, variant.id, 1, "GPU.0")
    assert path.name == f"{written.stem}_gpu-0.json"
    assert device_profile_path(sliced_bundle, variant.id, 1, "CPU") == written
    write_device_profile(path, mine)
    try:
        assert find_device_profile(None, *place, "GPU.0") == mine
        assert find_device_profile(None, *place) == profile_of(sliced_bundle)
        with pytest.raises(CalibrationError, match=r"of another provider \(gpu.0, not cpu\)"):
            find_device_profile(path, *place)
        with pytest.raises(CalibrationError, match=r"of another provider \(cpu, not cuda\)"):
            find_device_profile(written, *place, "cuda")
    finally:
        path.unlink()


def test_opening_uses_the_profile_beside_the_bundle(sliced_bundle: Path, written: Path) -> None:
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy="fixed") as segmenter:
        assert segmenter.meter.usual_ms(steps.INFER) == 30.0
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=2, policy="fixed") as segmenter:
        assert segmenter.meter.usual_ms(steps.INFER) != 30.0


def test_a_profile_of_another_bundle_is_ignored_with_a_warning(sliced_bundle: Path, written: Path, caplog) -> None:
    write_device_profile(written, msgspec.structs.replace(profile_of(sliced_bundle), bundle_sha256="0" * 64))
    with (
        caplog.at_level(logging.WARNING, "edge_vseg"),
        Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy="fixed") as segmenter,
    ):
        assert segmenter.meter.usual_ms(steps.INFER) != 30.0
    assert "another bundle" in caplog.text


@pytest.mark.parametrize("field", ["bundle_sha256", "variant"])
def test_a_replayed_profile_must_fit_bundle_and_variant(field: str, sliced_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write_device_profile(path, msgspec.structs.replace(profile_of(sliced_bundle), **{field: "other"}))
    with pytest.raises(CalibrationError, match="calibrate this one|open that variant"):
        Segmenter.open(sliced_bundle, runtime="onnxruntime", policy="fixed", options=OpenOptions(replay=path))


@pytest.mark.parametrize("field", ["bundle_sha256", "variant", "machine"])
def test_an_explicit_profile_must_fit(field: str, sliced_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write_device_profile(path, msgspec.structs.replace(profile_of(sliced_bundle), **{field: "other"}))
    with pytest.raises(CalibrationError, match="calibrate again"):
        Segmenter.open(sliced_bundle, runtime="onnxruntime", policy="fixed", device_profile=path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 3}', '{"schema": 3, "surprise": 2}'])
def test_damaged_profiles_are_rejected(text: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match="no device profile"):
        read_device_profile(path)


def test_other_schemas_are_rejected(sliced_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write_device_profile(path, profile_of(sliced_bundle))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 4}))
    with pytest.raises(CalibrationError, match="schema 4"):
        read_device_profile(path)


def test_a_missing_profile_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="edge-vseg calibrate"):
        read_device_profile(tmp_path / "none.json")


def test_a_profile_that_cannot_be_written_changes_nothing(sliced_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="choose another place"):
        write_device_profile(tmp_path / "file" / "profile.json", profile_of(sliced_bundle))
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_shortest_deadline_has_time_for_the_cheapest_motion_and_the_slowest_slice(sliced_bundle: Path) -> None:
    def profile(**p90_ms: float) -> DeviceProfile:
        costs = {name.replace("_", " "): Cost(runs=9, p50=0.1, p90=ms, p99=99.0) for name, ms in p90_ms.items()}
        return msgspec.structs.replace(profile_of(sliced_bundle), costs=costs)

    fixed = {"preprocess": 1.0, "decide": 0.5, "labels": 2.0, "propagate": 0.5, "fuse": 0.75}
    motions = {"motion_dis": 3.0, "motion_still": 0.5}
    assert profile(**fixed, **motions, infer=40.0, slice_0=4.0, slice_1=6.0).min_deadline_ms == 11.25
    assert profile(**fixed, **motions, infer=40.0).min_deadline_ms == 45.25


def test_the_shortest_deadline_is_never_above_what_the_whole_network_takes(sliced_bundle: Path) -> None:
    """Slices with so much overhead, or so slow a motion, that they do not pay."""
    costs = {
        "preprocess": Cost(runs=9, p50=1.0, p90=1.5, p99=2.0),
        "labels": Cost(runs=9, p50=1.0, p90=2.0, p99=3.0),
        "propagate": Cost(runs=9, p50=2.0, p90=3.0, p99=4.0),
        "motion dis": Cost(runs=9, p50=5.0, p90=7.0, p99=9.0),
        "infer": Cost(runs=9, p50=20.0, p90=24.0, p99=25.0),
        "slice 0": Cost(runs=9, p50=20.0, p90=30.0, p99=35.0),
    }
    profile = msgspec.structs.replace(profile_of(sliced_bundle), costs=costs)
    assert profile.min_deadline_ms == 1 + 1 + 5 + 25


def test_without_slices_the_background_takes_the_network(sliced_bundle: Path) -> None:
    costs = {"propagate": Cost(runs=9, p50=2.0, p90=3.0, p99=4.0), "infer": Cost(runs=9, p50=20.0, p90=30.0, p99=40.0)}
    alone = msgspec.structs.replace(profile_of(sliced_bundle), costs=costs, contention=None)
    beside = msgspec.structs.replace(alone, contention=Contention(frame=1.5))
    assert (alone.min_deadline_ms, beside.min_deadline_ms) == (33.0, 4.5)
