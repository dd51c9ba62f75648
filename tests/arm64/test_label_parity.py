"""Label maps of this machine against another one's: ``docs/arm64.md`` has the bounds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from label_reference import (
    POLICIES,
    SCHEDULED,
    VARIANTS,
    Maps,
    Reference,
    decode,
    label_maps,
    scheduled_maps,
)

from edge_vseg import Segmenter, open_bundle
from edge_vseg.analysis.verification import check_variants
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.selection.compatibility import split_by_fit

EXACT = 0.9999
LEAST_EQUAL = {"onnxruntime/int8-arm64": 0.997, "openvino/int8": 0.995}
"""Share of the pixels with the other machine's class. OpenVINO and ONNX Runtime round differently on another CPU."""
LEAST_SCHEDULED = {"flow": 0.997, "codec": 0.995}
MOST_GREY_LEVELS = 2
"""Difference of a decoded picture: the decoders agree, the conversion to BGR rounds differently."""
MOST_WORSE = 0.002
"""Share of the pixels by which int8 may be farther from float here than on the other machine."""

Note = Callable[..., None]


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, reference: Reference, note: Note) -> str:
    """Each variant that fits this CPU."""
    name = str(request.param)
    _, unfit = split_by_fit(open_bundle(reference.bundle).manifest.variants, cpu_features(), {})
    reason = unfit.get(name)
    if reason and "dotprod" in reason:
        note(variant=name, reason=reason)
        pytest.skip(reason)
    return name


def shares(ours: Maps, theirs: Maps) -> np.ndarray:
    """Share of equal pixels of each picture."""
    assert ours.shape == theirs.shape
    return np.asarray((ours == theirs).mean(axis=(1, 2)))


def test_labels_of_the_whole_network(variant: str, reference: Reference, note: Note) -> None:
    start = time.perf_counter()
    ours = label_maps(reference.bundle, variant, reference.frames)
    duration = time.perf_counter() - start
    equal = shares(ours, reference.labels[variant])
    in_float = reference.labels["onnxruntime/float"]
    as_float = [shares(maps, in_float).mean() for maps in (ours, reference.labels[variant])]
    note(
        variant=variant,
        equal=equal.mean(),
        worst=equal.min(),
        as_float=as_float[0],
        as_float_there=as_float[1],
        frames=len(ours),
        seconds=duration,
    )
    assert equal.mean() >= LEAST_EQUAL.get(variant, EXACT)
    assert as_float[0] >= as_float[1] - MOST_WORSE


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", SCHEDULED)
def test_labels_under_a_policy(name: str, policy: str, reference: Reference, note: Note) -> None:
    equal = shares(
        scheduled_maps(reference.bundle, name, reference.clip, policy, reference.decoded),
        reference.labels[f"{name} {policy}"],
    )
    note(variant=name, policy=policy, equal=equal.mean(), worst=equal.min(), frames=len(equal))
    assert equal.mean() >= LEAST_SCHEDULED[policy]


def test_a_video_is_decoded_alike(reference: Reference) -> None:
    ours = decode(reference.clip).astype(int)
    assert ours.shape == reference.decoded.shape
    assert np.abs(ours - reference.decoded).max() <= MOST_GREY_LEVELS


def test_verify_finds_nothing_wrong(reference: Reference) -> None:
    checks = check_variants(open_bundle(reference.bundle), threads=1)
    assert [check for check in checks if check.status == "wrong"] == []
    assert {check.id for check in checks if check.status == "ok"} >= set(SCHEDULED) - unfit_here(reference)


def test_auto_takes_a_variant_that_fits(reference: Reference) -> None:
    with Segmenter.open(reference.bundle, threads=1) as segmenter:
        assert segmenter.variant.id not in unfit_here(reference)
        labels = segmenter(reference.frames[0]).labels
    assert (labels == reference.labels["onnxruntime/float"][0]).mean() > 0.98


def unfit_here(reference: Reference) -> set[str]:
    return set(split_by_fit(open_bundle(reference.bundle).manifest.variants, cpu_features(), {})[1])
