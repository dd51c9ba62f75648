"""Jobs on the nodes of a Ray cluster: tasks without state, which Ray runs again where a worker or node is lost.

Reference: Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, OSDI 2018.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import pickle
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_vseg.cluster.contents import contents_of
from edge_vseg.cluster.jobs import (
    MAX_RUNS,
    FilesHere,
    JobFailure,
    JobFunction,
    died_repeatedly,
    input_key,
    pack_function,
)
from edge_vseg.cluster.ray_node import SentInput, node_versions, run_packed
from edge_vseg.cluster.ray_session import ray_session
from edge_vseg.cluster.workers import LOCAL, Workers
from edge_vseg.errors import ClusterError

log = logging.getLogger(__name__)

_BLOCK_BYTES = 32 << 20
_POLL_S = 1.0
_START_S = 60.0
_QUEUED_PER_CORE = 2
"""Jobs that are given to Ray for each core, so that none waits for us."""


class RayWorkers(Workers):
    """The cores of a Ray cluster.

    Args:
        address: ``local``, ``auto`` or ``host:port``.
        processes: With ``local``: jobs at a time; 1 for as many as there are cores.
        inputs: Files and folders that jobs read.

    Raises:
        OptionError: If an input is not there.
        BackendMissingError: If ``ray`` is not installed.
        ClusterError: If there is no cluster at the address, or its nodes do not fit.
    """

    def __init__(self, address: str, processes: int, inputs: Sequence[Path]) -> None:
        FilesHere(inputs)
        self._address = address
        self._version = node_versions()[1]
        with contextlib.ExitStack() as undo:
            self._ray = undo.enter_context(ray_session(address, processes))
            _check_nodes(self._ray, address, self._version)
            sent = {input_key(path): self._send(path, travels=address != LOCAL) for path in inputs}
            self._inputs = self._ray.put(sent)
            self._task = self._ray.remote(num_cpus=1, max_retries=MAX_RUNS - 1, retry_exceptions=False)(run_packed)
            self._undo = undo.pop_all()

    def run(self, function: JobFunction, jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """See :meth:`Workers.run`."""
        packed = pack_function(function)
        waiting = enumerate(jobs)
        pending: dict[Any, int] = {}
        room, counted = 0, -_POLL_S
        try:
            while True:
                if time.monotonic() - counted >= _POLL_S:  # nodes come and go
                    room, counted = self._room(), time.monotonic()
                for number, job in itertools.islice(waiting, max(0, room - len(pending))):
                    try:
                        data = pickle.dumps((packed, job), pickle.HIGHEST_PROTOCOL)
                    except Exception as exc:  # whatever the job holds
                        text = f"the job cannot be sent to another process: {exc}"
                        yield number, JobFailure(kind=type(exc).__name__, message=text)
                    else:
                        pending[self._task.remote(data, self._inputs, self._version)] = number
                if not pending:
                    return
                done, _ = self._ray.wait(list(pending), num_returns=1, timeout=_POLL_S)
                for each in done:
                    yield pending.pop(each), self._answer(each)
        finally:
            for each in pending:
                with contextlib.suppress(Exception):  # it has just ended, or the cluster has
                    self._ray.cancel(each, force=True)

    def close(self) -> None:
        """Leave the cluster, or end it if it was started here."""
        self._undo.close()

    def _send(self, path: Path, *, travels: bool) -> SentInput:
        blocks: list[Any] = []
        held = bytearray()

        def put(block: bytes, least: int = _BLOCK_BYTES) -> None:
            held.extend(block)
            if len(held) >= max(1, least):
                blocks.append(self._ray.put(bytes(held)))
                held.clear()

        contents = contents_of(path, put if travels else lambda block: None)
        put(b"", 0)
        return SentInput(path=input_key(path), contents=contents, blocks=tuple(blocks))

    def _room(self) -> int:
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        return max(1, _QUEUED_PER_CORE * cores)

    def _answer(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            kind, value = self._ray.get(reference)
        except errors.RayTaskError as exc:  # before the job began: what runs there catches everything
            raise _cannot_run("a node", exc) from exc
        except errors.RayError as exc:
            log.info("a job died: %s", exc)
            return died_repeatedly(_how_it_ended(exc))
        if kind == "version":
            raise _other_version(value[0], value[1], self._version)
        try:
            return pickle.loads(value)
        except Exception as exc:  # an answer may be of a kind that is not known here
            return JobFailure(kind=type(exc).__name__, message=f"the answer cannot be read here: {exc}")


def _check_nodes(ray: ModuleType, address: str, version: str) -> None:
    """Check that there is a core, and that every node runs this edge_vseg.

    Raises:
        ClusterError: If not.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if ray.cluster_resources().get("CPU", 0) < 1:
        raise ClusterError(f"the cluster at {address} has no core to give; start a node without --num-cpus=0")
    ask = ray.remote(num_cpus=0, max_retries=0)(node_versions)
    asked = {
        node["NodeID"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    for node, reference in asked.items():
        try:
            name, found = ray.get(reference, timeout=_START_S)
        except ray.exceptions.RayTaskError as exc:
            raise _cannot_run(_name_of(ray, node), exc) from exc
        except ray.exceptions.GetTimeoutError as exc:
            raise ClusterError(
                f"node {_name_of(ray, node)} of the cluster at {address} starts no worker; look at it with `ray status`"
            ) from exc
        except ray.exceptions.RayError as exc:
            log.warning("node %s of the cluster is lost: %s", _name_of(ray, node), exc)
            continue
        if found != version:
            raise _other_version(name, found, version)


def _name_of(ray: ModuleType, node_id: str) -> str:
    return next((str(node["NodeManagerHostname"]) for node in ray.nodes() if node["NodeID"] == node_id), node_id)


def _other_version(node: str, found: str, version: str) -> ClusterError:
    return ClusterError(
        f"node {node} has edge_vseg {found}, and this process {version}; install the same version on all nodes, and"
        " start them again"
    )


def _cannot_run(node: str, exc: Exception) -> ClusterError:
    last = [line.strip() for line in str(exc).splitlines() if line.strip()][-1:]
    return ClusterError(
        f"{node} of the cluster cannot run edge_vseg ({' '.join(last)}); install 'edge-vseg[cluster]' there, in the"
        " environment in which `ray start` runs"
    )


def _how_it_ended(exc: Exception) -> str:
    kinds = {"OutOfMemoryError": "was stopped because the node's memory was short", "NodeDiedError": "lost its node"}
    return kinds.get(type(exc).__name__, "ended without an answer")
