"""What befalls the whole process: it is stopped for a while, and descriptors or memory are used up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numbered_runtime import write_numbered_bundle

CHILD = Path(__file__).with_name("fault_child.py")
PATIENCE_S = 60.0
STOPPED_S = 2.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc, RLIMIT_AS and SIGSTOP as Linux has them")


@pytest.fixture(scope="module")
def numbered_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_bundle(tmp_path_factory.mktemp("faults") / "numbered.evseg")


def start(what: str, bundle: Path) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    paths = [str(CHILD.parents[2]), str(CHILD.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, str(CHILD), what, str(bundle)], text=True, env=environment, **pipes)  # type: ignore[call-overload]


def said_by(child: subprocess.Popen[str]) -> dict:
    try:
        out, err = child.communicate("go on\n", timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    assert child.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.serial
def test_a_process_that_was_stopped_hands_out_nothing_old(numbered_bundle: Path) -> None:
    child = start("stop", numbered_bundle)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n", child.communicate()
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    os.kill(child.pid, signal.SIGCONT)
    said = said_by(child)
    assert said["told"] > 10
    assert said["after"] > 0, "results come again"
    assert (said["too old"], said["wrong age"], said["wrong map"]) == (0, 0, 0), said
    assert said["restarts"] == 0, "a pause of the whole process is no hang of the worker"
    assert said["threads"] == []


def test_without_descriptors_frames_are_answered_and_opening_is_refused_by_name(numbered_bundle: Path) -> None:
    said = said_by(start("descriptors", numbered_bundle))
    assert set(said["without"]) == {"right", "SessionError"}, "the worker's graphs cannot be opened"
    assert said["opening"] in ("BundleFileError", "BundleNotFoundError", "SessionError"), said["opening"]
    assert set(said["after"]) == {"right"}
    assert said["last age"] < 20, "keyframes come again"


def test_without_memory_a_frame_is_refused_by_name_and_the_next_one_right(numbered_bundle: Path) -> None:
    said = said_by(start("memory", numbered_bundle))
    assert set(said["before"]) == {"right"}
    assert set(said["without"]) == {"SessionError"}
    assert set(said["small"]) <= {"right", "SessionError"}
    assert set(said["after"]) == {"right"}
