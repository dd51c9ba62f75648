"""What the choice of a variant remembers, where, and when it is measured again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paced_variants import choose, pace
from tiny_network import manifest

from edge_vseg.bundle.manifest import Manifest
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.selection.auto import Choice
from edge_vseg.runtimes.selection.cache import (
    MAX_ENTRIES,
    CachedChoice,
    CachedTiming,
    default_cache_path,
    read_choice,
    write_choice,
)


class TestMemory:
    """What is remembered, and what makes it forgotten."""

    @pytest.fixture
    def bundle(self, paced: Any, tmp_path: Path) -> Manifest:
        return manifest(pace(tmp_path, "float", 20), pace(tmp_path, "int8", 12, precision="int8"))

    @pytest.fixture
    def again(self, paced: Any, tmp_path: Path, bundle: Manifest) -> Callable[..., Choice]:
        """Choose with a cache, after a first choice has filled it."""
        cache = tmp_path / "cache" / "edge_vseg" / "auto.json"
        choose(paced, bundle, tmp_path, cache=cache)
        paced.opened.clear()
        return lambda **more: choose(paced, bundle, tmp_path, **({"cache": cache} | more))

    def test_cached_choice_opens_nothing(self, paced: Any, again: Callable[..., Choice]) -> None:
        choice = again()
        assert (choice.variant.id, choice.origin) == ("int8", "cache")
        assert [t.median_ms for t in choice.table] == [20, 12]
        assert choice.summary == "int8 (12.0 ms), fastest of 2 timed on an earlier run"
        assert paced.opened == []

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"bundle_hash": "b" * 64}, id="bundle"),
            pytest.param({"options": SessionOptions(threads=3)}, id="threads"),
            pytest.param({"options": SessionOptions(provider_options={"a": "b"})}, id="extra"),
            pytest.param({"precision": "int8"}, id="precision"),
            pytest.param({"cpu": CpuInfo(model="x", architecture="x86_64", cores=1, features=())}, id="cpu"),
            pytest.param({"cache": None}, id="no-cache"),
        ],
    )
    def test_changed_key_measures_again(self, again: Callable[..., Choice], change: dict[str, object]) -> None:
        assert again(**change).origin == "measured"

    def test_change_of_version(self, paced: Any, again: Callable[..., Choice]) -> None:
        paced.VERSION = "2"
        assert again().origin == "measured"

    @pytest.mark.parametrize(
        "damage",
        [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 1}', b'{"schema": 1, "entries": {"k": 3}}', b"[" * 100_000],
        ids=["empty", "cut", "list", "not-utf8", "no-entries", "wrong-entry", "deep"],
    )
    def test_damaged_file_is_logged_and_replaced(
        self, tmp_path: Path, again: Callable[..., Choice], damage: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        (cache,) = (tmp_path / "cache").rglob("*.json")
        cache.write_bytes(damage)
        assert again().origin == "measured"
        assert "unreadable" in caplog.text
        assert again().origin == "cache"

    def test_other_schema_is_not_read(self, tmp_path: Path, again: Callable[..., Choice]) -> None:
        (cache,) = (tmp_path / "cache").rglob("*.json")
        cache.write_bytes(cache.read_bytes().replace(b'"schema":1', b'"schema":2'))
        assert again().origin == "measured"

    def test_removed_variant_is_measured_again(
        self, paced: Any, tmp_path: Path, bundle: Manifest, again: Callable[..., Choice]
    ) -> None:
        (cache,) = (tmp_path / "cache").rglob("*.json")
        cache.write_bytes(cache.read_bytes().replace(b'"variant_id":"int8"', b'"variant_id":"gone"'))
        assert again().variant.id == "int8"

    def test_folder_that_cannot_be_written_is_logged_only(
        self, paced: Any, tmp_path: Path, bundle: Manifest, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        choice = choose(paced, bundle, tmp_path, cache=tmp_path / "file" / "auto.json")
        assert choice.variant.id == "int8"
        assert "cannot be stored" in caplog.text

    def test_no_staging_file_is_left(self, tmp_path: Path, again: Callable[..., Choice]) -> None:
        assert [p.name for p in (tmp_path / "cache" / "edge_vseg").iterdir()] == ["auto.json"]


def test_oldest_entries_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "auto.json"
    choice = CachedChoice(variant_id="a", table=(CachedTiming(variant_id="a", median_ms=1.0),))
    for number in range(MAX_ENTRIES + 2):
        write_choice(path, f"key{number}", choice)
    assert read_choice(path, "key1") is None
    assert read_choice(path, "key2") == choice
    assert read_choice(path, f"key{MAX_ENTRIES + 1}") == choice


@pytest.mark.parametrize(
    ("cache_home", "expected"),
    [
        ("/var/c", "/var/c/edge_vseg/auto.json"),
        ("", "/h/.cache/edge_vseg/auto.json"),
    ],
    ids=["set", "empty"],
)
def test_default_cache_path(cache_home: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.setenv("HOME", "/h")
    assert default_cache_path() == Path(expected)


def test_the_default_cache_path_is_never_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "rel")
    path = default_cache_path()
    assert path is None or path.is_absolute()


def test_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert default_cache_path() is None
