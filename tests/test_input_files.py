"""Files that are none, and JSON with traps."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edge_vseg.input_files import MAX_DEPTH, open_regular, read_regular, strict_json, whole_number


def test_a_regular_file_and_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b") == b"abc"
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"


def test_a_file_may_be_as_large_as_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_regular(tmp_path / "a", 3) == b"abc"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_regular(tmp_path / "a", 2)


def test_nothing_that_waits_or_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "zero", "socket"):
            with pytest.raises(OSError, match="not a regular file"):
                read_regular(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ("[NaN]", "NaN is not allowed"),
        ("[-Infinity]", "-Infinity is not allowed"),
        ("[1e999]", "1e999 is too large"),
        (f"[{10**400}]", "is too large"),
        (f"[-{2**64}]", "is too large"),
        ("[" + "9" * 5000 + "]", "is too large"),
        (r'["\ud800"]', "half of a surrogate pair"),
        (r'{"\udfff": 1}', "half of a surrogate pair"),
        ("[" * 100 + "]" * 100, "nested more than"),
        ("[" * 100_000, "nested more than"),
    ],
)
def test_json_with_a_trap(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        strict_json(text.encode())


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        strict_json(b'"\xff"')


def test_json_within_the_limits() -> None:
    assert strict_json(b'{"a": [1, 1.5, null, true, "\\ud83d\\ude00"]}') == {"a": [1, 1.5, None, True, "\U0001f600"]}
    assert strict_json(str(2**64 - 1).encode()) == 2**64 - 1
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert strict_json(deep)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("007", 7), ("255", 255), ("256", None), ("", None), ("-1", None), ("²", None), ("٣", None)],
)
def test_a_whole_number(text: str, value: int | None) -> None:
    assert whole_number(text, most=255) == value


def test_a_whole_number_of_any_length() -> None:
    assert whole_number(5000 * "5") is None
    assert whole_number(str(2**64 - 1)) == 2**64 - 1
    assert whole_number(str(2**64)) is None
