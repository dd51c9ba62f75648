"""Jobs in processes of this machine; one that dies is replaced, and its job run again.

The processes are those of :mod:`edge_vseg.child_process`: ``concurrent.futures`` gives up the whole pool when one dies,
and cannot stop a job that runs. They end with this process, whatever ends it.
"""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from edge_vseg.child_process.child_server import PACKAGE, Call, LogLine, Message, Raised, Ready, Reported, Returned
from edge_vseg.child_process.running_child import RunningChild, how_it_ended, last_lines, spawn
from edge_vseg.cluster.jobs import (
    MAX_RUNS,
    ONE_THREAD,
    FilesHere,
    JobFailure,
    JobFunction,
    died_repeatedly,
    pack_function,
    run_job,
)
from edge_vseg.cluster.workers import Workers

log = logging.getLogger(__name__)

_END_S = 5.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Work:
    """A job, how often it was run, and since which byte of what its process prints."""

    number: int
    job: Any
    runs: int = 0
    begin: int = 0


class ProcessWorkers(Workers):
    """Processes of this machine, which start when they are needed and stay for the next jobs.

    Args:
        processes: How many run at once.
        files: The inputs.
    """

    def __init__(self, processes: int, files: FilesHere) -> None:
        self._processes = processes
        self._files = files
        self._idle: list[RunningChild] = []
        self._busy: dict[RunningChild, _Work] = {}

    def run(self, function: JobFunction, jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """See :meth:`Workers.run`."""
        pack_function(function)
        waiting = (_Work(number=number, job=job) for number, job in enumerate(jobs))
        again: deque[_Work] = deque()
        mine: dict[RunningChild, _Work] = {}
        try:
            while True:
                while len(mine) < self._processes and (work := again.popleft() if again else next(waiting, None)):
                    if isinstance(failure := self._begin(mine, work, function), JobFailure):
                        yield work.number, failure
                if not mine:
                    return
                children = {child.connection: child for child in mine}
                for connection in wait(list(children)):
                    child = children[connection]  # type: ignore[index]  # these were given
                    work = mine[child]
                    try:
                        message = _receive(child)
                    except (EOFError, OSError):
                        how = _buried(child, work.begin)
                        del mine[child], self._busy[child]
                        log.info("job %d: its process %s", work.number, how)
                        if work.runs < MAX_RUNS:
                            again.append(work)
                        else:
                            yield work.number, died_repeatedly(how)
                        continue
                    if message is None:
                        continue
                    del mine[child], self._busy[child]
                    self._idle.append(child)
                    yield work.number, _answer(message)
        finally:
            self._stop(mine)

    def close(self) -> None:
        """End all processes."""
        self._stop(dict(self._busy))
        while self._idle:
            self._idle.pop().stop()

    def _begin(self, mine: dict[RunningChild, _Work], work: _Work, function: JobFunction) -> JobFailure | None:
        """Have a process run a job; a failure if it cannot be sent."""
        try:
            packed = pickle.dumps((run_job, (function, work.job, self._files), {}), pickle.HIGHEST_PROTOCOL)
        except Exception as exc:  # whatever the job holds
            return JobFailure(kind=type(exc).__name__, message=f"the job cannot be sent to another process: {exc}")
        level = logging.getLogger(PACKAGE).getEffectiveLevel()
        data = pickle.dumps(Call(work=packed, log_level=level), pickle.HIGHEST_PROTOCOL)
        child = self._idle.pop() if self._idle else spawn(ONE_THREAD)
        mine[child] = self._busy[child] = work
        work.runs += 1
        work.begin = child.printed_bytes()
        try:
            child.connection.send_bytes(data)
        except OSError:
            log.info("a process died before job %d reached it", work.number)  # reading from it tells how
        return None

    def _stop(self, children: dict[RunningChild, _Work]) -> None:
        for child in children:
            if self._busy.pop(child, None) is not None:
                child.stop()
        children.clear()


def _receive(child: RunningChild) -> Returned | Raised | None:
    """What the function gave or raised; ``None`` for any other message.

    Raises:
        EOFError: If the process has died.
        OSError: As above.
    """
    data = child.connection.recv_bytes()
    try:
        message: Message = pickle.loads(data)
    except Exception as exc:  # an answer may be of a kind that is not known here
        return Raised(exact=None, text=f"{type(exc).__name__}: the answer cannot be read here: {exc}", trace="")
    match message:
        case LogLine():
            logging.getLogger(message.logger).log(message.level, "%s", message.text)
        case Returned() | Raised():
            return message
        case Ready() | Reported():
            pass
        case _:
            log.warning("%s", message.text)
    return None


def _answer(message: Returned | Raised) -> Any:
    if isinstance(message, Returned):
        return message.value
    kind, _, text = message.text.partition(": ")
    return JobFailure(kind=kind, message=text)


def _buried(child: RunningChild, begin: int) -> str:
    """How a process ended that no longer answers; what is left of it is removed."""
    try:
        code = child.process.wait(_END_S)
    except Exception:  # it has closed its side, and lives
        text, how = child.printed(begin), "no longer answers"
    else:
        text, how = child.printed(begin), how_it_ended(code)
    child.stop()
    return how + last_lines(text)
