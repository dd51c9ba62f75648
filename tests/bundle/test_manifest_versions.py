"""What each version of the manifest's schema has, and what older ones are read as."""

from __future__ import annotations

import json

import pytest
from manifest_trees import tree
from msgspec.structs import replace
from reference_bundle import make_manifest

from edge_vseg.bundle.manifest import (
    FailedVariant,
    FrameSpec,
    HeadSpec,
    Letterbox,
    ScheduleSpec,
    dumps,
    loads,
    schema_version,
)
from edge_vseg.errors import ManifestError, SchemaVersionError


@pytest.mark.parametrize("version", [0, 7, 99])
def test_other_schema_version(version: int) -> None:
    """A newer manifest may hold anything: the version is judged before the rest."""
    spoilt = tree() | {"schema_version": version, "new_in_3": {}}
    with pytest.raises(
        SchemaVersionError, match=f"schema version {version}, this edge-vseg reads 1 and 2 and 3 and 4 and 5 and 6"
    ) as caught:
        loads(json.dumps(spoilt).encode())
    assert not isinstance(caught.value, ManifestError)


def test_a_letterbox_is_of_version_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not know it refuses it by the version; it would stretch frames otherwise."""
    boxed = FrameSpec(size_hw=make_manifest().frame.size_hw, resize=Letterbox(border_rgb=(124, 116, 104)))
    head = make_manifest().head
    assert (schema_version(make_manifest().frame, head), schema_version(boxed, head)) == (3, 4)
    manifest = replace(make_manifest(), frame=boxed, schema_version=4)
    assert loads(dumps(manifest)) == manifest
    assert json.loads(dumps(manifest))["frame"]["resize"] == {"kind": "letterbox", "border_rgb": [124, 116, 104]}
    with pytest.raises(ManifestError, match="a letterbox needs schema version 4, not 3"):
        loads(dumps(replace(manifest, schema_version=3)))
    monkeypatch.setattr("edge_vseg.bundle.manifest.serialization.READABLE", (1, 2, 3))
    with pytest.raises(SchemaVersionError, match="schema version 4"):
        loads(dumps(manifest))


def test_without_a_schedule_none_is_written() -> None:
    """Versions that know no schedules refuse the field, whatever its value."""
    assert "schedule" not in json.loads(dumps(make_manifest()))


def test_a_schedule_is_of_version_5() -> None:
    """What does not know it refuses it by the version; it would run the whole network on every frame otherwise."""
    schedule = ScheduleSpec(
        policy="deadline", parameters={"milliseconds": 15.0, "max_age_frames": 9, "motion": "dis"}, variant=""
    )
    assert schema_version(make_manifest().frame, make_manifest().head, schedule) == 5
    manifest = replace(make_manifest(), schedule=schedule, schema_version=5)
    assert loads(dumps(manifest)) == manifest
    with pytest.raises(ManifestError, match="a schedule needs schema version 5, not 4; tune it again"):
        loads(dumps(replace(manifest, schema_version=4)))


def test_what_scores_are_is_of_version_6() -> None:
    """What does not know it refuses it by the version; its probabilities would be nearly flat otherwise."""
    plain = make_manifest()
    assert "scores" not in json.loads(dumps(plain))["head"]
    head = replace(plain.head, scores="probabilities")
    assert (schema_version(plain.frame, plain.head), schema_version(plain.frame, head)) == (3, 6)
    manifest = replace(plain, head=head, schema_version=6)
    assert loads(dumps(manifest)) == manifest
    assert json.loads(dumps(manifest))["head"]["scores"] == "probabilities"
    with pytest.raises(ManifestError, match="what its scores are needs schema version 6, not 5; export it again"):
        loads(dumps(replace(manifest, schema_version=5)))


def test_what_scores_are_where_it_is_not_said() -> None:
    def head(kind: str, threshold: float = 0.5, **more: str) -> HeadSpec:
        return HeadSpec(kind=kind, size_hw=(4, 5), threshold=threshold, **more)

    assert [head(kind).holds_probabilities for kind in ("scores", "foreground", "labels")] == [False, True, False]
    assert not head("foreground", 0.0).holds_probabilities
    assert not head("foreground", scores="logits").holds_probabilities
    assert head("scores", scores="probabilities").holds_probabilities


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"policy": ""}, "policy"),
        ({"policy": "fixed", "parameters": {"period_frames": None}}, "period_frames|parameters"),
        ({"policy": "fixed", "variant": "onnxruntime/nothing"}, "wants variant 'onnxruntime/nothing'"),
        ({"policy": "fixed", "threads": -1}, "threads"),
        ({"policy": "fixed", "companion": {"name": "../other.evseg", "sha256": "0" * 64}}, "name"),
        ({"policy": "fixed", "companion": {"name": "..", "sha256": "0" * 64}}, "name"),
        ({"policy": "fixed", "library": "evil.so"}, "library"),
    ],
)
def test_impossible_schedules(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        loads(json.dumps(tree() | {"schema_version": 5, "schedule": wrong}).encode())


@pytest.mark.parametrize("version", [1, 2])
def test_failed_variants_of_older_manifests(version: int) -> None:
    """They stood among the others, with a status of their own and without a graph."""
    old = tree() | {"schema_version": version}
    old["variants"].append(
        {"id": "tflite/int8", "runtime": "tflite", "precision": "int8", "target": "any", "status": "failed",
         "reason": "no luck", "input": None, "output": None, "entry": "", "files": [], "bytes": 0}
    )  # fmt: skip
    old["variants"][0]["bytes"] = old["variants"][0].pop("graph_bytes", 7) or 7
    manifest = loads(json.dumps(old).encode())
    assert [v.id for v in manifest.variants] == ["reference/float"]
    assert manifest.variants[0].graph_bytes == 7
    assert manifest.failed == (
        FailedVariant(id="tflite/int8", runtime="tflite", precision="int8", target="any", reason="no luck"),
    )
