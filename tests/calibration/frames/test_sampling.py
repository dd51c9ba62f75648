"""Sampling frames from whole clips."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic_clip import SIZE_HW, blur, panorama, save_folder, view

from edge_vseg.calibration import sample_frames
from edge_vseg.errors import CalibrationError, NoFramesError, OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.video import VideoWriter, open_source

PROJECT = Path(__file__).resolve().parents[3]
BAD = {"black": 5, "flat": 3, "blurred": 4, "duplicate": 7}


def clip_with_faults() -> tuple[list[np.ndarray], dict[int, str]]:
    """120 good views of a pan, with known faults between them."""
    scene = panorama()
    images: list[np.ndarray] = []
    faults: dict[int, str] = {}

    def put(image: np.ndarray, fault: str | None = None) -> None:
        if fault is not None:
            faults[len(images)] = fault
        images.append(image)

    for step in range(120):
        put(view(scene, step * 2))
        if step in (20, 21, 22, 60, 61):
            put(np.zeros((*SIZE_HW, 3), np.uint8), "black")
        if step in (30, 70, 71):
            put(np.full((*SIZE_HW, 3), 128, np.uint8), "flat")
        if step in (40, 41, 80, 110):
            # Half a step on, so that it is no repetition.
            put(blur(view(scene, step * 2 + 1)), "blurred")
        if step in (50, 90):
            for _ in range(3 if step == 50 else 4):
                put(images[-1], "duplicate")
    return images, faults


@pytest.fixture(scope="module", params=["png", "h264"])
def faulty(request, tmp_path_factory) -> tuple[Path, dict[int, str]]:
    images, faults = clip_with_faults()
    folder = tmp_path_factory.mktemp("faulty")
    if request.param == "png":
        return save_folder(folder / "frames", images), faults
    with VideoWriter(folder / "clip.mp4", 30, SIZE_HW) as writer:
        for image in images:
            writer.write(image)
    return folder / "clip.mp4", faults


@pytest.fixture(scope="module")
def pan(tmp_path_factory) -> Path:
    """90 good views, as images."""
    scene = panorama(seed=5)
    return save_folder(tmp_path_factory.mktemp("pan") / "pan", [view(scene, step * 3) for step in range(90)])


def test_exactly_the_bad_frames_are_dropped(faulty):
    path, faults = faulty
    sample = sample_frames([path], calibration=40, validation=20)
    assert sample.spec.dropped == BAD
    assert sample.spec.seen == 120 + sum(BAD.values())
    chosen = {frame.seq for frame in (*sample.spec.frames, *sample.spec.validation_frames)}
    assert len(chosen) == 60
    # A repetition of a frame is as good as the frame, so of those only the number is known.
    assert not chosen & {seq for seq, fault in faults.items() if fault != "duplicate"}


def test_every_good_frame_can_be_chosen(faulty):
    path, faults = faulty
    sample = sample_frames([path], calibration=80, validation=40)
    chosen = {frame.seq for frame in (*sample.spec.frames, *sample.spec.validation_frames)}
    assert len(chosen) == 120
    assert not chosen & {seq for seq, fault in faults.items() if fault != "duplicate"}
    assert sample.spec.dropped == BAD


def test_the_frames_are_those_of_the_source(pan):
    sample = sample_frames([pan], calibration=10, validation=5)
    with open_source(pan) as source:
        originals = {frame.seq: frame for frame in source}
    images = (*sample.calibration, *sample.validation)
    for image, item in zip(images, (*sample.spec.frames, *sample.spec.validation_frames), strict=True):
        np.testing.assert_array_equal(image, originals[item.seq].image)
        assert item.file == Path(originals[item.seq].source_name).name


def test_the_list_names_files_and_never_folders(pan, faulty):
    spec = sample_frames([pan], calibration=10, validation=5).spec
    assert {(item.file, item.time_s) for item in spec.frames} <= {(f"f{seq:04d}.png", None) for seq in range(90)}
    assert all(item.file == f"f{item.seq:04d}.png" for item in (*spec.frames, *spec.validation_frames))
    path, _ = faulty
    if path.suffix == ".mp4":
        spec = sample_frames([path], calibration=10, validation=5).spec
        assert {item.file for item in spec.frames} == {"clip.mp4"}
        assert [item.time_s for item in spec.frames] == pytest.approx([item.seq / 30 for item in spec.frames])


def test_validation_and_calibration_share_no_frame(faulty):
    sample = sample_frames([faulty[0]], calibration=40, validation=20)
    learn, judge = ({f.seq for f in part} for part in (sample.spec.frames, sample.spec.validation_frames))
    assert (len(learn), len(judge)) == (40, 20)
    assert not learn & judge


def test_the_seed_determines_the_sample(pan):
    runs = [sample_frames([pan], calibration=10, validation=5, seed=seed).spec for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].seed == 3
    assert runs[0].sha256 != runs[2].sha256


def test_the_hash_covers_pixels_and_order(pan):
    """Recomputed: shape and bytes of each frame, calibration first."""
    sample = sample_frames([pan], calibration=6, validation=3)
    digest = hashlib.sha256()
    for image in (*sample.calibration, *sample.validation):
        digest.update(repr(image.shape).encode() + image.tobytes())
    assert sample.spec.sha256 == digest.hexdigest()


def test_scenes_are_covered_before_any_is_repeated(tmp_path):
    """Four scenes, one of them a hundred times as long as the others: each is among the first frames."""
    images: list[np.ndarray] = []
    lengths = (150, 12, 12, 12)
    for seed, length in enumerate(lengths):
        scene = panorama(seed=seed)
        tint = np.array([(1, 1, 1), (0.2, 1, 1), (1, 0.2, 1), (1, 1, 0.2)][seed])
        images += [(view(scene, step, pixels=2) * tint).astype(np.uint8) for step in range(length)]
    sample = sample_frames([save_folder(tmp_path, images)], calibration=12, validation=1)
    bounds = np.cumsum(lengths)
    assert {int(np.searchsorted(bounds, frame.seq, side="right")) for frame in sample.spec.frames} == {0, 1, 2, 3}


def test_sources_share_evenly(pan, tmp_path):
    scene = panorama(seed=9)
    other = save_folder(tmp_path / "other", [view(scene, step * 3) for step in range(60)])
    sample = sample_frames([pan, other], calibration=20, validation=10)
    first = {image.tobytes() for image in (frame.image for frame in open_source(pan))}
    assert [sum((image.tobytes() in first) is own for image in sample.calibration) for own in (True, False)] == [10, 10]
    assert {image.tobytes() in first for image in sample.validation} == {True, False}


def test_images_given_one_by_one_are_one_source(pan):
    whole = sample_frames([pan], calibration=10, validation=5).spec
    single = sample_frames(sorted(pan.iterdir()), calibration=10, validation=5).spec
    assert single == whole


def test_every_frame_is_read_once_and_counted(pan):
    calls: list[tuple[int, int | None]] = []
    sample_frames([pan], calibration=10, validation=5, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 90) for done in range(1, 91)]


def test_large_frames_are_reduced(tmp_path):
    scene = cv2.resize(panorama(), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    images = [np.ascontiguousarray(scene[:, step * 40 : step * 40 + 320]) for step in range(20)]
    sample = sample_frames([save_folder(tmp_path, images)], calibration=4, validation=2, max_side=160)
    assert {image.shape for image in sample.calibration} == {(90, 160, 3)}
    # Area averaging by two, as the mean of 2x2 blocks.
    blocks = images[sample.spec.frames[0].seq].reshape(90, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(sample.calibration[0] - blocks).max() <= 0.5


def test_sizes_may_be_mixed(tmp_path):
    scene = panorama()
    images = [view(scene, step * 3) for step in range(12)]
    images += [cv2.resize(view(scene, step * 3), (100, 80)) for step in range(20, 32)]
    sample = sample_frames([save_folder(tmp_path, images)], calibration=16, validation=6)
    assert {image.shape for image in sample.calibration} == {(90, 160, 3), (80, 100, 3)}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_blurred_frames_are_used_if_there_are_too_few_good_ones(tmp_path, caplog):
    scene = panorama()
    images = [blur(view(scene, step * 3)) if step % 4 == 1 else view(scene, step * 3) for step in range(24)]
    folder = save_folder(tmp_path, images)
    assert sample_frames([folder], calibration=12, validation=6).spec.dropped == {"blurred": 6}
    assert messages(caplog) == []
    assert sample_frames([folder], calibration=14, validation=7).spec.dropped == {"blurred": 3}
    assert messages(caplog) == ["too few good frames: using 3 blurred ones as well"]


def test_the_sharper_of_two_near_duplicates_is_kept(tmp_path):
    """The camera stands still at each place of a misty scene and comes into focus."""
    scene = panorama() // 6 + 100
    images = [image for step in range(12) for image in (blur(view(scene, step * 6), 1), view(scene, step * 6))]
    sample = sample_frames([save_folder(tmp_path, images)], calibration=8, validation=4)
    assert sample.spec.dropped == {"duplicate": 12}
    assert {frame.seq for frame in (*sample.spec.frames, *sample.spec.validation_frames)} == set(range(1, 24, 2))


def test_then_near_duplicates_are_used_but_no_exact_ones(tmp_path, caplog):
    rng = np.random.default_rng(0)
    still = view(panorama(), 4)
    noisy = [np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    sample = sample_frames([save_folder(tmp_path / "noisy", noisy)], calibration=4, validation=2)
    assert (len(sample.calibration), len(sample.validation)) == (4, 2)
    assert sample.spec.dropped == {"duplicate": 6}
    assert messages(caplog) == ["too few good frames: using 5 duplicate ones as well"]
    with pytest.raises(CalibrationError, match=r"1 of 12 frames can be used \(11 duplicate\).*at least 2"):
        sample_frames([save_folder(tmp_path / "frozen", [still] * 12)])


def test_then_the_numbers_shrink_in_proportion(pan, caplog):
    sample = sample_frames([pan], calibration=400, validation=200)
    assert (len(sample.calibration), len(sample.validation)) == (60, 30)
    assert messages(caplog) == [
        "90 frames can be used of the 400 + 200 asked for; taking 60 for calibration and 30 for validation"
    ]


def test_two_frames_give_one_of_each(tmp_path):
    scene = panorama()
    sample = sample_frames([save_folder(tmp_path, [view(scene, 0), view(scene, 40)])])
    assert (len(sample.calibration), len(sample.validation)) == (1, 1)


def test_a_black_clip_is_an_error(tmp_path):
    folder = save_folder(tmp_path, [np.zeros((*SIZE_HW, 3), np.uint8)] * 9)
    with pytest.raises(CalibrationError, match=r"0 of 9 frames can be used \(9 black\).*give videos or images"):
        sample_frames([folder])


@pytest.mark.parametrize("option", ["calibration", "validation", "max_side"])
def test_impossible_numbers_are_rejected(pan, option):
    with pytest.raises(OptionError, match="1 or more"):
        sample_frames([pan], **{option: 0})


def test_sources_are_checked_before_anything_is_read(pan, tmp_path):
    with pytest.raises(OptionError, match="no sources"):
        sample_frames([])
    seen: list[int] = []
    with pytest.raises(VideoNotFoundError):
        sample_frames([pan, tmp_path / "missing.mp4"], progress=lambda done, total: seen.append(done))
    with pytest.raises(NoFramesError):
        sample_frames([pan, tmp_path], progress=lambda done, total: seen.append(done))
    assert seen == []


def test_a_damaged_image_is_named(tmp_path):
    folder = save_folder(tmp_path, [view(panorama(), step) for step in range(5)])
    (folder / "f0003.png").write_bytes(b"\x89PNG\r\n\x1a\n, and then nothing")
    with pytest.raises(VideoDecodeError, match=r"f0003\.png"):
        sample_frames([folder])


@pytest.fixture(scope="module")
def dashcam() -> Iterator[Path]:
    path = Path(os.environ.get("EDGE_VSEG_DATA", PROJECT.parent / "shared" / "data")) / "videos" / "dashcam.mp4"
    if not path.is_file():
        pytest.skip(f"the dashcam video is not at {path}; set EDGE_VSEG_DATA")
    return path


@pytest.mark.data
def test_a_real_drive(dashcam):
    """515 good frames, no two alike: nothing to drop, and room for the whole gap."""
    sample = sample_frames([dashcam])
    assert sample.spec.seen == 515
    assert sample.spec.dropped == {}
    learn = np.array([frame.seq for frame in sample.spec.frames])
    judge = np.array([frame.seq for frame in sample.spec.validation_frames])
    assert (len(set(learn)), len(set(judge))) == (64, 32)
    assert np.abs(learn[:, None] - judge[None, :]).min() > 15
    # Both reach over the whole drive, quarter by quarter.
    assert set(learn // 129) == set(judge // 129) == {0, 1, 2, 3}
    assert sample_frames([dashcam]).spec == sample.spec


@pytest.mark.data
def test_a_real_still_camera(dashcam):
    """The fixed camera repeats itself while no car passes; 103 frames, counted by eye-checked threshold."""
    sample = sample_frames([dashcam.with_name("static-road.avi")], calibration=32, validation=16)
    assert sample.spec.seen == 374
    assert 50 < sample.spec.dropped["duplicate"] < 200
    assert set(sample.spec.dropped) == {"duplicate"}
