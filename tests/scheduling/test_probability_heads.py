"""A head whose graph gives probabilities: the same labels, and no second softmax, in every lane."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_vseg import Frame, OpenOptions, Segmenter
from edge_vseg.decision import Consult, Decision, Infer, InferTiles
from edge_vseg.scheduling.companion import MAX_WEIGHT
from edge_vseg.scheduling.policies import Fixed, Policy
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.types import Image, Result


@pytest.fixture(scope="module")
def probable(sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graphs; what they give is said to be probabilities, and what is below 0 then counts as rounding."""
    path = tmp_path_factory.mktemp("probable") / "street.evseg"
    shutil.copytree(sliced_bundle, path)
    tree = json.loads((path / "manifest.json").read_bytes())
    tree["schema_version"] = 6
    tree["head"]["scores"] = "probabilities"
    (path / "manifest.json").write_text(json.dumps(tree))
    return path


@dataclass(frozen=True)
class Then:
    """Infers the first frame, and does something else on those behind it."""

    action: InferTiles | Consult
    needs: str = ""
    motion: str = ""
    name: str = "then"
    consults: bool = False

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        return Decision(actions=(Infer() if situation.age_frames is None else self.action,))


def results(bundle: Path, images: list[Image], policy: str | Policy, **options: object) -> list[Result]:
    with Segmenter.open(bundle, threads=1, policy=policy, options=OpenOptions(**options)) as segmenter:  # type: ignore[arg-type]
        return [segmenter(Frame(image=image, seq=n, capture_ns=n * 10**9)) for n, image in enumerate(images)]


def normalised(logits: np.ndarray | None) -> np.ndarray:
    assert logits is not None
    positive = np.maximum(logits.astype(np.float64), 1e-6)
    return positive / positive.sum(axis=0)


def test_whole_frames(sliced_bundle: Path, probable: Path, drive: list[Image]) -> None:
    (ours,), (plain,) = (results(bundle, drive[:1], "every-frame") for bundle in (probable, sliced_bundle))
    np.testing.assert_array_equal(ours.labels, plain.labels)
    np.testing.assert_array_equal(ours.logits, plain.logits)
    np.testing.assert_allclose(ours.probabilities, normalised(plain.logits), atol=1e-5)
    assert np.abs(ours.probabilities - plain.probabilities).mean() > 0.01, "or the test could not fail"


def test_tiles(sliced_bundle: Path, probable: Path, drive: list[Image]) -> None:
    policy = Then(InferTiles((5,)), needs="tiles")
    (_, second), (_, plain) = (results(each, [drive[0], drive[-1]], policy) for each in (probable, sliced_bundle))
    fresh = second.age_map == 0
    expected = results(probable, [drive[-1]], "every-frame")[0].probabilities
    assert expected is not None
    assert second.probabilities is not None
    assert 0.02 < fresh.mean() < 0.4
    # Those of the tile differ from the whole frame's at its border, but not in kind: nothing below 0 is left.
    impossible = [np.mean(each[:, fresh] < 1e-6) for each in (second.probabilities, expected, plain.probabilities)]
    assert impossible[0] == pytest.approx(impossible[1], abs=0.05)
    assert impossible[2] < impossible[1] - 0.3, "or the test could not fail"


def test_a_companion(probable: Path, drive: list[Image]) -> None:
    """With itself, a second later: 0.4 of the carried map, and 0.6 of what it gives itself."""
    policy = Then(Consult(), consults=True)
    first, second = results(probable, [drive[0], drive[-1]], policy, companion=probable)
    whole = results(probable, [drive[-1]], "every-frame")[0]
    expected = (1 - MAX_WEIGHT) * normalised(first.logits) + MAX_WEIGHT * normalised(whole.logits)
    np.testing.assert_allclose(second.probabilities, expected, atol=1e-3)


def test_fusion(probable: Path, drive: list[Image]) -> None:
    """A keyframe of the same picture, fused with the one before, is what both are."""
    images = [drive[0]] * 3
    seen = results(probable, images, Fixed(period_frames=2, motion="still"))
    assert [each.source for each in seen[::2]] == ["inferred"] * 2
    assert seen[2].logits is None, "it was fused"
    np.testing.assert_allclose(seen[2].probabilities, normalised(seen[0].logits), atol=1e-4)
