"""Verification finds what hashes cannot: graphs that give other answers than at export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from reference_bundle import BIAS, STRIDE, WEIGHT, Recipe, make_failed, make_variant, write_bundle
from retouch import rehash

from edge_vseg.analysis.variant_check import AGREEMENT_TOLERANCE, read_check_frame
from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import dumps
from edge_vseg.errors import BundleFileError
from edge_vseg.runtimes.backends.reference import write_reference

GRAPH = "reference/float/graph.npz"


def test_good_bundle(reference_bundle: Path) -> None:
    bundle = open_bundle(reference_bundle)
    assert check_files(bundle) == 3
    (check,) = check_variants(bundle)
    assert (check.id, check.status, check.detail) == ("reference/float", "ok", "cpu")
    assert check.agreement == 1.0
    assert check.expected == pytest.approx(1 - AGREEMENT_TOLERANCE)


def test_check_frame_is_bgr_whatever_the_graph_takes(tmp_path: Path) -> None:
    (check,) = check_variants(open_bundle(write_bundle(tmp_path / "a.evseg", Recipe(color="rgb"))))
    assert (check.status, check.agreement) == ("ok", 1.0)


def test_a_variant_that_was_never_compared_must_agree_with_float_all_the_same(tmp_path: Path) -> None:
    never = make_variant("reference/never", parity=None)
    root = write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=(never,)))
    write_reference(root / never.entry, WEIGHT[::-1].copy(), BIAS, STRIDE)
    rehash(root)
    _, check = check_variants(open_bundle(root))
    assert (check.id, check.status, check.expected) == ("reference/never", "wrong", 0.9)


def test_flipped_bit(reference_bundle: Path) -> None:
    data = bytearray((reference_bundle / GRAPH).read_bytes())
    data[50] ^= 1
    (reference_bundle / GRAPH).write_bytes(data)
    with pytest.raises(BundleFileError, match="SHA-256 differs"):
        check_files(open_bundle(reference_bundle))


def test_other_weights_with_the_right_hash(reference_bundle: Path) -> None:
    write_reference(reference_bundle / GRAPH, WEIGHT[::-1].copy(), BIAS, STRIDE)
    rehash(reference_bundle)
    bundle = open_bundle(reference_bundle)
    assert check_files(bundle) == 3
    (check,) = check_variants(bundle)
    assert check.status == "wrong"
    assert check.agreement is not None
    assert check.expected is not None
    assert check.agreement < check.expected


def test_graph_that_does_not_load_with_the_right_hash(reference_bundle: Path) -> None:
    (reference_bundle / GRAPH).write_bytes(b"PK\3\4 no archive")
    rehash(reference_bundle)
    (check,) = check_variants(open_bundle(reference_bundle))
    assert check.status == "wrong"
    assert check.agreement is None
    assert "is not a graph of the reference runtime" in check.detail


def test_what_was_already_worse_at_export_is_expected_to_be(reference_bundle: Path) -> None:
    """The same weights are fine where export measured as little agreement as there is here."""
    write_reference(reference_bundle / GRAPH, WEIGHT[::-1].copy(), BIAS, STRIDE)
    rehash(reference_bundle)
    bundle = open_bundle(reference_bundle)
    (check,) = check_variants(bundle)
    assert check.agreement is not None
    variant = bundle.manifest.variants[0]
    assert variant.parity is not None
    poor = replace(variant, parity=replace(variant.parity, worst_agreement=check.agreement))
    (reference_bundle / "manifest.json").write_bytes(dumps(replace(bundle.manifest, variants=(poor,))))
    (check,) = check_variants(open_bundle(reference_bundle))
    assert check.status == "ok"


def test_variants_for_other_machines_are_skipped(tmp_path: Path) -> None:
    others = (
        make_variant("abacus/float", runtime="abacus"),
        make_variant("reference/s390x", target="s390x"),
    )
    failed = (make_failed("reference/failed", "Einsum"),)
    bundle = open_bundle(write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=others, failed=failed)))
    checks = {check.id: check for check in check_variants(bundle)}
    assert {name: check.status for name, check in checks.items()} == {
        "reference/float": "ok",
        "abacus/float": "skipped",
        "reference/s390x": "skipped",
        "reference/failed": "skipped",
    }
    assert "no runtime 'abacus'" in checks["abacus/float"].detail
    assert "unknown target 's390x'" in checks["reference/s390x"].detail
    assert "Einsum" in checks["reference/failed"].detail


def test_check_pictures(reference_bundle: Path) -> None:
    frame, labels = read_check_frame(open_bundle(reference_bundle))
    assert frame.shape == (48, 64, 3)
    assert labels.shape == (48, 64)
    (reference_bundle / "check/labels.png").write_bytes(b"no picture")
    rehash(reference_bundle)
    with pytest.raises(BundleFileError, match="holds no readable images; export the bundle again"):
        read_check_frame(open_bundle(reference_bundle))


def test_bundle_without_check_pictures(reference_bundle: Path) -> None:
    manifest = reference_bundle / "manifest.json"
    tree = json.loads(manifest.read_bytes())
    del tree["files"]["check/frame.png"]
    manifest.write_text(json.dumps(tree))
    with pytest.raises(BundleFileError, match=r"'check/frame.png' is not a file of bundle"):
        check_variants(open_bundle(reference_bundle))


def test_check_pictures_of_another_size(reference_bundle: Path) -> None:
    """Labels that do not fit their frame are a damaged check, not an agreement of nothing."""
    _, data = cv2.imencode(".png", np.zeros((24, 32), np.uint8))
    (reference_bundle / "check/labels.png").write_bytes(data.tobytes())
    rehash(reference_bundle)
    with pytest.raises(BundleFileError, match=r"frame \(48, 64\) and labels \(24, 32\) differ in size"):
        check_variants(open_bundle(reference_bundle))


def test_slices_and_tiles_are_run(sliced_bundle: Path) -> None:
    checks = {check.id: check for check in check_variants(open_bundle(sliced_bundle))}
    (check,) = (check for check in checks.values() if check.slices is not None)
    assert check.status == "ok"
    assert check.slices is not None
    assert check.slices > 0.995
    assert check.tiles is not None
    assert check.tiles > 0.8


@pytest.mark.parametrize(("part", "said"), [("slice", "its slices agree"), ("tile", "its graph for tiles agrees")])
def test_scrambled_parts_with_the_right_hash(sliced_bundle: Path, tmp_path: Path, part: str, said: str) -> None:
    bundle = shutil.copytree(sliced_bundle, tmp_path / "a.evseg")
    (variant,) = (v for v in open_bundle(bundle).manifest.variants if v.slices)
    assert variant.tile is not None
    path = bundle / (variant.slices[-1].entry if part == "slice" else variant.tile.entry)
    model = onnx.load(path)
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.INT8 and len(weights.raw_data) > 100:
            shuffled = np.random.default_rng(0).permutation(np.frombuffer(weights.raw_data, np.uint8))
            weights.raw_data = shuffled.tobytes()
    onnx.save(model, path)
    rehash(bundle)
    check = next(check for check in check_variants(open_bundle(bundle)) if check.id == variant.id)
    assert check.status == "wrong"
    assert check.agreement is not None
    assert check.expected is not None
    assert check.agreement >= check.expected, "the whole graph is as it was"
    assert said in check.detail
