"""What other tools print does not reach the terminal during an export; our own log lines do."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, os, sys, warnings
from edge_vseg.cli import console
logging.basicConfig(level=logging.LEVEL, format="%(levelname)s %(message)s", stream=sys.stderr)
ours = logging.getLogger("edge_vseg.export")
with console.tool_output_collected():
    os.write(1, b"from C on stdout\\n")
    with console.steps("exporting", quiet=False, expected=3) as step:
        step("tflite")
        os.write(2, b"I0000 absl on stderr\\n")
        print("torch on stdout")
        print("torch on stderr", file=sys.stderr)
        warnings.warn("numpy warns")
        ours.warning("our own warning")
        step("the end")
        FAIL
print("the result")
"""


def on_terminal(script: str, *, level: str = "WARNING", fail: str = "pass") -> tuple[int, str, str]:
    """Exit code, what the terminal shows on standard error, and standard output."""
    terminal, side = pty.openpty()
    code = script.replace("LEVEL", level).replace("FAIL", fail)
    environment = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=side, env=environment, text=True)
    os.close(side)
    shown = b""
    try:
        while data := os.read(terminal, 65536):
            shown += data
    except OSError:  # the other side is closed
        pass
    os.close(terminal)
    out = process.communicate(timeout=60)[0]
    return process.returncode, shown.decode(), out


def test_only_our_own_lines_reach_the_terminal() -> None:
    code, shown, out = on_terminal(SCRIPT)
    assert code == 0
    assert out == "the result\n"
    assert "exporting: the end" in shown
    assert "WARNING our own warning" in shown
    for text in ("absl", "torch", "numpy", "from C"):
        assert text not in shown


def test_debug_shows_what_was_collected() -> None:
    _, shown, _ = on_terminal(SCRIPT, level="INFO")
    for text in ("I0000 absl on stderr", "torch on stdout", "torch on stderr", "numpy warns", "from C on stdout"):
        assert f"INFO {text}" in shown or text in shown.split("INFO ", 1)[1]


def test_a_crash_shows_what_was_collected() -> None:
    code, shown, _ = on_terminal(SCRIPT, fail="raise RuntimeError('a defect')")
    assert code == 1
    assert "I0000 absl on stderr" in shown
    assert "RuntimeError: a defect" in shown


def test_an_error_of_ours_does_not() -> None:
    fail = "from edge_vseg.errors import ExportError; raise ExportError('refused')"
    code, shown, _ = on_terminal(SCRIPT, fail=fail)
    assert code == 1
    assert "absl" not in shown
    assert "ExportError: refused" in shown


def test_streams_of_a_test_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from edge_vseg.cli import console

    with console.tool_output_collected():
        sys.stderr.write("kept")
    assert capsys.readouterr().err == "kept"


@pytest.mark.slow
@pytest.mark.release
def test_a_real_export(tmp_path: Path, clip: Path) -> None:
    """Through torch, litert-torch, TensorFlow's converter and the interpreter."""
    network = Path(__file__).parents[1] / "assets" / "tiny.onnx"
    command = (
        f"export {network} -o {tmp_path / 'a.evseg'} --frames {clip} --runtimes tflite --precision float --no-slices"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge_vseg.cli", *command.split()], capture_output=True, text=True, check=True
    )
    strange = [line for line in done.stderr.splitlines() if line.strip() and "edge_vseg" not in line]
    assert not strange
    assert "tflite/float" in done.stdout
