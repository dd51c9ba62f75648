"""When graphs are tried out, by word and by the environment; and what is remembered of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vseg.errors import OptionError
from edge_vseg.runtimes.probing import ProbeRecord, ProbeRule, probe_record
from edge_vseg.runtimes.probing.probe_rule import PROBE_VARIABLE

KEYS = [f"{number:064x}" for number in range(5)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", ProbeRule()),
        ("never", ProbeRule(when="never")),
        ("always", ProbeRule(when="always")),
        ("first:", ProbeRule()),
        ("first:300", ProbeRule(seconds=300)),
        ("always:2.5", ProbeRule(when="always", seconds=2.5)),
    ],
)
def test_environment(text: str, rule: ProbeRule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROBE_VARIABLE, text)
    assert ProbeRule.of_environment() == rule


@pytest.mark.parametrize("text", ["off", "first:-1", "first:nan", "first:inf", "300", ":300"])
def test_environment_that_says_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROBE_VARIABLE, text)
    with pytest.raises(OptionError, match="looks like first, always, never or first:300, got"):
        ProbeRule.of_environment()


def test_record_is_private_and_remembers(tmp_path: Path) -> None:
    folder = tmp_path / "cache/probed"
    record = ProbeRecord(folder)
    assert KEYS[0] not in record
    record.add(KEYS[0])
    assert KEYS[0] in record
    assert KEYS[0] in ProbeRecord(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / KEYS[0]).stat().st_mode & 0o077 == 0
    assert KEYS[0] not in ProbeRecord(None)
    ProbeRecord(None).add(KEYS[0])


def test_links_are_no_record(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / KEYS[0]).symlink_to(tmp_path / "elsewhere")
    (tmp_path / KEYS[1]).mkdir()
    record = ProbeRecord(tmp_path)
    assert KEYS[0] not in record
    assert KEYS[1] not in record


def test_a_folder_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    record = ProbeRecord(tmp_path / "file" / "probed")
    record.add(KEYS[0])
    assert KEYS[0] not in record
    assert "cannot be written" in caplog.text


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_record, "MAX_KEPT", 3)
    record = ProbeRecord(tmp_path)
    for key in KEYS:
        record.add(key)
    assert [key in record for key in KEYS] == [False, False, True, True, True]
