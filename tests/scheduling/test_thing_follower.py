"""Things that are followed through carried maps: a red square passes behind a green post, with a network of colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference_bundle
from reference_bundle import write_bundle
from ticking_segmenter import Ticks

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError, SessionError
from edge_vseg.scheduling import thing_follower
from edge_vseg.scheduling.policies import Adaptive, Async, EveryFrame, Fixed, Policy
from edge_vseg.scheduling.state import Origin, ShownMap, Track
from edge_vseg.scheduling.thing_follower import ThingFollower
from edge_vseg.types import Frame, Result

BLUE, GREEN, RED = range(3)
HEIGHT, WIDTH = 192, 256
POST = slice(112, 160)
SIDE, STEP, COUNT = 40, 12, 16


def texture(seed: int, size: tuple[int, int], channel: int) -> np.ndarray:
    """Mostly of one colour, and different everywhere: blocks of 12 pixels, three cells of the small picture."""
    rng, shape = np.random.default_rng(seed), (size[0] // 12 + 1, size[1] // 12 + 1, 3)
    blocks = rng.integers(0, 60, shape)
    blocks[..., channel] = rng.integers(110, 255, shape[:2])
    return blocks.repeat(12, 0).repeat(12, 1)[: size[0], : size[1]].astype(np.uint8)


GROUND_LOOKS, POST_LOOKS = texture(1, (HEIGHT, WIDTH), 0), texture(2, (HEIGHT, WIDTH), 1)
SQUARE_LOOKS = texture(3, (SIDE, SIDE), 2)


def frame(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and true labels."""
    image, labels = GROUND_LOOKS.copy(), np.full((HEIGHT, WIDTH), BLUE, np.uint8)
    box = np.s_[70 : 70 + SIDE, 20 + STEP * number : 20 + STEP * number + SIDE]
    image[box], labels[box] = SQUARE_LOOKS, RED
    image[:, POST], labels[:, POST] = POST_LOOKS[:, POST], GREEN
    return image, labels


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr(reference_bundle, "SIZE_HW", (HEIGHT, WIDTH))
        patch.setattr(reference_bundle, "STRIDE", 4)
        return write_bundle(tmp_path / "colours.evseg")


def answers(bundle: Path, policy: Policy, *, every: int = 1, **options: object) -> dict[int, Result]:
    """By number of the frame, of which only some come."""
    with Segmenter.open(
        bundle,
        runtime="reference",
        threads=1,
        policy=policy,
        options=OpenOptions(clock=Ticks(), **options),  # type: ignore[arg-type]
    ) as segmenter:
        return {
            number: segmenter(Frame(image=frame(number)[0], seq=number, capture_ns=number * 10**8))
            for number in range(0, COUNT, every)
        }


def share_right(results: dict[int, Result], numbers: range) -> float:
    """Share of the red pixels that are red."""
    parts = [(results[number].labels, frame(number)[1]) for number in numbers if number in results]
    assert parts
    return float(np.mean(np.concatenate([labels[truth == RED] == RED for labels, truth in parts])))


OUT_AGAIN = range(12, COUNT)
"""Frames on which the square is out on the other side: it goes in with the fifth."""


@pytest.mark.parametrize(
    ("policy", "every"),
    [(Fixed(period_frames=100), 1), (Async(lag_frames=15), 1), (Adaptive(max_drift=1, max_age_frames=100), 2)],
    ids=["fixed", "async", "dropped frames"],
)
def test_what_passed_behind_a_post_has_its_class_again(policy: Policy, every: int, colours: Path) -> None:
    """The only keyframe is the first frame: what is red later, it is by its looks."""
    without = answers(colours, policy, every=every)
    results = answers(colours, policy, every=every, follow=("red",))
    assert {result.age_frames for result in results.values()} == set(range(0, COUNT, every))
    assert share_right(without, OUT_AGAIN) < 0.4
    assert share_right(results, OUT_AGAIN) > 0.9
    wrote = wrong = 0
    for number, result in results.items():
        # What is written is red, and nothing else is touched.
        changed = result.labels != without[number].labels
        assert (result.labels[changed] == RED).all()
        wrote += np.count_nonzero(changed)
        wrong += np.count_nonzero(changed & (frame(number)[1] != RED))
        np.testing.assert_array_equal(np.zeros_like(changed) if result.followed is None else result.followed, changed)
        expected = without[number].uncertainty.copy()
        # Any cell of which a pixel was found by its looks.
        tall, wide = expected.shape
        found = changed.reshape(tall, HEIGHT // tall, wide, WIDTH // wide).any(axis=(1, 3))
        expected[found] = 0.35
        np.testing.assert_allclose(result.uncertainty, expected, atol=1e-6)
        np.testing.assert_array_equal(result.age_map, without[number].age_map)
        np.testing.assert_array_equal(result.probabilities, without[number].probabilities)
    assert wrong < 0.1 * wrote
    assert wrote


def test_a_late_keyframe_is_followed_from_its_own_frame(colours: Path) -> None:
    """The keyframe of frame 1 is shown from frame 10 on, when the square is hidden; it went in meanwhile."""
    policy = Async(lag_frames=9)
    without, results = answers(colours, policy), answers(colours, policy, follow=("red",))
    ages = [result.age_frames for result in results.values()]
    assert ages[8:12] == [8, 9, 9, 10]
    assert share_right(without, OUT_AGAIN) < 0.4
    assert share_right(results, OUT_AGAIN) > 0.9


def test_another_video_begins_anew(colours: Path) -> None:
    policy = Fixed(period_frames=100)
    with Segmenter.open(
        colours,
        runtime="reference",
        threads=1,
        policy=policy,
        options=OpenOptions(clock=Ticks(), follow=("red",)),  # type: ignore[arg-type]
    ) as segmenter:
        runs = [
            [
                segmenter(Frame(image=frame(number)[0], seq=number, capture_ns=(20 * run + number) * 10**8)).labels
                for number in range(COUNT)
            ]
            for run in range(2)
        ]
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)


def test_maps_of_several_frames_are_left_alone() -> None:
    """As tiles make them: their parts moved on different ways. Likewise a map whose frame was not seen."""
    image, truth = frame(0)
    origin, after = Origin(frame=1, capture_ns=0), Origin(frame=9, capture_ns=0)
    for cells, begins in ((np.zeros((2, 2), np.uint8), origin), (None, after)):
        follower = ThingFollower([RED], (HEIGHT, WIDTH))
        shown = ShownMap(track=Track.begin(begins, (24, 32)), origins=(begins,), cells=cells, labels=truth)
        follower.see(1, image, None)
        follower.see(2, frame(1)[0], None)
        labels = truth.copy()
        follower.mend(labels, shown, np.zeros((48, 64, 2), np.float32))
        np.testing.assert_array_equal(labels, truth)


def test_all_classes_of_a_name_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an old bundle may have several."""
    labels = [Label(id=i, name=name, color=(0, 0, 0)) for i, name in enumerate(["road", "car", "car"])]
    monkeypatch.setattr(thing_follower, "ThingFollower", lambda classes, frame_hw: classes)
    assert thing_follower.follower_of(["car"], labels, Fixed(), (HEIGHT, WIDTH)) == [1, 2]


@pytest.mark.parametrize(
    ("follow", "policy", "words"),
    [
        (("car",), Fixed(), "no class 'car' to follow; the bundle has blue, green, red"),
        (("red",), EveryFrame(), "policy 'every-frame' carries no label maps.*choose deadline, async"),
        ("red", Fixed(), r"follow must be a tuple of class names, such as \('car',\); got 'red'"),
        ((1,), Fixed(), "tuple of class names"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_refused(follow: object, policy: Policy, words: str, colours: Path) -> None:
    with pytest.raises(OptionError, match=words):
        answers(colours, policy, follow=follow)


def test_a_companion_and_following_go_together(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Things are looked for on the frames of the companion, too, and its maps take what is found."""
    policy = Async(lag_frames=15)
    without = answers(colours, policy, companion=colours)
    consulted = [number for number, result in without.items() if "companion" in result.latency_ms]
    assert len(consulted) > 10
    looked = []

    def paint(self: ThingFollower, labels: np.ndarray, shown: ShownMap, motion: np.ndarray) -> None:
        looked.append(len(motion))
        labels[0, 0] = RED

    monkeypatch.setattr(ThingFollower, "mend", paint)
    together = answers(colours, policy, companion=colours, follow=("red",))
    assert len(looked) >= len(consulted)
    for number in consulted:
        expected = without[number].labels.copy()
        expected[0, 0] = RED
        np.testing.assert_array_equal(together[number].labels, expected)


@pytest.mark.parametrize("where", ["mend", "see"])
def test_a_failure_leaves_the_carried_map_right(where: str, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mending is no part of the answer, and a picture that is not kept moves nothing."""
    plain = answers(colours, Fixed(period_frames=100))
    calls = {"mend": 0, "see": 0}
    whole = getattr(ThingFollower, where)

    def fails(self: ThingFollower, *given: object) -> None:
        calls[where] += 1
        if calls[where] == 4:
            raise MemoryError
        whole(self, *given)

    monkeypatch.setattr(ThingFollower, where, fails)
    with Segmenter.open(
        colours, runtime="reference", threads=1, policy=Fixed(period_frames=100),
        options=OpenOptions(clock=Ticks(), follow=("red",)),
    ) as segmenter:  # fmt: skip
        failed = 0
        for number in range(COUNT):
            try:
                result = segmenter(Frame(image=frame(number)[0], seq=number, capture_ns=number * 10**8))
            except SessionError:
                failed += 1
                continue
            other = result.labels != plain[number].labels
            assert (result.labels[other] == RED).all()
            np.testing.assert_array_equal(result.probabilities, plain[number].probabilities)
    assert calls[where] > 4
    assert failed == (where == "see")
