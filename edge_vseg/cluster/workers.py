"""Workers: this process, processes of this machine, or the nodes of a Ray cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from edge_vseg.cluster.jobs import FilesHere, JobFunction, pack_function, run_job
from edge_vseg.errors import OptionError

LOCAL = "local"
"""The address of a Ray that is started on this machine, and ends with the workers."""


class Workers(ABC):
    """Runs jobs that do not depend on each other; open them with :func:`open_workers`."""

    @abstractmethod
    def run(self, function: JobFunction, jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Run a function on each job.

        Args:
            function: ``function(job, files)`` of a module. ``files(path)`` gives the path of an input where it runs.
            jobs: Plain data that can be pickled, taken as workers become free.

        Yields:
            The number of a job from 0, and its answer: what the function gave, or a
            :class:`~edge_vseg.cluster.JobFailure` if it raised, or its process died again and again. In the order in
            which they are done, which only this process alone keeps. Closing the iterator stops what still runs.

        Raises:
            ValueError: If the function is not of a module.
            ClusterError: If the cluster cannot run it.
        """

    @abstractmethod
    def close(self) -> None:
        """End what runs, and whatever was started."""


@contextmanager
def open_workers(address: str | None = None, processes: int = 1, *, inputs: Sequence[Path] = ()) -> Iterator[Workers]:
    """Open workers.

    Args:
        address: ``None`` for this machine; ``local`` for a Ray of its own on this machine, ``auto`` or ``host:port``
            for the Ray cluster that this machine is a node of.
        processes: On this machine: 1 runs the jobs here, in order; more in that many processes. With ``local``: the
            jobs at a time, 1 for as many as there are cores. A cluster has a job on each of its cores.
        inputs: Files and folders that jobs read. On a cluster they travel to each node once, by their content.

    Raises:
        OptionError: If an input is not there, or there are no processes.
        BackendMissingError: If ``ray`` is needed and not installed.
        ClusterError: If there is no cluster at the address, or its nodes have another version.
    """
    if processes < 1:
        raise OptionError(f"expected at least one process, got {processes}")
    files = FilesHere(inputs)
    workers: Workers
    if address is not None:
        from edge_vseg.cluster.ray_workers import RayWorkers

        workers = RayWorkers(address, processes, inputs)
    elif processes == 1:
        workers = _ThisProcess(files)
    else:
        from edge_vseg.cluster.process_workers import ProcessWorkers

        workers = ProcessWorkers(processes, files)
    with closing(workers):
        yield workers


class _ThisProcess(Workers):
    def __init__(self, files: FilesHere) -> None:
        self._files = files

    def run(self, function: JobFunction, jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        pack_function(function)  # what runs here must run elsewhere, too
        for number, job in enumerate(jobs):
            yield number, run_job(function, job, self._files)

    def close(self) -> None:
        pass
