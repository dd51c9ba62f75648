"""Jobs on a real Ray cluster: two nodes on this machine, each with a cache of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cluster_jobs
import pytest
from two_nodes import TOKEN, TwoNodes, cluster

from edge_vseg.cluster import JobFailure, open_workers
from edge_vseg.errors import BackendMissingError, ClusterError

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]


@pytest.fixture(scope="module")
def token() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TOKEN.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def nodes(token: None) -> Iterator[TwoNodes]:
    with cluster() as nodes:
        nodes.start("first")
        nodes.start("second")
        yield nodes


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    (tmp_path / "street.evseg/deep").mkdir(parents=True)
    (tmp_path / "street.evseg/deep/graph.onnx").write_bytes(os.urandom(3 << 20))
    (tmp_path / "street.evseg/a.txt").write_text(f"a of {tmp_path}")
    (tmp_path / "clip.mp4").write_bytes(os.urandom(33 << 20))
    return [tmp_path / "street.evseg", tmp_path / "clip.mp4"]


def test_contents_travel_to_nodes_that_share_no_folder(nodes: TwoNodes, inputs: list[Path]) -> None:
    jobs = [(number, inputs[number % 2]) for number in range(8)]
    with open_workers(inputs=inputs) as workers:
        here = dict(workers.run(cluster_jobs.digest, jobs))
    with open_workers(nodes.address, inputs=inputs) as workers:
        ((_, (_, same, _)),) = workers.run(cluster_jobs.locate, [(0, inputs[0])])
        ((_, missing),) = workers.run(cluster_jobs.locate, [(0, inputs[0] / "a.txt")])
        moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in inputs]
        there = dict(workers.run(cluster_jobs.digest, jobs))
        places = set(dict(workers.run(cluster_jobs.locate, [(n, inputs[0]) for n in range(8)])).values())
        # With something else in its place, the path must not be used.
        inputs[1].write_bytes(b"another clip")
        (_, (_, changed)) = next(workers.run(cluster_jobs.digest, [(0, inputs[1])]))
    assert same == str(inputs[0]), "the same content at the same path"
    assert (missing.kind, "is not among the inputs" in missing.message) == ("ValueError", True)
    assert there == here
    assert {node for node, _, _ in places} == {"first", "second"}
    assert len({inode for _, _, inode in places}) == 2, "written once on each node"
    for node, path, _ in places:
        assert Path(path).is_relative_to(nodes.folder / f"cache-{node}")
    assert changed == {"clip.mp4": hashlib.sha256(moved[1].read_bytes()).hexdigest()}


def test_failures_and_deaths(nodes: TwoNodes) -> None:
    with open_workers(nodes.address) as workers:
        failed = dict(workers.run(cluster_jobs.fail_on_odd, range(5)))
        always = dict(workers.run(cluster_jobs.die, range(3)))
        ((_, unsent),) = workers.run(cluster_jobs.unpicklable, [1])
        with pytest.raises(ValueError, match="give a function of a module"):
            next(workers.run(lambda job, files: job, [1]))
    with open_workers() as workers:
        assert failed == dict(workers.run(cluster_jobs.fail_on_odd, range(5)))
    died = always.pop(1)
    assert always == {0: 0, 2: 2}
    assert died.kind == "ProcessDied"
    assert "died repeatedly (3 times)" in died.message
    assert "cannot be sent" in unsent.message


def test_closing_early_stops_what_runs_and_signals_stay(nodes: TwoNodes, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), {name: os.environ.get(name) for name in os.environ}
    with open_workers(nodes.address) as workers:
        assert signal.getsignal(signal.SIGTERM) == before[0]
        answers = workers.run(cluster_jobs.rest, [(n, tmp_path) for n in range(50)])
        assert next(answers) == (0, 0)
        while len(marks := [mark for mark in tmp_path.iterdir() if not mark.name.startswith("runs.0")]) < 2:
            time.sleep(0.05)
        answers.close()
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{mark.name.rpartition('.')[2]}").exists() for mark in marks):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert dict(workers.run(cluster_jobs.square, [3])) == {0: 9}
    assert before == (signal.getsignal(signal.SIGTERM), dict(os.environ))


def test_a_lost_node_loses_nothing(nodes: TwoNodes, tmp_path: Path) -> None:
    """A job that is stuck there is done elsewhere, in much less than the 300 s for which it would be."""
    jobs, start = [(n, tmp_path) for n in range(10)], time.monotonic()

    def kill() -> None:
        while not list(tmp_path.glob("*.second")):
            time.sleep(0.05)
        nodes.kill_raylet("second")

    killer = threading.Thread(target=kill, daemon=True)
    with open_workers(nodes.address) as workers:
        killer.start()
        answers = list(workers.run(cluster_jobs.stuck_on_second, jobs))
    killer.join()
    with open_workers() as workers:
        here = dict(workers.run(cluster_jobs.stuck_on_second, jobs))
    assert len(answers) == 10
    assert dict(answers) == here
    stuck = {mark.name.partition(".")[0] for mark in tmp_path.glob("*.second")}
    again = {mark.name.partition(".")[0] for mark in tmp_path.glob("*.first")}
    assert stuck
    assert stuck <= again
    assert time.monotonic() - start < 60


def test_a_node_with_another_version_is_named(nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is another one, by what pip would have written; the nodes have a path of their own."""
    other = tmp_path / "other/edge_vseg-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-vseg\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(other.parent)
    with pytest.raises(ClusterError, match=r"has edge_vseg 0.*, and this process 9\.9\.9"), open_workers(nodes.address):
        pass


def test_a_ray_of_this_machine_uses_the_files_that_are_there(token: None, inputs: list[Path]) -> None:
    with open_workers("local", 2, inputs=inputs) as workers:
        answers = dict(workers.run(cluster_jobs.locate, [(n, inputs[0]) for n in range(2)]))
        failed = dict(workers.run(cluster_jobs.fail_on_odd, range(2)))
    assert {path for _, path, _ in answers.values()} == {str(inputs[0])}
    assert isinstance(failed[1], JobFailure)


def test_no_cluster_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for address in (f"127.0.0.1:{port}", "127.0.0.1:1", "nowhere.invalid:6379"):
            with pytest.raises(ClusterError, match=f"{address}.*ray start --head"), open_workers(address):
                pass
    for address in ("here", "127.0.0.1", "127.0.0.1:99999", ":1"):
        with pytest.raises(ClusterError, match="expected HOST:PORT"), open_workers(address):
            pass
    assert time.monotonic() - start < 20
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"pip install 'edge-vseg\[cluster\]'"), open_workers("local"):
        pass
