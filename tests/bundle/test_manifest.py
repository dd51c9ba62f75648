"""Manifests: what is written is read back, and what contradicts itself is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_trees import SHA, tree
from msgspec.structs import replace
from reference_bundle import make_failed, make_manifest, make_variant

from edge_vseg.bundle.manifest import (
    CalibrationSpec,
    ClassIoU,
    FileSpec,
    FrameSpec,
    HeadSpec,
    Label,
    Manifest,
    Parity,
    Quantization,
    SampledFrame,
    TensorSpec,
    TileGraph,
    Variant,
    dumps,
    loads,
)
from edge_vseg.errors import EdgeVsegError, ManifestError

finite = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 2**64 - 1)  # no reader of JSON has to take more
share = st.floats(0, 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text("abcdefghijklmnop_-0123456789", min_size=1, max_size=12)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    classes = draw(st.integers(2, 255))
    height, width = draw(st.integers(1, 4000)), draw(st.integers(1, 4000))
    head = draw(st.sampled_from(["scores", "foreground", "labels"]))
    out_hw = (draw(st.integers(1, 500)), draw(st.integers(1, 500)))
    channels = classes if head == "scores" else 1
    quantization = st.none() | st.builds(Quantization, scale=st.floats(1e-9, 1e9), zero_point=st.integers(-128, 255))
    mean = draw(st.just(()) | st.tuples(finite, finite, finite))
    ids = draw(st.lists(names, unique=True, max_size=4))
    variants = tuple(
        make_variant(
            name,
            precision=draw(st.sampled_from(["int8", "float", "float16"])),
            status=draw(st.sampled_from(["ok", "drop", "slower-than-float", "slower-than-asked"])),
            reason=draw(text),
            input=TensorSpec(
                name=draw(text),
                shape=(1, height, width, 3),
                dtype=draw(st.sampled_from(["uint8", "int8", "float32"])),
                layout="NHWC",
                quantization=draw(quantization),
                mean=mean,
                scale=(0.5, 1.0, 2.0) if mean else (),
            ),
            output=TensorSpec(name="out", shape=(1, channels, *out_hw), dtype="float32", layout="NCHW"),
            parity=draw(
                st.none()
                | st.builds(
                    Parity,
                    frames=count,
                    worst_frame=count,
                    pixel_agreement=share,
                    mean_iou=share,
                    sqnr_db=st.none() | finite,
                    worst_agreement=share,
                    latency_ms=st.none() | st.floats(0, 1e6),
                    float_latency_ms=st.none() | st.floats(0, 1e6),
                    iou=st.lists(st.builds(ClassIoU, name=text, iou=st.none() | share), max_size=3).map(tuple),
                )
            ),
        )
        for name in ids
    )
    return make_manifest(
        *variants,
        name=draw(text),
        labels=tuple(Label(id=i, name=f"c{i}", color=(i, 255 - i, 0)) for i in range(classes)),
        frame=FrameSpec(size_hw=(height, width), color=draw(st.sampled_from(["rgb", "bgr"]))),
        head=HeadSpec(kind=head, size_hw=out_hw, threshold=draw(finite), cut=tuple(draw(st.lists(text, max_size=3)))),
        calibration=CalibrationSpec(
            frames=tuple(
                draw(st.lists(st.builds(SampledFrame, file=text, seq=count, time_s=st.none() | finite), max_size=3))
            ),
            seed=draw(st.integers(0, 2**32)),
            dropped=draw(st.dictionaries(text, st.integers(0, 1000), max_size=3)),
        ),
        files={path: FileSpec(bytes=draw(st.integers(0, 2**40)), sha256=SHA) for v in variants for path in v.files},
        made_with=draw(st.dictionaries(text, text, max_size=3)),
    )


@given(manifests())
def test_round_trip(manifest: Manifest) -> None:
    data = dumps(manifest)
    assert loads(data) == manifest
    assert dumps(loads(data)) == data


def at(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    """An edit that sets a value deep in the tree."""

    def edit(root: Any) -> None:
        for key in path[:-1]:
            root = root[key]
        root[path[-1]] = value

    return edit


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def edit(root: Any) -> None:
        for key in path[:-1]:
            root = root[key]
        del root[path[-1]]

    return edit


def rename_file(name: str) -> Callable[[dict[str, Any]], None]:
    """The variant's file gets another name, everywhere."""

    def edit(root: dict[str, Any]) -> None:
        root["files"] = {name: {"bytes": 3, "sha256": SHA}}
        root["variants"][0] |= {"entry": name, "files": [name]}

    return edit


def test_the_unmodified_manifest_is_valid() -> None:
    assert loads(json.dumps(tree()).encode()).variants[0].id == "reference/float"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(at("surprise", value=1), "unknown field `surprise`", id="unknown-key"),
        pytest.param(at("variants", 0, "surprise", value=1), r"`surprise` - at `\$.variants\[0\]`", id="unknown-deep"),
        pytest.param(without("labels"), "missing required field `labels`", id="missing"),
        pytest.param(without("variants", 0, "input", "dtype"), r"`dtype` - at `\$.variants\[0\].input`", id="no-dtype"),
        pytest.param(at("name", value=5), r"`\$.name`", id="number-for-text"),
        pytest.param(at("frame", "size_hw", value=["48", 64]), r"`\$.frame.size_hw\[0\]`", id="text-for-number"),
        pytest.param(at("frame", "size_hw", value=[0, 64]), r"`\$.frame.size_hw\[0\]`", id="empty-frame"),
        pytest.param(at("frame", "size_hw", value=[48, 64, 3]), r"`\$.frame.size_hw`", id="three-sides"),
        pytest.param(at("schema_version", value=True), r"`\$.schema_version`", id="true-for-1"),
        pytest.param(at("schema_version", value="1"), "integer schema_version", id="text-for-version"),
        pytest.param(at("head", "kind", value="boxes"), r"'boxes' - at `\$.head.kind`", id="unknown-head"),
        pytest.param(at("labels", 1, "id", value=2), r"\[0, 2, 2\]", id="gap-in-labels"),
        pytest.param(at("labels", 1, "color", value=[0, 256, 0]), r"`\$.labels\[.*\].color\[1\]`", id="colour"),
        pytest.param(at("labels", value=[]), "at least two classes", id="no-labels"),
        pytest.param(without("labels", 2), "gives 3 channels but the 2 labels need 2", id="class-count"),
        pytest.param(at("head", "kind", value="foreground"), "gives 3 channels but .* need 1", id="head-channels"),
        pytest.param(at("variants", 0, "entry", value="other.npz"), "'other.npz' is not among its files", id="entry"),
        pytest.param(at("files", value={}), "is not in the list of files", id="unlisted-file"),
        pytest.param(at("variants", 0, "input", value=None), "Expected `object`, got `null`", id="no-input"),
        pytest.param(at("variants", 0, "input", "shape", value=[1, 48, 64]), "needs 4 dimensions", id="rank"),
        pytest.param(at("variants", 0, "input", "shape", value=[2, 48, 64, 3]), "batch of 1", id="batch"),
        pytest.param(
            at("variants", 0, "input", "shape", value=[1, 48, 96, 3]), "not a frame of 48x64x3", id="frame-size"
        ),
        pytest.param(at("variants", 0, "input", "shape", value=[1, 48, 64, 1]), "not a frame of 48x64x3", id="grey"),
        pytest.param(at("head", "size_hw", value=[6, 9]), "the head promises 6x9", id="head-size"),
        pytest.param(at("variants", 0, "input", "mean", value=[1.0]), "mean has 1 values and scale 0", id="mean-alone"),
        pytest.param(
            lambda t: t["variants"][0]["input"].update(mean=[1.0, 2.0], scale=[1.0, 2.0]),
            "all 3 channels",
            id="two-means",
        ),
        pytest.param(
            lambda t: t["variants"][0]["input"].update(mean=[1.0, 2.0, 3.0], scale=[1.0, 0.0, 2.0]),
            "must not hold 0",
            id="zero-scale",
        ),
        pytest.param(
            at("variants", 0, "input", "quantization", value={"scale": 0.0, "zero_point": 0}),
            "must be positive and finite",
            id="zero-quantum",
        ),
        pytest.param(lambda t: t["variants"].append(t["variants"][0]), "ids are not unique", id="repeated-variant"),
        pytest.param(at("source", "sha256", value="A" * 64), r"`\$.source.sha256`", id="hash-in-capitals"),
        pytest.param(rename_file("../graph.npz"), "is not a plain relative path", id="parent"),
        pytest.param(rename_file("a/../../graph.npz"), "is not a plain relative path", id="parent-inside"),
        pytest.param(rename_file("/etc/passwd"), "is not a plain relative path", id="absolute"),
        pytest.param(rename_file("a\\..\\graph.npz"), "is not a plain relative path", id="backslash"),
        pytest.param(rename_file("C:graph.npz"), "is not a plain relative path", id="drive"),
        pytest.param(rename_file("a//graph.npz"), "is not a plain relative path", id="double-slash"),
        pytest.param(rename_file("./graph.npz"), "is not a plain relative path", id="dot"),
        pytest.param(rename_file("."), "is not a plain relative path", id="itself"),
        pytest.param(rename_file(""), "is not a plain relative path", id="no-path"),
        pytest.param(rename_file("a\0b"), "is not a plain relative path", id="nul"),
        pytest.param(rename_file("a\nb"), "is not a plain relative path", id="newline"),
    ],
)
def test_bad_manifest(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    spoilt = tree()
    edit(spoilt)
    with pytest.raises(ManifestError, match=message) as caught:
        loads(json.dumps(spoilt).encode(), where="road.evseg/manifest.json")
    assert str(caught.value).startswith("road.evseg/manifest.json: ")


def regional(**fields: object) -> Variant:
    """A variant for frames of 48x64 that has scores at stride 8, with a graph for 32x32 of it."""
    variant = make_variant()
    entry = "reference/float/tile.npz"
    tile = TileGraph(
        entry=entry,
        input=TensorSpec(name="frame", shape=(1, 32, 32, 3), dtype="uint8", layout="NHWC"),
        output=TensorSpec(name="scores", shape=(1, 3, 4, 4), dtype="float32", layout="NCHW"),
        halo=8,
        agreement=0.97,
        latency_ms=0.5,
    )
    given = {"files": (variant.entry, entry), "tile": replace(tile, **fields)}
    return replace(variant, **given)


def regional_tree() -> dict[str, Any]:
    variant = regional()
    manifest = make_manifest(variant, files={name: FileSpec(bytes=3, sha256=SHA) for name in variant.files})
    loaded = json.loads(dumps(manifest))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("tile", [regional(), regional(latency_ms=None, halo=0), make_variant(untiled="no luck")])
def test_tile_round_trip(tile: Variant) -> None:
    manifest = make_manifest(tile, files={name: FileSpec(bytes=3, sha256=SHA) for name in tile.files})
    assert loads(dumps(manifest)) == manifest


def move_tile(name: str) -> Callable[[dict[str, Any]], None]:
    """The tile's file gets another name, everywhere."""

    def edit(root: dict[str, Any]) -> None:
        variant = root["variants"][0]
        variant["tile"]["entry"] = name
        variant["files"][1] = name
        root["files"] = {path: {"bytes": 3, "sha256": SHA} for path in variant["files"]}

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(at("entry", value="reference/float/other.npz"), "other.npz' is not among its files", id="entry"),
        pytest.param(at("entry", value="../tile.npz"), r"tile '\.\./tile.npz' is not among", id="outside"),
        pytest.param(at("entry", value=None), r"`\$.variants\[0\].tile.entry`", id="no-entry"),
        pytest.param(at("surprise", value=1), r"`surprise` - at `\$.variants\[0\].tile`", id="unknown"),
        pytest.param(at("halo", value=-8), r"`\$.variants\[0\].tile.halo`", id="negative-halo"),
        pytest.param(at("halo", value=4), "halo 4, do not fall on those of the frame", id="halo-off-stride"),
        pytest.param(at("halo", value=16), "halo of 16 is no part of a frame of 48x64", id="all-halo"),
        pytest.param(at("agreement", value=1.5), r"`\$.variants\[0\].tile.agreement`", id="agreement"),
        pytest.param(at("input", "shape", value=[1, 64, 32, 3]), "64x32 .* no part of a frame of 48x64", id="high"),
        pytest.param(at("input", "shape", value=[1, 32, 72, 3]), "32x72 .* no part of a frame of 48x64", id="wide"),
        pytest.param(at("input", "shape", value=[1, 32, 32, 1]), "'frame' of its tile is not a smaller", id="grey"),
        pytest.param(at("input", "dtype", value="float32"), "'frame' of its tile is not a smaller", id="dtype"),
        pytest.param(at("input", "layout", value="any"), "'frame' of its tile is not a smaller", id="layout"),
        pytest.param(at("output", "shape", value=[1, 4, 4, 4]), "'scores' of its tile is not a", id="classes"),
        pytest.param(at("output", "shape", value=[1, 3, 4, 8]), "4x8 scores of a tile of 32x32", id="stride"),
        pytest.param(at("input", "shape", value=[1, 32, 36, 3]), "4x4 scores of a tile of 32x36", id="uneven"),
    ],
)
def test_bad_tile(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    spoilt = regional_tree()
    assert loads(json.dumps(spoilt).encode()).variants[0].tile == regional().tile
    edit(spoilt["variants"][0]["tile"])
    with pytest.raises(ManifestError, match=message):
        loads(json.dumps(spoilt).encode())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(move_tile("a/../../tile.npz"), "is not a plain relative path", id="outside"),
        pytest.param(move_tile("/etc/passwd"), "is not a plain relative path", id="absolute"),
        pytest.param(without("files", "reference/float/tile.npz"), "is not in the list of files", id="unlisted"),
        pytest.param(
            lambda t: t["head"].update(kind="labels") or t["variants"][0]["output"].update(shape=[1, 1, 6, 8]),
            "has a tile graph, but its head gives finished label maps",
            id="label-map",
        ),
    ],
)
def test_bad_tile_context(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    spoilt = regional_tree()
    edit(spoilt)
    with pytest.raises(ManifestError, match=message):
        loads(json.dumps(spoilt).encode())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version": 1', '"schema_version": 1, "schema_version": 1', "'schema_version' appears twice"),
        ('"zero": 0', '"zero": 0, "zero": 0', "'zero' appears twice"),
        ('"threshold": 0.5', '"threshold": NaN', "NaN is not allowed"),
        ('"threshold": 0.5', '"threshold": Infinity', "Infinity is not allowed"),
        ('"threshold": 0.5', '"threshold": -Infinity', "-Infinity is not allowed"),
        ('"threshold": 0.5', '"threshold": 1e999', "1e999 is too large"),
        ('"threshold": 0.5', '"threshold": ' + "9" * 5000, "not a valid manifest"),
        ('"threshold": 0.5', '"threshold": ' + "[" * 200_000, "not a valid manifest"),
        ('"threshold": 0.5', '"threshold": 0.5,,', "Expecting property name"),
    ],
    ids=["twice", "twice-deep", "nan", "inf", "minus-inf", "overflow", "digits", "nested", "comma"],
)
def test_bad_json(old: str, new: str, message: str) -> None:
    spoilt = tree()
    spoilt["made_with"] = {}
    spoilt["calibration"]["dropped"] = {"zero": 0}
    text = json.dumps(spoilt)
    assert text.count(old) == 1
    with pytest.raises(ManifestError, match=message):
        loads(text.replace(old, new).encode())


@pytest.mark.parametrize("data", [b"", b"\xff\xfe{}", b"[]", b"1", b"null", b"{}", b'{"schema_version": 1'])
def test_no_manifest_at_all(data: bytes) -> None:
    with pytest.raises(ManifestError):
        loads(data)


@pytest.mark.parametrize("wrong", ["letterbox", {"kind": "letterbox"}, {"border_rgb": [0, 0, 256]}, {"kind": "crop"}])
def test_impossible_rules_for_frames(wrong: object) -> None:
    spoilt = tree() | {"schema_version": 4}
    spoilt["frame"]["resize"] = wrong
    with pytest.raises(ManifestError, match="resize"):
        loads(json.dumps(spoilt).encode())


@given(st.recursive(st.none() | st.booleans() | finite | st.text(), lambda s: st.lists(s) | st.dictionaries(text, s)))
def test_any_other_json_is_refused(value: object) -> None:
    spoilt = tree()
    spoilt["head"] = value
    with pytest.raises(EdgeVsegError):
        loads(json.dumps(spoilt).encode())


def test_unknown_variant_lists_the_known() -> None:
    with pytest.raises(ManifestError, match=r"no variant 'x'; it has: reference/float"):
        loads(json.dumps(tree()).encode()).variant("x")


def test_failed_variants_are_listed_apart() -> None:
    manifest = replace(make_manifest(), failed=(make_failed("tflite/int8", "no luck"),))
    assert loads(dumps(manifest)).failed[0].reason == "no luck"
    with pytest.raises(ManifestError, match="has no 'tflite/int8', its export failed: no luck; it has: "):
        manifest.variant("tflite/int8")


def test_speedup() -> None:
    parity = make_variant().parity
    assert parity is not None
    assert replace(parity, latency_ms=2.0, float_latency_ms=7.0).speedup == 3.5
    assert replace(parity, latency_ms=None).speedup is None
