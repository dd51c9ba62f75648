"""What the tests of all folders share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from made_once import made_once
from quick_exports import quick_exports
from reference_bundle import write_bundle
from sliced_bundle import street, write_sliced_bundle
from warm_converter import WarmChildren

from edge_vseg.video import VideoWriter

PROJECT = Path(__file__).resolve().parents[1]
# Thousands of tests open bundles of their own; those of probing turn it on again.
os.environ.setdefault("EDGE_VSEG_PROBE", "never")
settings.register_profile(
    "slow-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("slow-machine")


@pytest.fixture(autouse=True)
def _same_log_levels() -> Iterator[None]:
    """Commands choose what is logged, and would choose it for all tests after theirs."""
    levels = {logger: logger.level for logger in (logging.getLogger(), logging.getLogger("edge_vseg"))}
    yield
    for logger, level in levels.items():
        logger.setLevel(level)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real models and videos."""
    folder = Path(os.environ.get("EDGE_VSEG_DATA", PROJECT.parent / "shared" / "data"))
    if not (folder / "videos").is_dir():
        pytest.skip(f"the real models and videos are not at {folder}; set EDGE_VSEG_DATA")
    return folder


@pytest.fixture(scope="session")
def warm_children() -> Iterator[WarmChildren]:
    children = WarmChildren()
    yield children
    children.close()


@pytest.fixture(name="quick_exports", scope="module")
def _quick_exports() -> Iterator[None]:
    """Exports of the module measure this machine once and draw no figures."""
    with quick_exports():
        yield


@pytest.fixture
def real_figures(quick_exports: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of this test draw their figures all the same."""
    from edge_vseg.analysis.report import figures, int8_plots, plots

    for module in (plots, int8_plots):
        monkeypatch.setattr(module, "draw", figures.draw)


@pytest.fixture(scope="module")
def warm_converter(warm_children: WarmChildren) -> Iterator[None]:
    """Exports of the module share one child process."""
    from edge_vseg.export.pipeline import job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "ChildProcess", warm_children)
        yield


@pytest.fixture
def reference_bundle(tmp_path: Path) -> Path:
    """A fresh bundle for the numpy runtime; a test may damage it."""
    return write_bundle(tmp_path / "reference.evseg")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames, 64x48, of a bright square that moves over a blue ground."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 30.0, (48, 64)) as writer:
        for number in range(12):
            image = np.full((48, 64, 3), (200, 40, 40), np.uint8)
            image[12:36, 4 * number : 4 * number + 16] = (30, 30, 220)
            writer.write(image)
    return path


@pytest.fixture(scope="session")
def drive() -> list[np.ndarray]:
    """Twelve rendered frames, 256x192."""
    return street(5, 12)


@pytest.fixture(scope="session")
def sliced_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small reference network as int8 on ONNX Runtime, in slices and for tiles; leave it as it is."""
    return made_once(tmp_path_factory, "street.evseg", write_sliced_bundle)


@pytest.fixture(scope="session")
def drive_video(tmp_path_factory: pytest.TempPathFactory, drive: list[np.ndarray]) -> Path:
    """The drive, there and back until it has 36 frames."""
    path = tmp_path_factory.mktemp("drive") / "drive.mp4"
    with VideoWriter(path, 15.0, drive[0].shape[:2]) as writer:
        for image in (*drive, *drive[::-1], *drive):
            writer.write(image)
    return path
