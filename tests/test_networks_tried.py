"""The networks of ``benchmarks/tried_networks`` work, and the benchmark that exports them prints their rows."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
STRIDES = {"mobilevitv2": 32}
"""Where scores are smaller than the image."""
FOREIGN = [pytest.mark.slow, pytest.mark.release, pytest.mark.filterwarnings("default")]


def benchmark_module(name: str) -> ModuleType:
    """A file of the benchmarks; their folder comes last in the search, so that it hides nothing."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module(name)


TRIED = benchmark_module("tried_networks")


def marked(name: str) -> object:
    """Those of transformers take a while to import."""
    foreign = "(transformers)" in TRIED.NETWORKS[name].title
    return pytest.param(name, marks=FOREIGN if foreign else [])


@pytest.mark.parametrize("name", [marked(name) for name in TRIED.NETWORKS])
def test_network_gives_scores_of_the_image(name: str) -> None:
    network = TRIED.NETWORKS[name]
    if "(transformers)" in network.title:
        pytest.importorskip("transformers")
    height, width = network.size_hw
    with torch.no_grad():
        scores = getattr(TRIED, name)()(torch.zeros(1, 3, height, width))
    stride = STRIDES.get(name, 1)
    for output in scores if isinstance(scores, tuple) else (scores,):
        assert output.shape == (1, TRIED.blocks.CLASSES, height // stride, width // stride)
        assert output.isfinite().all()
        assert output[0].std(0).max() > 0


def test_weights_are_the_same_each_time() -> None:
    first, second = (TRIED.erfnet().state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """The benchmark, run with these arguments."""
    module = benchmark_module("networks_tried")

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["networks_tried.py", *arguments])
        module.main()

    return run


def test_a_network_that_fails_has_a_row_that_says_so(command, monkeypatch, tmp_path: Path, capsys) -> None:
    def broken() -> torch.nn.Module:
        raise RuntimeError("the paper | does not say")

    monkeypatch.setitem(TRIED.NETWORKS, "broken", TRIED.TriedNetwork(title="Broken", make=broken))
    command("--network", "broken", "--network", "broken", "-o", str(tmp_path / "rows.json"))
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 2
    assert rows[0].startswith("| Broken | no: ModelFileError: ")
    assert "the paper / does not say" in rows[0]
    assert rows[0].count("|") == 5
    assert len(json.loads((tmp_path / "rows.json").read_text())["rows"]) == 2


@pytest.mark.parametrize(
    ("float_agreement", "failed", "expected"),
    [
        (1.0, {}, "yes / 12 dB"),
        (0.95, {}, "in 95.0% of the pixels / 12 dB"),
        (None, {"tflite/float": "no GridSample"}, "no: no GridSample"),
    ],
    ids=["right", "wrong", "none"],
)
def test_a_cell_says_whether_float_is_right(
    float_agreement: float | None, failed: dict[str, str], expected: str
) -> None:
    variants = []
    if float_agreement is not None:
        shared = {"runtime": "tflite", "agreement": float_agreement}
        variants = [shared | {"precision": "float", "sqnr_db": 99.0}, shared | {"precision": "int8", "sqnr_db": 12.3}]
    row = {"variants": variants, "failed": failed}
    assert benchmark_module("networks_tried").cell(row, "tflite") == expected


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.usefixtures("quick_exports")
def test_the_command_exports_a_network_for_all_runtimes(command, tmp_path: Path, capsys) -> None:
    command("--network", "enet_bilinear", "--size", "32x64", "-o", str(tmp_path / "rows.json"))
    title, *cells = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    assert title == "ENet, bilinear"
    assert len(cells) == 3
    assert all(cell.startswith("yes / ") and cell.endswith(" dB") for cell in cells)
    tree = json.loads((tmp_path / "rows.json").read_text())
    assert tree["rows"][0]["size"] == "32x64"
    assert tree["provenance"]["commit"]
