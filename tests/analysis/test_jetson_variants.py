"""Variants for the GPU of a Jetson are verified and compared there, and elsewhere skipped with the reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from reference_bundle import Recipe, make_variant, write_bundle

from edge_vseg.analysis import verification
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import variant_evaluation
from edge_vseg.bundle import open_bundle
from edge_vseg.runtimes.backends.reference import ReferenceRuntime, ReferenceSession
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import GraphSpec, SessionOptions
from edge_vseg.runtimes.selection import variant_selection

ARM = CpuInfo(model="", architecture="arm64", cores=4, features=("asimd", "asimddp"))


@pytest.fixture
def opened_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This machine as an arm64 one with CUDA; the providers that graphs are opened on."""
    asked: list[str] = []
    open_graph = ReferenceRuntime.open

    def noted(self: ReferenceRuntime, path: Path, spec: GraphSpec, options: SessionOptions) -> ReferenceSession:
        asked.append(options.provider)
        return open_graph(self, path, spec, dataclasses.replace(options, provider=""))

    for module in (verification, variant_evaluation, variant_selection):
        monkeypatch.setattr(module, "cpu_features", lambda: ARM)
    monkeypatch.setattr(ReferenceRuntime, "providers", lambda self: ("cpu", "cuda"))
    monkeypatch.setattr(ReferenceRuntime, "open", noted)
    monkeypatch.setenv("EDGE_VSEG_PROBE", "never")
    return asked


@pytest.fixture
def root(tmp_path: Path) -> Path:
    jetson = make_variant("reference/jetson", target="jetson", precision="int8")
    return write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=(jetson,)))


def test_a_jetson_verifies_them(root: Path, opened_on: list[str]) -> None:
    checks = verification.check_variants(open_bundle(root))
    assert {check.id: check.status for check in checks} == {"reference/float": "ok", "reference/jetson": "ok"}
    assert opened_on == ["", "cuda"]


def test_a_jetson_compares_them(root: Path, opened_on: list[str]) -> None:
    frames = [LabelledFrame(image=np.zeros((48, 64, 3), np.uint8), labels=np.zeros((48, 64), np.uint8))]
    scores = variant_evaluation.compare_variants(root, frames)
    assert [score.variant for score in scores] == ["reference/float", "reference/jetson"]
    assert opened_on == ["", "cuda"]


@pytest.mark.usefixtures("opened_on")
def test_a_board_without_the_gpu_skips_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReferenceRuntime, "providers", lambda self: ("cpu",))
    *_, check = verification.check_variants(open_bundle(root))
    assert (check.id, check.status) == ("reference/jetson", "skipped")
    assert "neither the tensorrt nor the cuda provider" in check.detail
