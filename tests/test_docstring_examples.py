"""The examples in the docstrings of public names run, on a real bundle and a real video."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import edge_vseg
from edge_vseg.calibration import sample_frames
from edge_vseg.export import export_bundle

PUBLIC = {name: getattr(edge_vseg, name) for name in edge_vseg.__all__}
DOCUMENTED = {name: item for name, item in PUBLIC.items() if callable(item)} | {
    "calibration.sample_frames": sample_frames,
    "export.export_bundle": export_bundle,
}


@pytest.fixture
def workplace(sliced_bundle: Path, drive_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two names that the examples use, and a cache of its own."""
    shutil.copytree(sliced_bundle, tmp_path / "street.evseg")
    shutil.copy(drive_video, tmp_path / "drive.mp4")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_run(name: str, workplace: Path) -> None:
    documented: Callable[..., object] = DOCUMENTED[name]
    assert "\nExample:\n" in (inspect.getdoc(documented) or ""), "mkdocstrings renders this section"
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for example in doctest.DocTestFinder().find(documented, name, globs={}):
        runner.run(example, out=said.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert said == []


def test_only_the_constant_has_no_example() -> None:
    assert set(PUBLIC) - set(DOCUMENTED) == {"IGNORE_ID"}
