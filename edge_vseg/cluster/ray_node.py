"""What a worker of a Ray cluster runs; Ray pickles it by name, so that the node's own edge_vseg answers."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_vseg.cluster.contents import Contents, holds, signature_of
from edge_vseg.cluster.jobs import JobFailure, require_input, run_job, set_one_thread
from edge_vseg.cluster.node_cache import node_cache_folder, place_input

_placed: dict[tuple[str, str], tuple[Path, object]] = {}
"""Where inputs are, and their signature there, by name and content: a worker runs many jobs, and hashes each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentInput:
    """An input in Ray's object store.

    Attributes:
        path: Where it is on the machine that sent it.
        contents: Its files.
        blocks: References to its bytes, in the order of its files.
    """

    path: str
    contents: Contents
    blocks: tuple[Any, ...]


def node_versions() -> tuple[str, str]:
    """Name of this node, and its version of edge_vseg."""
    return socket.gethostname(), metadata.version("edge-vseg")


def run_packed(packed: bytes, inputs: Mapping[str, SentInput], version: str) -> tuple[str, Any]:
    """Run a job.

    Args:
        packed: Function and job.
        inputs: By the path that the job knows.
        version: The version of edge_vseg that sent it.

    Returns:
        ``"answer"`` and the pickled answer; or ``"version"``, and node and version if that is another one.
    """
    set_one_thread()
    node, here = node_versions()
    if here != version:
        return "version", (node, here)
    try:
        function_data, job = pickle.loads(packed)
        function = pickle.loads(function_data)
    except Exception as exc:  # such as a module that this node has not
        answer: Any = JobFailure(kind=type(exc).__name__, message=f"node {node} cannot read the job: {exc}")
    else:
        answer = run_job(function, job, _SentFiles(inputs))
    try:
        return "answer", pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as exc:  # what the function gives is its own affair
        failure = JobFailure(kind=type(exc).__name__, message=f"the answer cannot be sent: {exc}")
        return "answer", pickle.dumps(failure, pickle.HIGHEST_PROTOCOL)


class _SentFiles:
    """Inputs on this node."""

    def __init__(self, inputs: Mapping[str, SentInput]) -> None:
        self._inputs = dict(inputs)

    def __call__(self, path: Path) -> Path:
        """The path of an input here: the same one if it holds the same, else in the cache.

        Raises:
            ValueError: If the path is not among the inputs.
        """
        sent = self._inputs[require_input(path, self._inputs)]
        key = sent.path, sent.contents.sha256
        place, signature = _placed.get(key, (None, None))
        if place is None or signature != signature_of(place):
            place = _place(sent)
            _placed[key] = place, signature_of(place)
        return place


def _place(sent: SentInput) -> Path:
    same = Path(sent.path)
    if holds(same, sent.contents):
        return same
    return place_input(sent.contents, _fetched(sent.blocks), node_cache_folder())


def _fetched(blocks: tuple[Any, ...]) -> Iterator[bytes]:
    import ray

    for block in blocks:
        yield ray.get(block)
