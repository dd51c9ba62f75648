"""``edge-vseg profile --record-operators`` and ``edge-vseg export --node-times``: what one writes, the other reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vseg.analysis.operator_recording import read_operator_recording
from edge_vseg.bundle import open_bundle
from edge_vseg.video import VideoWriter

Cli = Callable[..., Any]

pytest.importorskip("torch", reason="exporting needs the extra 'export'")

pytestmark = pytest.mark.usefixtures("warm_converter", "quick_exports")
TESTS = Path(__file__).parents[1]


@pytest.fixture
def street(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "street.mp4"
    with VideoWriter(path, 10.0, (48, 64)) as writer:
        for _ in range(12):
            writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TESTS / "export")
        from networks import deep_onnx
    path = tmp_path / "net.onnx"
    path.write_bytes(deep_onnx().SerializeToString())
    return path


def test_recorded_and_exported_again(
    cli: Cli, network: Path, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each graph in a process of its own, as on a device."""
    monkeypatch.setenv("EDGE_VSEG_PROBE", "first")
    asked = ("--frames", street, "--runtimes", "onnxruntime", "--no-slices", "--max-drop", 1, "--mean", 127.5)
    samples = ("--calibration-frames", 3, "--validation-frames", 2)
    made, times = tmp_path / "net.evseg", tmp_path / "times.json"
    assert cli("export", network, "-o", made, *asked, *samples).code == 0
    shown = cli("profile", made, "--record-operators", times, "--threads", 1)
    assert shown.code == 0, shown.err
    found = read_operator_recording(times)
    for text in (*(each.id for each in found.variants), str(times), "edge-vseg export --node-times"):
        assert text in shown.out
    again = cli("profile", made, "--record-operators", times)
    assert (again.code, "--force" in again.err) == (1, True)

    other = tmp_path / "arm.evseg"
    shown = cli("export", network, "-o", other, *asked, *samples, "--targets", "arm64", "--node-times", times)
    assert shown.code == 0, shown.err
    assert "onnxruntime/int8-arm64" in [each.id for each in open_bundle(other).manifest.variants]

    times.write_text("{}")
    shown = cli("export", network, "-o", other, *asked, *samples, "--node-times", times)
    assert shown.code == 1
    assert f"{times} holds no times of operators" in shown.err.replace("\n", " ")


@pytest.mark.parametrize("more", [(), ("--json", "p.json", "--record-operators", "t.json"), ("--html", "p.html")])
def test_a_run_needs_a_video(more: tuple[str, ...], cli: Cli, reference_bundle: Path) -> None:
    shown = cli("profile", reference_bundle, *more)
    assert shown.code == 2
    assert "give VIDEO" in shown.err


def test_what_cannot_be_recorded_is_told(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    shown = cli("profile", reference_bundle, "--record-operators", tmp_path / "t.json")
    assert shown.code == 1
    assert "cannot profile operators" in shown.err
    assert not (tmp_path / "t.json").exists()
