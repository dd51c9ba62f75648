"""Graphs that several segmenters share: opened once, one thread at a time, closed with the last."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import pytest

from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec
from edge_vseg.scheduling import session_pool
from edge_vseg.scheduling.session_pool import SessionPool
from edge_vseg.types import Tensor

SPEC = GraphSpec(inputs=(), outputs=())


class Counted:
    provider = "cpu"

    def __init__(self) -> None:
        self.inside = self.most_inside = 0
        self.closed = 0

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        out = {"y": inputs["x"] + 1}
        self.inside -= 1
        return out

    def close(self) -> None:
        self.closed += 1


def test_a_graph_is_opened_once_and_closed_with_the_last() -> None:
    opened: list[Counted] = []

    def open_graph(entry: str, spec: GraphSpec) -> Counted:
        opened.append(Counted())
        return opened[-1]

    pool = SessionPool()
    one, two = (pool.opener("net", open_graph)("whole", SPEC) for _ in range(2))
    other, part = pool.opener("another", open_graph)("whole", SPEC), pool.opener("net", open_graph)("slice", SPEC)
    assert len(opened) == 3
    assert one.run({"x": np.zeros(2)})["y"].tolist() == [1, 1]
    one.close()
    one.close()
    assert opened[0].closed == 0
    with pytest.raises(SessionError, match="closed"):
        one.run({"x": np.zeros(2)})
    assert two.run({"x": np.ones(1)})["y"].tolist() == [2]
    for each in (two, other, part):
        each.close()
    assert [each.closed for each in opened] == [1, 1, 1]
    again = pool.opener("net", open_graph)("whole", SPEC)
    assert len(opened) == 4
    again.close()


def test_one_thread_at_a_time() -> None:
    session = Counted()
    pool = SessionPool()
    lent = [pool.opener("net", lambda entry, spec: session)("whole", SPEC) for _ in range(4)]

    def use(each) -> None:
        for _ in range(200):
            each.run({"x": np.zeros(1)})

    threads = [threading.Thread(target=use, args=(each,)) for each in lent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.most_inside == 1


class Held(Counted):
    """Its first run waits for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = threading.Event(), threading.Event()

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.reached.set()
        assert self.gate.wait(30)
        return super().run(inputs)


@pytest.mark.parametrize("compiles", [True, False], ids=["its first run", "a later one"])
def test_a_first_run_may_take_long(compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT compiles then; whoever comes meanwhile waits, instead of opening and compiling it again."""
    monkeypatch.setattr(session_pool, "HANG_S", 0.05)
    opened: list[Held] = []

    def open_graph(entry: str, spec: GraphSpec) -> Held:
        opened.append(Held())
        return opened[-1]

    pool = SessionPool()
    one, two = (pool.opener("net", open_graph)("whole", SPEC) for _ in range(2))
    if not compiles:
        opened[0].gate.set()
        one.run({"x": np.zeros(1)})
        opened[0].gate.clear()
        opened[0].reached.clear()
    runs = threading.Thread(target=one.run, args=({"x": np.zeros(1)},))
    runs.start()
    assert opened[0].reached.wait(30)
    threading.Timer(0.4, opened[0].gate.set).start()
    if compiles:
        assert two.run({"x": np.zeros(1)})["y"].tolist() == [1]
    else:
        with pytest.raises(SessionError, match="hangs in the frame of another camera"):
            two.run({"x": np.zeros(1)})
    runs.join()
    assert len(opened) == 1


def test_a_first_run_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_pool, "HANG_S", 0.05)
    monkeypatch.setattr(session_pool, "FIRST_RUN_S", 0.1)
    held, pool = Held(), SessionPool()
    one, two = (pool.opener("net", lambda entry, spec: held)("whole", SPEC) for _ in range(2))
    runs = threading.Thread(target=one.run, args=({"x": np.zeros(1)},))
    runs.start()
    assert held.reached.wait(30)
    with pytest.raises(SessionError, match="hangs in the frame of another camera"):
        two.run({"x": np.zeros(1)})
    held.gate.set()
    runs.join()


def test_a_graph_that_has_run_hangs_soon_also_when_it_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_pool, "HANG_S", 0.1)
    opened: list[Held] = []

    def open_graph(entry: str, spec: GraphSpec) -> Held:
        opened.append(Held())
        if len(opened) != 2:  # the first is held later, and the third device works
            opened[-1].gate.set()
        return opened[-1]

    pool = SessionPool()
    one, two, three = (pool.opener("net", open_graph)("whole", SPEC) for _ in range(3))
    one.run({"x": np.zeros(1)})
    opened[0].gate.clear()
    opened[0].reached.clear()
    hanging: list[threading.Thread] = []
    for number, each in enumerate((one, two)):
        hanging.append(threading.Thread(target=each.run, args=({"x": np.zeros(1)},)))
        hanging[-1].start()
        while len(opened) <= number:
            threading.Event().wait(0.01)
        assert opened[number].reached.wait(30)
        threading.Timer(5.0, opened[number].gate.set).start()  # else a test that fails waits for minutes
        with pytest.raises(SessionError, match="hangs in the frame of another camera"):
            three.run({"x": np.zeros(1)})
        assert not opened[number].gate.is_set()
    assert three.run({"x": np.zeros(1)})["y"].tolist() == [1]
    assert len(opened) == 3
    for made in opened:
        made.gate.set()
    for thread in hanging:
        thread.join()


def test_a_graph_that_cannot_be_opened_is_not_kept() -> None:
    pool = SessionPool()

    def fail(entry: str, spec: GraphSpec) -> Counted:
        raise SessionError("no memory")

    with pytest.raises(SessionError, match="no memory"):
        pool.opener("net", fail)("whole", SPEC)
    assert pool.opener("net", lambda entry, spec: Counted())("whole", SPEC).provider == "cpu"
