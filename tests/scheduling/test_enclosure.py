"""A bundle with a letterbox against the same one that stretches, on frames that were padded by hand."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sliced_bundle import SIZE_HW

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.bundle.manifest import FrameSpec, Letterbox
from edge_vseg.errors import SessionError
from edge_vseg.imaging.letterbox import FramePlace
from edge_vseg.scheduling.enclosure import FrameEnclosure
from edge_vseg.scheduling.policies import Adaptive, Async, EveryFrame, Fixed, Policy, Regional, Sliced
from edge_vseg.types import Frame, Result

BORDER_RGB = (124, 116, 104)
MAPS = ("logits", "probabilities", "uncertainty", "age_map", "age_ms_map", "drift_map")
COLUMNS = slice(80, 176)
"""Where a frame of 192x96 lies in an input of 192x256; in whole cells of 8, 16 and 32 columns' maps, too."""


@pytest.fixture(scope="module")
def boxed_bundle(sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("boxed") / "boxed.evseg"
    shutil.copytree(sliced_bundle, path)
    tree = json.loads((path / "manifest.json").read_bytes())
    tree["schema_version"] = 4
    tree["frame"]["resize"] = {"kind": "letterbox", "border_rgb": BORDER_RGB}
    (path / "manifest.json").write_text(json.dumps(tree))
    return path


@pytest.fixture(scope="module")
def portraits(drive: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ascontiguousarray(image[:, COLUMNS]) for image in drive]


def padded(image: np.ndarray, times: int = 1) -> np.ndarray:
    whole = np.full((SIZE_HW[0] * times, SIZE_HW[1] * times, 3), BORDER_RGB[::-1], np.uint8)
    whole[:, 80 * times : 176 * times] = image
    return whole


class Ticks:
    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self) -> int:
        return next(self._count) * 100_000


def run(bundle: Path, frames: list[Frame], policy: Policy, options: OpenOptions | None = None) -> list[Result]:
    wanted = options or OpenOptions(clock=Ticks())
    with Segmenter.open(bundle, runtime="onnxruntime", threads=1, policy=policy, options=wanted) as segmenter:
        found = []
        for frame in frames:
            result = segmenter(frame)
            for name in MAPS:
                getattr(result, name)  # maps are of this frame, and sessions may reuse their buffers
            found.append(result)
        return found


def numbered(images: list[np.ndarray], motion: np.ndarray | None = None) -> list[Frame]:
    return [
        Frame(image=image, seq=number, capture_ns=number * 33_000_000, motion=motion if number else None)
        for number, image in enumerate(images)
    ]


@pytest.mark.parametrize(
    "policy", [EveryFrame(), Fixed(period_frames=4), Sliced(period_frames=4), Async(lag_frames=2)], ids=str
)
def test_the_same_as_padded_by_hand(
    policy: Policy, sliced_bundle: Path, boxed_bundle: Path, portraits: list[np.ndarray]
) -> None:
    boxed = run(boxed_bundle, numbered(portraits), policy)
    by_hand = run(sliced_bundle, numbered([padded(image) for image in portraits]), policy)
    for ours, theirs in zip(boxed, by_hand, strict=True):
        assert ours.labels.shape == (192, 96)
        assert ours.decision.actions == theirs.decision.actions
        np.testing.assert_array_equal(ours.labels, theirs.labels[:, COLUMNS])
        for name in MAPS:
            found, expected = getattr(ours, name), getattr(theirs, name)
            assert (found is None) == (expected is None), name
            if expected is not None:
                width = expected.shape[-1]
                cells = slice(round(80 * width / 256), round(176 * width / 256))
                # Drift is interpolated for the uncertainty, and the border's is not mixed into the outermost cells.
                inner = slice(1, -1) if name == "uncertainty" else slice(None)
                np.testing.assert_array_equal(found[..., inner], expected[..., cells][..., inner], err_msg=name)


def test_guided_borders_are_the_same_as_padded_by_hand(
    sliced_bundle: Path, boxed_bundle: Path, portraits: list[np.ndarray]
) -> None:
    options = OpenOptions(borders="guided")
    by_hand = run(sliced_bundle, numbered([padded(image) for image in portraits]), EveryFrame(), options)
    for ours, theirs in zip(run(boxed_bundle, numbered(portraits), EveryFrame(), options), by_hand, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels[:, COLUMNS])


def test_label_maps_have_the_size_of_the_frame(
    sliced_bundle: Path, boxed_bundle: Path, portraits: list[np.ndarray]
) -> None:
    large = [np.repeat(np.repeat(image, 2, axis=0), 2, axis=1) for image in portraits[:2]]
    by_hand = run(sliced_bundle, numbered([padded(image, 2) for image in large]), EveryFrame())
    for ours, theirs in zip(run(boxed_bundle, numbered(large), EveryFrame()), by_hand, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels[:, 160:352])
        assert ours.labels.flags.c_contiguous


def test_label_maps_of_the_network_are_cropped_to_cells(boxed_bundle: Path, portraits: list[np.ndarray]) -> None:
    (result,) = run(boxed_bundle, numbered(portraits[:1]), EveryFrame(), OpenOptions(labels="network"))
    assert result.logits is not None
    np.testing.assert_array_equal(result.labels, result.logits.argmax(axis=0))


@pytest.mark.parametrize("policy", [EveryFrame(), Fixed(period_frames=4), Regional(max_drift=0.01)], ids=str)
def test_frames_that_fit_are_as_without_a_letterbox(
    policy: Policy, sliced_bundle: Path, boxed_bundle: Path, drive: list[np.ndarray]
) -> None:
    half = [np.ascontiguousarray(image[::2, ::2]) for image in drive]
    for frames in (drive, half):
        boxed, plain = (run(bundle, numbered(frames), policy) for bundle in (boxed_bundle, sliced_bundle))
        for ours, theirs in zip(boxed, plain, strict=True):
            np.testing.assert_array_equal(ours.labels, theirs.labels)
            np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
            assert ours.decision == theirs.decision


def test_vectors_of_the_codec_are_enclosed(
    sliced_bundle: Path, boxed_bundle: Path, portraits: list[np.ndarray]
) -> None:
    policy = Fixed(period_frames=9, motion="codec")
    cells = np.full((12, 6, 2), (0.25, -0.125), np.float32)
    whole = np.zeros((12, 16, 2), np.float32)
    whole[:, 5:11] = cells
    boxed = run(boxed_bundle, numbered(portraits[:4], cells), policy)
    by_hand = run(sliced_bundle, numbered([padded(image) for image in portraits[:4]], whole), policy)
    assert [each.source for each in boxed] == ["inferred", "propagated", "propagated", "propagated"]
    for ours, theirs in zip(boxed, by_hand, strict=True):
        assert "codec has none" not in ours.decision.reason
        np.testing.assert_array_equal(ours.labels, theirs.labels[:, COLUMNS])


def test_the_border_does_not_make_motion_look_small(
    sliced_bundle: Path, boxed_bundle: Path, portraits: list[np.ndarray]
) -> None:
    """Three fifths of the input never move; a mean over them would let maps drift for longer."""
    runs = []
    for bundle, frames in ((boxed_bundle, portraits), (sliced_bundle, [padded(image) for image in portraits])):
        results = run(bundle, numbered(frames), Fixed(period_frames=50))
        drift = results[-1].drift_map
        assert drift is not None
        runs.append((results, float(drift.mean())))
    (boxed, within), (_, over_all) = runs
    assert within > 1.5 * over_all > 0
    bound = (within + over_all) / 2
    counts = [
        sum(each.source == "inferred" for each in run(bundle, numbered(frames), Adaptive(max_drift=bound)))
        for bundle, frames in ((boxed_bundle, portraits), (sliced_bundle, [padded(image) for image in portraits]))
    ]
    assert counts[0] > counts[1]
    assert len(boxed) == len(portraits)


def test_a_frame_that_lies_elsewhere_begins_anew(boxed_bundle: Path, drive: list[np.ndarray]) -> None:
    tall, wide = np.ascontiguousarray(drive[0][:, COLUMNS]), drive[1]
    shapes = [tall, tall, wide, wide, tall, np.ascontiguousarray(tall[::2, ::2])]
    results = run(boxed_bundle, numbered(shapes), Fixed(period_frames=50))
    assert [each.source for each in results] == [
        "inferred",
        "propagated",
        "inferred",
        "propagated",
        "inferred",
        "propagated",
    ]
    assert [each.labels.shape for each in results] == [image.shape[:2] for image in shapes]


def test_a_mask_is_cropped_as_the_labels_are() -> None:
    enclosure = FrameEnclosure(FrameSpec(size_hw=SIZE_HW, resize=Letterbox(border_rgb=BORDER_RGB)), "bgr")
    frame, _ = enclosure.enter(Frame(image=np.zeros((384, 192, 3), np.uint8), seq=0, capture_ns=0))
    mask = np.zeros(enclosure.labels_hw(frame), bool)
    assert mask.shape == (384, 512)
    mask[:, 100] = True  # in the border, which is 160 wide
    assert enclosure.mask(mask) is None
    mask[7, 165] = True
    inner = enclosure.mask(mask)
    assert inner is not None
    assert inner.shape == (384, 192)
    np.testing.assert_array_equal(np.argwhere(inner), [(7, 5)])
    assert enclosure.mask(None) is None


def test_what_fails_on_the_way_in_leaves_the_place_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next frame would count as in the same place, with maps of another."""
    enclosure = FrameEnclosure(FrameSpec(size_hw=SIZE_HW, resize=Letterbox(border_rgb=BORDER_RGB)), "bgr")
    wide, tall = (Frame(image=np.zeros((*hw, 3), np.uint8), seq=0, capture_ns=0) for hw in ((96, 256), (192, 96)))
    enclosure.enter(wide)
    place = enclosure.place

    def fails(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(FramePlace, "enclose", fails)
        with pytest.raises(MemoryError):
            enclosure.enter(tall)
    assert enclosure.place == place
    assert enclosure.enter(tall)[1] is False
    assert enclosure.enter(tall)[1] is True


def test_a_bad_field_of_motion_in_a_letterbox_is_told_and_only_where_it_is_used(boxed_bundle: Path, portraits) -> None:
    field = np.zeros((3, 4, 5, 6), np.float32)
    frames = [
        Frame(image=image, seq=number, capture_ns=number * 10**8, motion=field)
        for number, image in enumerate(portraits[:3])
    ]
    assert len(run(boxed_bundle, frames, Fixed(period_frames=9))) == 3, "optical flow has no use for it"
    with pytest.raises(SessionError, match="motion of frame 0 cannot be estimated"):
        run(boxed_bundle, frames, Fixed(period_frames=9, motion="codec"))
