"""A child that dies is an error of ours, whatever it dies of; what it says comes through, what it prints does not."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import deadly_functions as deadly
import numpy as np
import pytest

from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.errors import ExportError, QuantizationError, UnsupportedOperatorError
from edge_vseg.export.conversion_limits import FAILURES

GENEROUS = ProcessLimits(memory_bytes=4_000_000_000, seconds=120)


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    with ChildProcess("the converter", GENEROUS, FAILURES) as made:
        yield made


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within a minute."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_arguments_and_results(child: ChildProcess) -> None:
    values = np.arange(2_000_000.0)
    assert child.call(np.flip, values, axis=0)[0] == values[-1], "far more than a socket's buffer"
    assert child.call(math.hypot, 3, 4) == 5
    assert child.call(os.getpid) == child.pid != os.getpid()


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (deadly.abort, (), "the converter died by SIGABRT"),
        (deadly.segfault, (), "the converter died by SIGSEGV"),
        (deadly.leave, (3,), "the converter ended by itself with exit code 3"),
        (deadly.kill_itself, (), "the converter was killed by SIGKILL, as the kernel does when memory is short"),
    ],
    ids=["abort", "segfault", "exit", "kill"],
)
def test_death_is_named_and_the_next_call_runs(
    child: ChildProcess, function: Callable[..., None], arguments: tuple[int, ...], message: str
) -> None:
    with pytest.raises(QuantizationError, match=message):
        child.call(function, *arguments)
    assert child.pid is None
    assert child.call(math.sqrt, 4.0) == 2


def test_last_lines_stand_in_the_message(child: ChildProcess) -> None:
    said = "one\ntwo\nthree\nF0000 check failed: rank == 4\n"
    with pytest.raises(QuantizationError, match=r"; its last lines: two \| three \| F0000 check failed: rank == 4$"):
        child.call(deadly.abort, said)


def test_memory_is_limited() -> None:
    with (
        ChildProcess("the converter", ProcessLimits(memory_bytes=400_000_000), FAILURES) as child,
        pytest.raises(QuantizationError, match=r"was stopped at 0\.[4-9] GB; give more with --memory-limit"),
    ):
        child.call(deadly.allocate, 5000)


def test_memory_below_the_limit(child: ChildProcess) -> None:
    assert child.call(deadly.allocate, 100) == 5


def test_time_is_limited() -> None:
    """By a clock that leaps once the function is at work."""
    now = 0.0
    with ChildProcess("the converter", ProcessLimits(seconds=900), FAILURES, clock=lambda: now) as child:
        child.call(math.sqrt, 1.0)
        pid = child.pid

        def leap() -> None:
            nonlocal now
            now = 901.0

        timer = threading.Timer(0.3, leap)
        timer.start()
        with pytest.raises(QuantizationError, match="was stopped after 900 s; give more with --time-limit"):
            child.call(deadly.hang)
        timer.join()
    assert pid is not None
    assert not is_running(pid)


def test_an_error_of_ours_survives(child: ChildProcess) -> None:
    with pytest.raises(UnsupportedOperatorError, match="operator Foo of node 'bar' is not known"):
        child.call(deadly.refuse)
    assert child.call(deadly.count_calls) == 1, "the process goes on"


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        ("key", KeyError, "^'permute_1.u8'$"),
        ("value", ValueError, "^permute_1.u8$"),
        ("foreign", ExportError, "^ForeignError: code 7 in a tool$"),
        ("unicode", UnicodeDecodeError, "^'utf-8' codec"),
        ("exit", ExportError, "^SystemExit: permute_1.u8$"),
    ],
)
def test_foreign_errors(child: ChildProcess, kind: str, expected: type[Exception], message: str) -> None:
    with pytest.raises(expected, match=message) as caught:
        child.call(deadly.fail, kind)
    assert "deadly_functions.py" in str(caught.value.__cause__), "where it was raised"


def test_a_result_that_cannot_come_back(child: ChildProcess) -> None:
    with pytest.raises(Exception, match="pickle"):
        child.call(deadly.unpicklable)
    assert child.call(deadly.count_calls) == 1


def test_noise_is_logged_only(
    child: ChildProcess, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "edge_vseg"):
        assert child.call(deadly.noisy) == "done"
    assert capfd.readouterr() == ("", "")
    for text in ("from C on stdout", "W0000 absl on stderr", "torch on stdout", "torch on stderr", "an error of absl"):
        assert any(text in message for message in caplog.messages)
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    caplog.clear()
    with caplog.at_level(logging.INFO, "edge_vseg"):
        child.call(math.sqrt, 1.0)
    assert not caplog.messages, "each call logs its own lines"


def test_progress_and_log_lines_come_through(child: ChildProcess, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []
    child.progress = lines.append
    with caplog.at_level(logging.INFO, "edge_vseg"):
        child.call(deadly.talkative)
    assert lines == ["half way"]
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == [
        ("edge_vseg.export.quantization", "WARNING", "one layer stays in float")
    ]


def test_what_earlier_calls_left_is_no_reason_to_die(child: ChildProcess) -> None:
    child.call(deadly.count_calls)
    first = child.pid
    assert child.call(deadly.die_unless_new) not in (None, first)


def test_functions_of_a_script_are_refused(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadly.abort, "__module__", "__main__")
    with pytest.raises(ValueError, match="abort is of the script"):
        child.call(deadly.abort)
    assert child.pid is None


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_temporary_files_go_with_the_process(end: str, child: ChildProcess) -> None:
    path = child.call(deadly.scratch_file)
    assert path.exists()
    if end == "closed":
        child.close()
    else:
        with pytest.raises(QuantizationError, match="SIGKILL"):
            child.call(deadly.kill_itself)
    assert not path.parent.exists()


def test_what_it_started_goes_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with (
        ChildProcess("the converter", ProcessLimits(seconds=3), FAILURES) as child,
        pytest.raises(QuantizationError, match="after 3 s"),
    ):
        child.call(deadly.hang_in_a_grandchild, pid_file)
    pid = int(pid_file.read_text(encoding="ascii"))
    assert until(lambda: not is_running(pid))


@pytest.mark.serial
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_no_child_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    script = Path(deadly.__file__)
    parent = subprocess.Popen([sys.executable, str(script), str(pid_file)], stderr=subprocess.PIPE, text=True)
    assert until(lambda: pid_file.exists() and bool(pid_file.read_text(encoding="ascii")))
    pid = int(pid_file.read_text(encoding="ascii"))
    assert is_running(pid)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert until(lambda: not is_running(pid))
    if number is signal.SIGINT:
        assert err.rstrip().endswith("KeyboardInterrupt")
