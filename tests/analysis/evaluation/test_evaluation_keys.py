"""What the record of an evaluation is known by: with another version of a runtime it is another evaluation."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deadly_runtime import deadly_runtime, write_deadly_bundle
from reference_bundle import write_bundle

from edge_vseg.analysis.evaluation import EvaluationOptions
from edge_vseg.analysis.evaluation.evaluation_data import EvaluationData
from edge_vseg.analysis.evaluation.many_evaluations import EvaluationJob, evaluation_keys, other_records, write_record
from edge_vseg.runtimes.backends.reference import ReferenceRuntime
from edge_vseg.scheduling.policies import EveryFrame


@pytest.fixture
def job(tmp_path: Path) -> EvaluationJob:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"frames")
    bundle = write_bundle(tmp_path / "a.evseg")
    data = EvaluationData(video=str(video))
    return EvaluationJob(bundle=bundle, data=data, policy=EveryFrame(), options=EvaluationOptions())


def test_an_upgrade_of_the_runtime_is_another_evaluation(job: EvaluationJob, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluation_keys([job])
    assert evaluation_keys([job]) == before
    monkeypatch.setattr(ReferenceRuntime, "version", lambda runtime: "numpy 99.0")
    assert evaluation_keys([job]) != before


@pytest.mark.parametrize("role", ["against", "companion"])
def test_so_is_one_of_another_bundle_that_takes_part(job: EvaluationJob, role: str, tmp_path: Path) -> None:
    with deadly_runtime(tmp_path / "site"):
        other = write_deadly_bundle(tmp_path / "b.evseg", "all fine")
        both = replace(job, options=replace(job.options, **{role: other}))
        keys = evaluation_keys([job, both])
        plugin = tmp_path / "site/plugin_deadly.py"
        plugin.write_text(plugin.read_text().replace("deadly 1", "deadly 1.0.1"))
        del sys.modules["plugin_deadly"]
        later = evaluation_keys([job, both])
    assert (keys[0] == later[0], keys[1] == later[1]) == (True, False)


@pytest.mark.parametrize(
    ("choice", "same"),
    [
        pytest.param({}, False, id="auto"),
        pytest.param({"precision": "float"}, False, id="a precision that it has"),
        pytest.param({"variant": "deadly/all-fine"}, False, id="its variant"),
        pytest.param({"variant": "reference/float"}, True, id="another variant"),
        pytest.param({"runtime": "reference"}, True, id="another runtime"),
    ],
)
@pytest.mark.parametrize("role", ["bundle", "against", "companion"])
def test_an_upgrade_of_a_runtime_that_is_never_opened_is_none(
    job: EvaluationJob, role: str, choice: dict[str, Any], same: bool, tmp_path: Path
) -> None:
    with deadly_runtime(tmp_path / "site"):
        other = write_deadly_bundle(tmp_path / "b.evseg", "all fine")
        if role == "bundle":
            job = replace(job, bundle=other, options=EvaluationOptions(**choice))
        else:
            if choice.get("variant") == "deadly/all-fine":
                pytest.skip("the bundle itself has no such variant")
            job = replace(job, options=EvaluationOptions(**choice, **{role: other}))
        before = evaluation_keys([job])
        plugin = tmp_path / "site/plugin_deadly.py"
        plugin.write_text(plugin.read_text().replace("deadly 1", "deadly 1.0.1"))
        sys.modules.pop("plugin_deadly", None)
        assert (evaluation_keys([job]) == before) == same


def test_records_of_other_versions_are_counted(job: EvaluationJob, tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"more frames")
    elsewhere = replace(job, data=EvaluationData(video=str(tmp_path / "b.mp4")))
    for key, each in (("1" * 64, job), ("2" * 64, job), ("3" * 64, elsewhere)):
        write_record(tmp_path, key, each, {})
    assert other_records(tmp_path, [job], ["1" * 64]) == 1
    assert other_records(tmp_path, [job, elsewhere], ["1" * 64, "4" * 64]) == 2
    assert other_records(tmp_path / "none", [job], ["1" * 64]) == 0
