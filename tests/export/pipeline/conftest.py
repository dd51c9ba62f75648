"""Bundles to update, which tests get copies of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_once import made_once
from updated_bundles import OPTIONS, exported

from edge_vseg.export import ExportOptions, SampleFrames


@pytest.fixture(scope="module")
def pristine(
    tmp_path_factory: pytest.TempPathFactory, sample: SampleFrames, warm_converter: None, products_for_times: None
) -> Path:
    return _made(tmp_path_factory, "pristine", sample, OPTIONS)


@pytest.fixture(scope="module")
def pristine_slices(
    tmp_path_factory: pytest.TempPathFactory, sample: SampleFrames, warm_converter: None, products_for_times: None
) -> Path:
    return _made(tmp_path_factory, "pristine_slices", sample, replace(OPTIONS, slices=True))


def _made(factory: pytest.TempPathFactory, name: str, sample: SampleFrames, options: ExportOptions) -> Path:
    """The bundle in a folder of that name, for all workers and modules."""

    def make(folder: Path) -> None:
        exported(factory.mktemp(name), sample, options).parent.rename(folder)

    return made_once(factory, name, make) / "net.evseg"


@pytest.fixture
def bundle(tmp_path: Path, pristine: Path, onnx_file: Path) -> Path:
    """A copy of its own, beside its network."""
    return shutil.copytree(pristine, tmp_path / "net.evseg")


@pytest.fixture
def sliced(tmp_path: Path, pristine_slices: Path, onnx_file: Path) -> Path:
    return shutil.copytree(pristine_slices, tmp_path / "net.evseg")
