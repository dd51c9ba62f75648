"""The cache of choices decides which graph runs, so only this account may have written it."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vseg.runtimes.selection.cache import CachedChoice, read_choice, write_choice

CHOICE = CachedChoice(variant_id="int8", table=())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "edge_vseg" / "auto.json"
    write_choice(path, "key", CHOICE)
    return path


def test_nobody_else_can_read_or_write_it(cache: Path) -> None:
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    assert [path.name for path in cache.parent.iterdir()] == ["auto.json"]
    assert read_choice(cache, "key") == CHOICE


def link_to_a_copy(path: Path) -> None:
    path.rename(path.with_name("elsewhere.json"))
    path.symlink_to("elsewhere.json")


def of_another_account(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    "change",
    [
        link_to_a_copy,
        of_another_account,
        pytest.param(lambda path: path.chmod(0o666), id="for all to write"),
        pytest.param(lambda path: path.chmod(0o620), id="for the group to write"),
    ],
)
def test_what_others_could_have_written_is_not_believed(
    change: Callable[[Path], None], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(cache)
    with caplog.at_level(logging.WARNING):
        assert read_choice(cache, "key") is None
    assert "timed again" in caplog.text
    write_choice(cache, "other", CHOICE)
    assert not cache.is_symlink()
    assert read_choice(cache, "other") == CHOICE
    assert read_choice(cache, "key") is None


def test_a_link_in_its_place_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "auto.json"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_choice(path, "key", CHOICE)
    assert victim.read_text() == "precious"
    assert read_choice(path, "key") == CHOICE
