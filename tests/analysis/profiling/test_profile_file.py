"""Profiles as files: written, read again, and refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hand_made import make_profile

from edge_vseg.analysis.profiling.latency_profile import SCHEMA, LatencyProfile, read_latency_profile
from edge_vseg.errors import OptionError


def test_a_profile_is_one_json_object_that_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(make_profile().to_json())
    assert read_latency_profile(path) == make_profile()
    tree = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (tree["kind"], tree["schema"]) == ("profile", SCHEMA)
    assert tree["latency_ms"]["p99_9"] == 35
    assert tree["worst"][0]["steps_ms"] == {"preprocess": 1, "infer": 39}


@pytest.mark.parametrize(
    ("limit_ms", "missed", "share"),
    [(25.0, 9, 9 / 100), (25.0, 0, 0), (None, 0, None)],
    ids=["some", "none", "no limit"],
)
def test_misses_are_a_share_of_the_frames(limit_ms: float | None, missed: int, share: float | None) -> None:
    assert make_profile(limit_ms=limit_ms, missed=missed).miss_share == share


def retouched(profile: LatencyProfile, **changes: object) -> bytes:
    return json.dumps(json.loads(profile.to_json()) | changes).encode()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda p: p.to_json()[:-200], "is not a latency profile", id="cut off"),
        pytest.param(lambda p: b"", "is not a latency profile", id="empty"),
        pytest.param(lambda p: b"\xff\xfe\x00", "is not a latency profile", id="binary"),
        pytest.param(lambda p: b"[]", "is not a latency profile", id="no object"),
        pytest.param(lambda p: retouched(p, kind="evaluation"), "is not a latency profile", id="an evaluation"),
        pytest.param(lambda p: retouched(p, frames="many"), "is not a latency profile.*frames", id="of another type"),
        pytest.param(lambda p: retouched(p, first_ms=math.nan), "is not a latency profile", id="NaN"),
        pytest.param(lambda p: retouched(p, wattage=3), "is not a latency profile.*wattage", id="unknown key"),
        pytest.param(lambda p: retouched(p, schema=SCHEMA - 1), "has schema 2", id="old schema"),
        pytest.param(lambda p: retouched(p, schema=SCHEMA + 1), "has schema 4", id="new schema"),
    ],
)
def test_damaged_or_other_files_are_rejected(
    spoil: Callable[[LatencyProfile], bytes], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "spoilt.json"
    path.write_bytes(spoil(make_profile()))
    with pytest.raises(OptionError, match=words):
        read_latency_profile(path)


@pytest.mark.parametrize("where", ["missing", "folder"])
def test_a_profile_that_cannot_be_read(where: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_latency_profile(tmp_path if where == "folder" else tmp_path / "none.json")
