"""What workers are given to do: work, failures, and deaths."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from edge_vseg.cluster.jobs import Files
from edge_vseg.errors import CalibrationError

NODE = "EDGE_VSEG_TEST_NODE"


class ForeignKindError(Exception):
    """Of a kind that cannot be pickled."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"code {code} in {where}")


def square(job: int, files: Files) -> int:
    return job * job


def where(job: Any, files: Files) -> int:
    return os.getpid()


def environment(job: str, files: Files) -> str | None:
    return os.environ.get(job)


def fail_on_odd(job: int, files: Files) -> int:
    if job % 4 == 1:
        raise CalibrationError("no profile at x.json; make it with edge-vseg calibrate")
    if job % 4 == 3:
        raise ForeignKindError(7, "a tool")
    return job


def leave_on_odd(job: int, files: Files) -> int:
    if job % 2:
        raise SystemExit(3)
    return job


def unpicklable(job: Any, files: Files) -> Any:
    return lambda: job


def die_once(job: tuple[int, Path], files: Files) -> int:
    """Dies in its first run; the mark tells the second."""
    number, folder = job
    mark = folder / f"died.{number}"
    if number == 1 and not mark.exists():
        mark.touch()
        os._exit(9)
    return number


def die(job: int, files: Files) -> int:
    if job == 1:
        os.write(2, b"tensor arena is corrupt\n")
        os._exit(9)
    return job


def rest(job: tuple[int, Path], files: Files) -> int:
    """Says that it runs, and sleeps much longer than a test."""
    number, folder = job
    (folder / f"runs.{number}.{os.getpid()}").touch()
    time.sleep(0 if number == 0 else 300)
    return number


def digest(job: tuple[int, Path], files: Files) -> tuple[int, dict[str, str]]:
    """Hashes of what is at an input, whoever computes them."""
    number, path = job
    here = files(path)
    paths = sorted(each for each in here.rglob("*") if each.is_file()) if here.is_dir() else [here]
    time.sleep(0.1)
    return number, {
        (each.relative_to(here.parent)).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest() for each in paths
    }


def locate(job: tuple[int, Path], files: Files) -> tuple[str | None, str, int]:
    """Where an input is: node, path, and inode."""
    time.sleep(0.2)
    here = files(job[1])
    inner = here / "a.txt" if here.is_dir() else here
    return os.environ.get(NODE), str(here), inner.stat().st_ino


def stuck_on_second(job: tuple[int, Path], files: Files) -> int:
    """On the second node it never ends; elsewhere it squares."""
    number, folder = job
    node = os.environ.get(NODE, "here")
    (folder / f"{number}.{node}").touch()
    if node == "second":
        time.sleep(300)
    time.sleep(0.1)
    return number * number
