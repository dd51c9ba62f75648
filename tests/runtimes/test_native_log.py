from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from edge_vseg.runtimes.native_log import quiet_stderr

LOGGER = "edge_vseg.runtimes.native_log"


def test_info_lines_are_logged_and_others_pass(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, LOGGER), quiet_stderr():
        os.write(2, b"INFO: Created a delegate.\nERROR: out of memory\nhalf a line")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "ERROR: out of memory\nhalf a line"
    assert caplog.messages == ["INFO: Created a delegate."]


def test_python_side_writes_land_where_they_were_written() -> None:
    code = (
        "import sys; from edge_vseg.runtimes.native_log import quiet_stderr\n"
        "write = sys.stderr.write\n"
        "write('INFO: before; ')\n"
        "with quiet_stderr(): write('INFO: during\\n')\n"
        "write('INFO: after')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "INFO: before; INFO: after"


def test_descriptor_comes_back_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with quiet_stderr():
            os.write(2, b"WARNING: soon\n")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    os.write(2, b"INFO: afterwards\n")
    assert capfd.readouterr().err == "WARNING: soon\nINFO: afterwards\n"


def test_threads_take_turns(capfd: pytest.CaptureFixture[str]) -> None:
    def speak(number: int) -> None:
        with quiet_stderr():
            os.write(2, b"ERROR: %d\n" % number)
            time.sleep(0.002)

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"end\n")
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines[:-1]) == [f"ERROR: {number}" for number in range(8)]
    assert lines[-1] == "end"


def test_process_without_standard_error() -> None:
    code = (
        "import os; os.close(2)\n"
        "from edge_vseg.runtimes.native_log import quiet_stderr\n"
        "with quiet_stderr(): print('inside')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "inside\n"
