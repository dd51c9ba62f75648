"""Graphs that several segmenters share: opened once, one thread at a time, closed with the last."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import pytest

from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec
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


def test_a_graph_that_cannot_be_opened_is_not_kept() -> None:
    pool = SessionPool()

    def fail(entry: str, spec: GraphSpec) -> Counted:
        raise SessionError("no memory")

    with pytest.raises(SessionError, match="no memory"):
        pool.opener("net", fail)("whole", SPEC)
    assert pool.opener("net", lambda entry, spec: Counted())("whole", SPEC).provider == "cpu"
