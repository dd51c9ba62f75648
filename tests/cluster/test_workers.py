"""Jobs in this process and in processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cluster_jobs
import pytest

from edge_vseg.cluster import JobFailure, open_workers
from edge_vseg.errors import OptionError

here_and_elsewhere = pytest.mark.parametrize("processes", [1, 2])


def children() -> set[int]:
    """Processes that this one has started and that run."""
    lists = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for each in lists for pid in each}


@here_and_elsewhere
def test_every_job_is_answered(processes: int) -> None:
    with open_workers(processes=processes) as workers:
        answers = list(workers.run(cluster_jobs.square, range(7)))
        assert dict(answers) == {n: n * n for n in range(7)}
        assert len(answers) == 7
        assert dict(workers.run(cluster_jobs.square, [])) == {}


def test_one_process_works_in_order_and_takes_jobs_when_it_needs_them() -> None:
    taken = []

    def jobs():
        for number in range(3):
            taken.append(number)
            yield number

    with open_workers() as workers:
        answers = workers.run(cluster_jobs.where, jobs())
        assert next(answers) == (0, os.getpid())
        assert taken == [0]
        assert [number for number, _ in answers] == [1, 2]


def test_processes_stay_for_the_next_jobs_and_end_with_the_workers() -> None:
    before = children()
    with open_workers(processes=2) as workers:
        first = set(dict(workers.run(cluster_jobs.where, range(6))).values())
        second = set(dict(workers.run(cluster_jobs.where, range(6))).values())
        assert os.getpid() not in first
        assert second <= first
        assert children() - before == first
    assert children() == before


def test_a_process_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    with open_workers(processes=2) as workers:
        found = dict(workers.run(cluster_jobs.environment, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]))
    assert found == {0: "1", 1: "3"}, "what the user has set stays"


@here_and_elsewhere
def test_a_job_that_raises_ends_no_other(processes: int) -> None:
    with open_workers(processes=processes) as workers:
        answers = dict(workers.run(cluster_jobs.fail_on_odd, range(5)))
        assert dict(workers.run(cluster_jobs.leave_on_odd, range(2))) == {0: 0, 1: JobFailure("SystemExit", "3")}
    assert answers == {
        0: 0,
        1: JobFailure("CalibrationError", "no profile at x.json; make it with edge-vseg calibrate"),
        2: 2,
        3: JobFailure("ForeignKindError", "code 7 in a tool"),
        4: 4,
    }


def test_what_cannot_be_sent_is_a_failure() -> None:
    with open_workers(processes=2) as workers:
        (_, answer), (_, job) = *workers.run(cluster_jobs.unpicklable, [1]), *workers.run(cluster_jobs.square, [print])
        (_, sent) = next(workers.run(cluster_jobs.square, [lambda: 1]))
        assert dict(workers.run(cluster_jobs.square, [3])) == {0: 9}
    assert isinstance(answer, JobFailure)
    assert "pickle" in answer.message
    assert job.kind == "TypeError"
    assert "cannot be sent" in sent.message


def test_the_job_of_a_process_that_dies_is_run_again(tmp_path: Path) -> None:
    with open_workers(processes=2) as workers:
        answers = dict(workers.run(cluster_jobs.die_once, [(n, tmp_path) for n in range(4)]))
    assert answers == {0: 0, 1: 1, 2: 2, 3: 3}
    assert (tmp_path / "died.1").exists()


def test_a_job_that_kills_every_process_is_given_up() -> None:
    with open_workers(processes=2) as workers:
        answers = dict(workers.run(cluster_jobs.die, range(4)))
    failure = answers.pop(1)
    assert answers == {0: 0, 2: 2, 3: 3}
    assert failure.kind == "ProcessDied"
    assert failure.message.startswith("the process running it died repeatedly (3 times)")
    assert "exit code 9" in failure.message
    assert "tensor arena is corrupt" in failure.message


def test_closing_early_stops_what_runs(tmp_path: Path) -> None:
    before = children()
    with open_workers(processes=2) as workers:
        answers = workers.run(cluster_jobs.rest, [(n, tmp_path) for n in range(50)])
        assert next(answers) == (0, 0)
        start = time.monotonic()
        answers.close()
        assert time.monotonic() - start < 5
        assert len(list(tmp_path.iterdir())) <= 3
        assert dict(workers.run(cluster_jobs.square, [3])) == {0: 9}
    assert children() == before


def test_an_interrupted_program_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import cluster_jobs; from edge_vseg.cluster import open_workers\n"
        "with open_workers(processes=2) as workers:\n"
        "    list(workers.run(cluster_jobs.rest, [(n + 1, Path(sys.argv[1])) for n in range(9)]))\n"
    )
    path = os.pathsep.join(sys.path)
    program = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while len(marks := list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    program.send_signal(2)
    _, said = program.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said
    for mark in marks:
        assert not Path(f"/proc/{mark.name.rpartition('.')[2]}").exists()


@here_and_elsewhere
def test_inputs_are_where_they_are_here(processes: int, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with open_workers(processes=processes, inputs=[tmp_path]) as workers:
        ((_, found),) = workers.run(cluster_jobs.locate, [(0, tmp_path)])
        ((_, missing),) = workers.run(cluster_jobs.locate, [(0, tmp_path / "a.txt")])
    assert found == (None, str(tmp_path), (tmp_path / "a.txt").stat().st_ino)
    assert missing.kind == "ValueError"
    assert "is not among the inputs" in missing.message


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist, and jobs need it"), open_workers(inputs=[tmp_path / "x"]):
        pass
    with pytest.raises(OptionError, match="at least one process"), open_workers(processes=0):
        pass
    with open_workers() as workers, pytest.raises(ValueError, match="give a function of a module"):
        next(workers.run(lambda job, files: job, [1]))
