"""Every benchmark can be imported; some are run on a small input."""

from __future__ import annotations

import importlib
import json
import sys
from itertools import islice, pairwise, product
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.scheduling.policies import Deadline

INT8 = OpenOptions(precision="int8")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHARED = (
    "harness", "foreign_networks", "paper_networks", "branch_networks", "random_weights", "soak_process",
    "soak_rounds", "file_faults", "write_checks", "dense_crf",
    "write_scenario",
    "write_scenarios",
)  # fmt: skip
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in SHARED)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import a benchmark as running it would, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)

    def imported(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield imported
    for name in set(sys.modules) - before:
        if name in (*NAMES, *SHARED):
            del sys.modules[name]


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_has_a_docstring_and_is_listed(load, name: str) -> None:
    module = load(name)
    assert callable(module.main)
    assert module.__doc__
    assert f"`{name}.py`" in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["fast_scnn", "bisenet", "ddrnet", "sinet", "stdc", "pidnet", "enet", "segnet"])
def test_networks_from_papers_give_scores_of_the_image_size(load, name: str) -> None:
    torch = pytest.importorskip("torch")
    networks = load("foreign_networks")
    network = networks.NETWORKS[name]().eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 128, 192)).shape == (1, networks.CLASSES, 128, 192)


def test_the_ablation_says_where_a_training_was_dropped(load) -> None:
    ablation = load("int8_ablation")
    row = {"network": "net", "runtime": "openvino", "agreement": 0.99, "worst": 0.98, "speedup": 1.5, "float_nodes": 6}
    for way, taken, dropped in (
        ("fine-tuned, nodes in float", False, True), ("fine-tuned, nodes in float", True, False),
        ("nodes in float", False, False),
    ):  # fmt: skip
        said = ablation.line(row | {"way": way, "fine_tuned": taken})
        assert f"{way} " in said
        assert said.endswith("6 nodes in float, training dropped" if dropped else "6 nodes in float")


def test_a_training_of_contexts_in_turns_goes_on_where_it_was_stopped(load, monkeypatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from edge_vseg.export.reference.training.config import TrainConfig
    from edge_vseg.export.reference.training.training_data import TrainingData

    turns, checkpoint = load("alternating_contexts"), tmp_path / "small_2.pt"
    rng = np.random.default_rng(0)
    frames = [
        LabelledFrame(image=rng.integers(0, 255, (64, 96, 3), np.uint8), labels=rng.integers(0, 11, (64, 96), np.uint8))
        for _ in range(4)
    ]
    data, config = TrainingData(train=frames, val=()), TrainConfig(epochs=2, batch=2, crop_hw=(64, 96), aged=1.0)
    monkeypatch.setattr(turns, "CHECKPOINT_PERIOD_S", 0.0)
    whole = turns.train(turns._turns("small", 2), data, config)
    loss, calls = turns._loss, []

    def stopped(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(turns, "_loss", stopped)
        with pytest.raises(KeyboardInterrupt):
            turns.train(turns._turns("small", 2), data, config, checkpoint)
    parts = turns.train(turns._turns("small", 2), data, config, checkpoint)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(SystemExit, match="give another --work"):
        turns.train(turns._turns("small", 2), data, TrainConfig(epochs=3), checkpoint)


@pytest.mark.release
def test_blocks_measures_a_group(load, monkeypatch, tmp_path: Path, capsys) -> None:
    blocks = load("blocks")
    whole = next(group for group in blocks.GROUPS if group.name == "stride 32")
    names = ("plain", "inverted")
    group = blocks.Group(
        name=whole.name, size_hw=whole.size_hw, channels=64, makers={name: whole.makers[name] for name in names}
    )
    monkeypatch.setattr(blocks, "ExportOptions", _only_onnxruntime(blocks.ExportOptions))
    bundles = {name: blocks.export(tmp_path, group, name) for name in names}
    rows = blocks.measure(group, bundles, "onnxruntime", 1, 3)
    assert [row["graph"] for row in rows] == list(names)
    assert rows[0]["time_ratio"] == 1
    assert rows[1]["time_ratio"] == rows[1]["median_ms"] / rows[0]["median_ms"]
    assert all(row["macs"] > 1e6 and row["parameters"] > 1000 for row in rows)
    assert json.dumps(rows)
    assert "inverted" in capsys.readouterr().out


def test_profiling_overhead_measures_in_turns(load, sliced_bundle: Path, drive_video: Path) -> None:
    overhead = load("profiling_overhead")
    with open_source(drive_video) as source:
        frames = list(islice(source, 6))
    with Segmenter.open(
        sliced_bundle, runtime="onnxruntime", threads=1, policy=Deadline(milliseconds=50.0), options=INT8
    ) as segmenter:
        tree = overhead.measure(segmenter, frames, 2, 50.0)
    assert tree["ratio"] == tree["counted"]["median_ms"] / tree["bare"]["median_ms"]
    assert 0 < tree["recorder_share"] < 0.5


def test_live_answers_a_clip_there_and_back(
    load, sliced_bundle: Path, drive_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    live, path = load("live"), tmp_path / "live.json"
    assert [live.index_of(seq, 3) for seq in range(7)] == [0, 1, 2, 1, 0, 1, 2]
    assert [live.index_of(seq, 1) for seq in range(3)] == [0, 0, 0]
    run = f"street={sliced_bundle},{drive_video},40,500"
    options = ("--run", run, "--frames", "20", "--clip", "8", "--threads", "1", "--load", "1", "--json", str(path))
    monkeypatch.setattr(sys, "argv", ["live.py", *options])
    live.main()
    tree = json.loads(path.read_text())
    (row,) = tree["rows"]
    assert row["frames"] + row["dropped"] <= 20
    assert row["misses"] == 0
    assert 0.3 < row["agreement"] <= 1
    assert 0 < row["cpu_share"] < 1.5
    assert row["lost"] is None, "there are no labels"
    assert row["periods"] == pytest.approx(row["network_ms"] * 40 / 1e3)
    assert "street" in capsys.readouterr().out


def test_two_in_flight_need_an_openvino_variant(load, sliced_bundle: Path) -> None:
    assert load("in_flight").measure(sliced_bundle, 1, 1) is None


def test_the_deadline_is_replayed_where_the_bar_is(load) -> None:
    deadline = load("deadline")
    made = {each.periods: each for each in deadline.scenarios(10.0, 1e3 / 15)}
    assert list(made) == [0.7, 1.4, 2.0, 2.8, 4.2]
    assert made[1.4].policies["deadline, half of the machine"].cpu_share == 0.5
    assert made[2.0].deadline_ms == pytest.approx(1e3 / 15)


def _only_onnxruntime(options):
    return lambda **given: options(**given, runtimes=("onnxruntime",))


def test_guided_borders_follow_the_image(load) -> None:
    """Scores that change two pixels late: the border moves to the edge of the image."""
    refinement = load("boundary_refinement")
    image = np.zeros((48, 96, 3), np.uint8)
    image[:, 44:] = 200
    scores = np.zeros((2, 12, 24), np.float32)
    scores[1] = np.clip((np.arange(24) - 11.0), -1, 1)
    plain, guided = refinement.bilinear(scores, image), refinement.guided(1, 1e-4)(scores, image)
    truth = (image[..., 0] > 0).astype(np.uint8)
    assert (plain != truth).mean() > 0
    assert (guided != truth).mean() < 0.2 * (plain != truth).mean()


def test_a_dense_crf_is_the_mean_field_over_all_pairs_of_pixels(load) -> None:
    """With a window over the whole image it is algorithm 1 of the paper, written here with the full matrices."""
    crf = load("dense_crf").DenseCrf(
        radius=8, step=1, bilateral=2.0, near_px=4.0, alike=40.0, smooth=0.7, smooth_px=2.0
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (6, 8, 3), np.uint8)
    scores = rng.normal(size=(3, 6, 8)).astype(np.float32)
    row, column = (each.ravel().astype(float) for each in np.mgrid[:6, :8])
    distances = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    colours = image.reshape(-1, 3).astype(float)
    differences = np.square(colours[:, None] - colours).sum(-1)
    pairs = np.zeros((48, 48))
    for weight, exponents in ((2.0, distances / 32 + differences / 3200), (0.7, distances / 8)):
        kernel = np.exp(-exponents) * (1 - np.eye(48))
        root = np.sqrt(kernel.sum(0))
        pairs += weight * kernel / root / root[:, None]
    unary = np.exp(scores.reshape(3, 48).astype(float))
    found = unary / unary.sum(0)
    for _ in range(crf.iterations):
        odds = unary * np.exp(found @ pairs)
        found = odds / odds.sum(0)
    np.testing.assert_allclose(crf(scores, image).reshape(3, 48), found, atol=1e-5)


def test_label_propagation_is_measured_against_the_truth(load, drive, capsys) -> None:
    """Frames that do not move: whatever is carried is right."""
    bench = load("label_propagation")
    labels = np.zeros(drive[0].shape[:2], np.uint8)
    labels[:, 100:] = 1
    labels[:4] = 255
    rows = bench.measure([LabelledFrame(image=drive[0], labels=labels)] * 7, 2, 4)
    assert [(row["sides"], row["distance"]) for row in rows[::3]] == [
        ("one side", 1),
        ("one side", 2),
        ("one side", 3),
        ("both sides", 1),
        ("both sides", 2),
    ]
    assert all(row["labelled"] > 0.95 and row["accuracy"] == row["miou"] == 1 for row in rows)
    assert rows[0]["labelled"] == 1
    bench.print_rows(rows)
    assert "| both sides | 2 | 100.0, 100.0, 100.0 |" in capsys.readouterr().out
    sure = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape)
    result = SimpleNamespace(labels=np.zeros_like(labels), uncertainty=sure)
    rows = bench.measure_teacher([LabelledFrame(image=drive[0], labels=labels)] * 3, 2, lambda image: result)
    known = labels != 255
    assert rows[0]["labelled"] == 1
    assert rows[0]["accuracy"] == pytest.approx((labels[known] == 0).mean())
    assert rows[2]["labelled"] == pytest.approx((sure[known] <= 0.5).mean(), abs=0.01)
    bench.print_pseudo_labels(rows)
    assert "| 1 | 100.0, " in capsys.readouterr().out


def test_label_propagation_on_streets_gives_means_over_them(load, monkeypatch, tmp_path: Path, capsys) -> None:
    bench, path = load("label_propagation"), tmp_path / "rows.json"
    cameras = bench.CAMERAS[:2]
    monkeypatch.setattr(bench, "CAMERAS", cameras)
    monkeypatch.setattr(bench, "STREET_FRAMES", 5)
    monkeypatch.setattr(sys, "argv", ["label_propagation.py", "--streets", "1", "--every", "2", "--json", str(path)])
    found, measure = [], bench.measure

    def kept(*arguments: object) -> list[dict[str, object]]:
        found.append(measure(*arguments))
        return found[-1]

    monkeypatch.setattr(bench, "measure", kept)
    bench.main()
    tree = json.loads(path.read_text())
    assert tree["every"] == 2
    assert [(row["sides"], row["distance"], row["min_confidence"]) for row in tree["streets"]] == [
        (sides, 1, least) for sides in ("one side", "both sides") for least in bench.CONFIDENCES
    ]
    first, second = found
    assert first[0]["miou"] != second[0]["miou"], "the cameras drive through other streets"
    for row, one, other in zip(tree["streets"], first, second, strict=True):
        assert row["frames"] == one["frames"] == 2, "of five, each second has labels"
        for figure in ("labelled", "accuracy", "miou"):
            assert row[figure] == pytest.approx((one[figure] + other[figure]) / 2)
            assert 0.2 < row[figure] <= 1
    said = capsys.readouterr().out
    assert f"{cameras[1]} {bench.FIRST_SEED}: " in said
    assert "| both sides | 1 |" in said


def test_the_check_there_and_back_is_fitted_and_judged(load, monkeypatch) -> None:
    """On one street: the constants with the highest F1 of its steps, and the figures of its first one."""
    bench = load("there_and_back")
    street = next(iter(bench.rendered_streets((11,), 10)))
    monkeypatch.setattr(bench, "SHARES", (0.01, 0.05))
    monkeypatch.setattr(bench, "SLACKS", (0.5, 10.0))
    monkeypatch.setattr(bench, "CHANCES", (0.05, 0.3))
    monkeypatch.setattr(bench, "STARTS", (0,))
    monkeypatch.setattr(bench, "LEAST_SHARE", 0.0)
    (share, slack), chance = bench.fit_thresholds("dis", [street])
    pairs = [(bench.CheckedStep("dis", before, now), now.occluded) for before, now in pairwise(street)]

    def f1(found: list[np.ndarray]) -> float:
        right = sum((each & truth).sum() for each, (_, truth) in zip(found, pairs, strict=True))
        return 2 * right / sum(each.sum() + truth.sum() for each, (_, truth) in zip(found, pairs, strict=True))

    scores = {each: f1([step.failed(*each) for step, _ in pairs]) for each in product((0.01, 0.05), (0.5, 10.0))}
    assert (share, slack) == max(scores, key=scores.get)
    assert chance == max((0.05, 0.3), key=lambda at: f1([step.chance > at for step, _ in pairs]))
    signs = {"fitted": lambda step: step.failed(share, slack)}
    rows = {(row["sign"], row["age"]): row for row in bench.judge_signs("dis", [street], signs, "fitted")}
    step, truth = pairs[0]
    found = step.failed(share, slack)
    assert rows["fitted", 1]["precision"] == pytest.approx(100 * (found & truth).sum() / found.sum())
    assert rows["fitted", 1]["recall"] == pytest.approx(100 * (found & truth).sum() / truth.sum())
    assert rows["fitted", 8]["recall"] > 0
