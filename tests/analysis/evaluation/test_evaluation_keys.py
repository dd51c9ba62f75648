"""What the record of an evaluation is known by: with another version of a runtime it is another evaluation."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from deadly_runtime import deadly_runtime, write_deadly_bundle
from reference_bundle import write_bundle

from edge_vseg.analysis.evaluation import EvaluationOptions
from edge_vseg.analysis.evaluation.evaluation_data import EvaluationData
from edge_vseg.analysis.evaluation.many_evaluations import EvaluationJob, evaluation_keys
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
