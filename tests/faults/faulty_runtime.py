"""A runtime that puts one fault into one run of one graph, around any other runtime.

It is a third party's: registered by an entry point, named in a manifest, opened by :meth:`Segmenter.open`. So whatever
is between a bundle and a result meets the fault as it would meet that of a real runtime.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec, Runtime, Session, SessionOptions
from edge_vseg.types import Tensor

Outputs = dict[str, object]
BACKGROUND_THREAD = "edge-vseg-background"


def lane() -> str:
    """Of the calling thread: ``frame`` or ``background``."""
    return "background" if threading.current_thread().name == BACKGROUND_THREAD else "frame"


def _raises(error: Callable[[], BaseException]) -> Callable[[FaultPlan, Outputs], Outputs]:
    def fault(plan: FaultPlan, outputs: Outputs) -> Outputs:
        raise error()

    return fault


def _value(value: float, *, all_of_them: bool = False) -> Callable[[FaultPlan, Outputs], Outputs]:
    def fault(plan: FaultPlan, outputs: Outputs) -> Outputs:
        for name, tensor in outputs.items():
            spoilt = np.array(tensor)
            if spoilt.dtype.kind == "f":
                spoilt.reshape(-1)[slice(None) if all_of_them else 5] = value
            outputs[name] = spoilt
        return outputs

    return fault


def _changed(change: Callable[[np.ndarray], object]) -> Callable[[FaultPlan, Outputs], Outputs]:
    return lambda plan, outputs: {name: change(np.array(tensor)) for name, tensor in outputs.items()}


def _hang(plan: FaultPlan, outputs: Outputs) -> Outputs:
    plan.hang()
    return outputs


def _exit(plan: FaultPlan, outputs: Outputs) -> Outputs:
    os._exit(86)


def _never_returns(plan: FaultPlan, outputs: Outputs) -> Outputs:
    while True:
        time.sleep(3600)


FAULTS: dict[str, Callable[[FaultPlan, Outputs], Outputs]] = {
    "session error": _raises(lambda: SessionError("the device is gone")),
    "runtime error": _raises(lambda: RuntimeError("std::bad_function_call")),
    "index error": _raises(lambda: IndexError("tensor index out of range")),
    "out of memory": _raises(lambda: MemoryError("cannot allocate 8 GB")),
    "interrupt": _raises(KeyboardInterrupt),
    "NaN": _value(np.nan),
    "all NaN": _value(np.nan, all_of_them=True),
    "+inf": _value(np.inf),
    "-inf": _value(-np.inf),
    "wrong shape": _changed(lambda tensor: tensor[..., :-1]),
    "one axis more": _changed(lambda tensor: tensor[None]),
    "empty": _changed(lambda tensor: tensor[:0]),
    "wrong dtype": _changed(lambda tensor: tensor.astype(np.float64)),
    "no array": _changed(lambda tensor: tensor.tolist()),
    "None": _changed(lambda tensor: None),
    "output missing": lambda plan, outputs: {},
    "hangs": _hang,
}
"""By name: what becomes of the outputs of the run."""
DEADLY = {"exit": _exit, "never returns": _never_returns}
"""What the process does not survive: to show that a campaign notices."""


@dataclass(kw_only=True)
class FaultPlan:
    """Which run of which graph has which fault.

    Attributes:
        fault: Its name, one of :data:`FAULTS` or :data:`DEADLY`; empty for none.
        graph: Stem of the graph's file, such as ``infer`` or ``slice-2``.
        lane: ``frame`` or ``background``.
        run: The number of the run, from 1, counted for the graph in the lane; runs of the warm-up do not count.
        times: So many runs in a row have it.
        hang: What ``hangs`` does.
    """

    fault: str = ""
    graph: str = "infer"
    lane: str = "frame"
    run: int = 3
    times: int = 1
    hang: Callable[[], object] = lambda: time.sleep(0.05)
    armed: bool = False
    hits: int = 0
    runs: dict[tuple[str, str], int] = field(default_factory=dict)
    open: set[FaultySession] = field(default_factory=set)

    def apply(self, graph: str, outputs: Outputs) -> Outputs:
        """The outputs of a run, after the fault if it is the one."""
        if not self.armed:
            return outputs
        key = graph, lane()
        count = self.runs[key] = self.runs.get(key, 0) + 1
        if not self.fault or key != (self.graph, self.lane) or not self.run <= count < self.run + self.times:
            return outputs
        self.hits += 1
        return (FAULTS | DEADLY)[self.fault](self, outputs)


class FaultySession:
    """A session around another one."""

    def __init__(self, inner: Session, graph: str, plan: FaultPlan) -> None:
        self._inner, self._graph, self._plan = inner, graph, plan
        plan.open.add(self)

    @property
    def provider(self) -> str:
        return self._inner.provider

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self._plan.apply(self._graph, dict(self._inner.run(inputs)))  # type: ignore[return-value]

    def close(self) -> None:
        self._plan.open.discard(self)
        self._inner.close()


class FaultyRuntime:
    """A runtime around another one."""

    extra = ""

    def __init__(self, name: str, inner: Runtime, plan: FaultPlan) -> None:
        self.name, self._inner, self._plan = name, inner, plan

    def version(self) -> str:
        return self._inner.version()

    def providers(self) -> tuple[str, ...]:
        return self._inner.providers()

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> FaultySession:
        return FaultySession(self._inner.open(path, spec, options), path.stem, self._plan)


_registered: dict[str, FaultyRuntime] = {}


def __getattr__(name: str) -> Callable[[], FaultyRuntime]:
    """What entry points name: ``make_NAME`` gives the runtime that was registered as ``NAME``."""
    if name.startswith("make_"):
        return lambda: _registered[name.removeprefix("make_")]
    raise AttributeError(name)


@contextlib.contextmanager
def registered(name: str, inner: Runtime, plan: FaultPlan) -> Iterator[FaultyRuntime]:
    """Install a runtime as a third party's package would, as long as the block lasts."""
    runtime = _registered[name] = FaultyRuntime(name, inner, plan)
    with tempfile.TemporaryDirectory(prefix="faulty-") as folder:
        info = Path(folder) / f"faulty_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: faulty-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edge_vseg.runtimes]\n{name} = {__name__}:make_{name}\n")
        sys.path.insert(0, folder)
        try:
            yield runtime
        finally:
            sys.path.remove(folder)
            del _registered[name]
