"""A job, wherever it runs: the function, its answer, and what stands for an answer that there is not."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from edge_vseg.errors import OptionError

log = logging.getLogger(__name__)

MAX_RUNS = 3
"""How often a job is run whose process dies each time."""
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
}
"""Environment of a worker that shares the machine with others; what the user has set stays."""

Files: TypeAlias = Callable[[Path], Path]
"""Gives the path, where the job runs, of an input."""
JobFunction: TypeAlias = Callable[[Any, Files], Any]


@dataclass(frozen=True, slots=True)
class JobFailure:
    """In place of the answer of a job that has none.

    Attributes:
        kind: Name of what was raised, or ``ProcessDied``.
        message: Its message, as it was raised.
    """

    kind: str
    message: str


def died_repeatedly(how: str) -> JobFailure:
    """The failure of a job whose process died in every run.

    Args:
        how: How it ended the last time, as the end of a sentence.
    """
    return JobFailure(
        kind="ProcessDied", message=f"the process running it died repeatedly ({MAX_RUNS} times); it {how}"
    )


def run_job(function: JobFunction, job: Any, files: Files) -> Any:
    """The answer of a job, or a :class:`JobFailure` if it raises."""
    try:
        return function(job, files)
    except (Exception, SystemExit) as exc:
        log.info("a job failed:\n%s", "".join(traceback.format_exception(exc)))
        return JobFailure(kind=type(exc).__name__, message=str(exc))


def pack_function(function: JobFunction) -> bytes:
    """A function for other processes, by its name.

    Raises:
        ValueError: If other processes would not find it: it is a lambda, within another function, or of the script.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", repr(inner))
    if getattr(inner, "__module__", "__main__") == "__main__":
        raise ValueError(f"{name} is of the script; give a function of a module, which other processes can import")
    try:
        return pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as exc:
        raise ValueError(f"{name} cannot be sent to other processes: {exc}; give a function of a module") from exc


def set_one_thread() -> None:
    """Have libraries that are loaded from now on use one thread, unless the user has said otherwise."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)


class FilesHere:
    """The inputs on the machine where they are: each at its own path.

    Args:
        inputs: Files or folders.

    Raises:
        OptionError: If one is not there.
    """

    def __init__(self, inputs: Sequence[Path]) -> None:
        for path in inputs:
            if not path.exists():
                raise OptionError(f"{path} does not exist, and jobs need it; check the path")
        self._inputs = frozenset(map(input_key, inputs))

    def __call__(self, path: Path) -> Path:
        """The path itself.

        Raises:
            ValueError: If it is not among the inputs, and would be missing on another machine.
        """
        require_input(path, self._inputs)
        return path


def input_key(path: Path) -> str:
    """What an input is known by."""
    return os.path.abspath(path)  # noqa: PTH100  # also takes out "..", and follows no link


def require_input(path: Path, known: frozenset[str] | dict[str, Any]) -> str:
    """The key of an input.

    Raises:
        ValueError: If the path is not among the inputs.
    """
    key = input_key(path)
    if key not in known:
        raise ValueError(f"{path} is not among the inputs; give it to open_workers")
    return key
