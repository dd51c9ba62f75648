"""Log lines for systemd's journal, from real processes; and for everything else as ever."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_vseg.cli.journal import JournalFormatter, priority_prefix, stderr_is_journal

FAILS = ("inspect", "nowhere.evseg")


def run(*words: str, journal: bool, elsewhere: bool = False) -> str:
    """What a command writes to standard error, which is a stream socket as the journal's is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
        if journal:
            environment["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino + elsewhere}"
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_vseg.cli", *words],
            stdout=subprocess.DEVNULL,
            stderr=theirs.fileno(),
            env=environment,
        )
        theirs.close()
        text = b""
        while part := ours.recv(65536):
            text += part
        process.wait(60)
        return text.decode()


def test_an_error_has_its_priority_in_the_journal() -> None:
    text = run(*FAILS, journal=True)
    assert text.startswith("<3>edge_vseg: BundleNotFoundError: ")
    assert len(text.splitlines()) == 1, "a line that breaks is two entries"


def test_each_line_of_a_traceback_has_its_priority() -> None:
    lines = run("--debug", *FAILS, journal=True).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["no journal", "the journal is another stream"])
def test_without_the_journal_all_is_as_ever(elsewhere: bool) -> None:
    text = run(*FAILS, journal=elsewhere, elsewhere=elsewhere)
    assert text.startswith("BundleNotFoundError: ")


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.CRITICAL, "<2>"),
        (logging.ERROR, "<3>"),
        (logging.WARNING, "<4>"),
        (logging.INFO, "<6>"),
        (logging.DEBUG, "<7>"),
        (logging.WARNING + 5, "<4>"),
    ],
)
def test_priorities_are_those_of_syslog(level: int, prefix: str) -> None:
    assert priority_prefix(level) == prefix


def test_a_message_of_several_lines() -> None:
    record = logging.LogRecord("edge_vseg.x", logging.WARNING, __file__, 1, "one\ntwo", (), None)
    assert JournalFormatter().format(record) == "<4>edge_vseg.x: one\n<4>two"


@pytest.mark.parametrize("value", ["", "journal", "1:2:3", "-1:2"])
def test_what_names_no_stream(value: str, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not stderr_is_journal({"JOURNAL_STREAM": value}, file.fileno())
        found = os.fstat(file.fileno())
        assert stderr_is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, file.fileno())
    assert not stderr_is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, 987)
