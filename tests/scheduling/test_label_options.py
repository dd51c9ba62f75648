"""Label maps of another size, or with borders along the edges of the image, under policies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference_bundle
from reference_bundle import Recipe, write_bundle

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.errors import OptionError
from edge_vseg.imaging.guided_filter import grey_of
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.scheduling.policies import Async, Fixed, Policy, Sliced
from edge_vseg.types import ColorOrder

GUIDED = OpenOptions(borders="guided")


@pytest.mark.parametrize("policy", [None, Fixed(period_frames=3), Async(lag_frames=2)], ids=str)
def test_labels_at_the_networks_size(policy: Policy | None, sliced_bundle: Path, drive) -> None:
    """They are the classes of the network's own cells, without interpolation."""
    options = OpenOptions(labels="network")
    with Segmenter.open(sliced_bundle, threads=1, policy=policy, options=options) as segmenter:
        results = [segmenter(image) for image in drive]
        size_hw = segmenter.bundle.manifest.head.size_hw
    assert {result.labels.shape for result in results} == {size_hw}
    np.testing.assert_array_equal(results[0].labels, results[0].probabilities.argmax(0))
    with pytest.raises(OptionError, match="'frame' or 'network'"):
        OpenOptions(labels="tiny")


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_guided_borders_are_those_of_the_frame(color: ColorOrder, sliced_bundle: Path, drive) -> None:
    with Segmenter.open(sliced_bundle, threads=1, color=color, options=GUIDED) as segmenter:
        for image in drive:
            result = segmenter(image)
            expected = LabelMapper(image.shape[:2])(result.logits, grey_of(image, color=color))
            np.testing.assert_array_equal(result.labels, expected)
            assert (result.labels != LabelMapper(image.shape[:2])(result.logits)).any()


@pytest.mark.parametrize("policy", [Async(lag_frames=2, motion=""), Sliced(period_frames=3, motion="")], ids=str)
def test_a_late_keyframe_is_guided_by_its_own_image(policy: Policy, sliced_bundle: Path, drive) -> None:
    """Not by that of the frame on which it is shown, nor by what the caller has drawn over its image meanwhile."""
    with Segmenter.open(sliced_bundle, threads=1, options=GUIDED) as segmenter:
        own = [segmenter(image).labels for image in drive]
    image, late = np.empty_like(drive[0]), 0
    with Segmenter.open(sliced_bundle, threads=1, policy=policy, options=GUIDED) as segmenter:
        for number, frame in enumerate(drive):
            image[:] = frame
            result = segmenter(image)
            image[:] = 0
            if 0 < result.age_frames < number:
                late += 1
                # Without motion it is shown as it was made.
                np.testing.assert_array_equal(result.labels, own[number - result.age_frames])
    assert late


def test_where_there_is_nothing_to_guide(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="borders must be 'interpolated' or 'guided', got 'sharp'"):
        OpenOptions(borders="sharp")  # type: ignore[arg-type]
    write_bundle(tmp_path / "a.evseg", Recipe(align="nearest"))
    with pytest.raises(OptionError, match="enlarged smoothly"):
        Segmenter.open(tmp_path / "a.evseg", runtime="reference", options=GUIDED)
    write_bundle(tmp_path / "b.evseg", Recipe())
    with pytest.raises(OptionError, match="leave out labels='network'"):
        Segmenter.open(
            tmp_path / "b.evseg", runtime="reference", options=OpenOptions(borders="guided", labels="network")
        )


def test_scores_that_are_too_large_to_be_guided_are_told(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(reference_bundle, "STRIDE", 1)
    write_bundle(tmp_path / "full.evseg", Recipe())
    with Segmenter.open(tmp_path / "full.evseg", runtime="reference", options=GUIDED) as segmenter:
        assert segmenter(np.zeros((*reference_bundle.SIZE_HW, 3), np.uint8)).labels.shape == reference_bundle.SIZE_HW
    assert "scores are 48x64: only frames at least twice as large" in caplog.text
