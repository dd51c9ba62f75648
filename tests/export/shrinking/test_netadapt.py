"""Layers, their times, and the rounds that cut by them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import frames
from small_networks import times_by_products, wide

from edge_vseg.bundle.layer_times import read_layer_folder
from edge_vseg.calibration import time_layers
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.graph.macs import count_macs
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.shrinking import ShrinkOptions
from edge_vseg.export.shrinking.channels import find_channels
from edge_vseg.export.shrinking.cutting import cut_channels
from edge_vseg.export.shrinking.latency import LatencyTable
from edge_vseg.export.shrinking.layers import find_layers, slices_cut, write_layers
from edge_vseg.export.shrinking.netadapt import Lesson, NetAdapt


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return wide()


@pytest.fixture(scope="module")
def folder(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layers") / "layers"
    int8 = quantize_onnxruntime(model, measure_ranges(model, frames(2)), recipe_for("x86_64-avx2"))
    write_layers(path, "wide", model, int8)
    return path


def test_layers_are_timed_as_integers(folder: Path) -> None:
    index = read_layer_folder(folder)
    assert len(index.layers) > 20
    for layer in (index.layers[0], next(each for each in index.layers if each.kind.depthwise)):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(str(folder / layer.graph.file), options, providers=["CPUExecutionProvider"])
        operators = [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]
        assert "QLinearConv" in operators
        assert "Conv" not in operators


def test_every_layer_is_timed_at_every_width(folder: Path, model: onnx.ModelProto) -> None:
    done: list[tuple[int, int]] = []
    times = time_layers(folder, threads=1, progress=lambda at, total: done.append((at, total)))
    assert done[-1] == (len(times.layers), len(times.layers))
    assert all(each.ms > 0 for each in times.layers)
    assert times.network_ms > 0
    layers = find_layers(model)
    table = LatencyTable(times, layers)
    assert table.network_ms(layers) == pytest.approx(times.network_ms)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"has no layers\.json.*--write-layers"):
        time_layers(tmp_path)
    (tmp_path / "layers.json").write_text('{"schema": 1}')
    with pytest.raises(CalibrationError, match="is no file of layer times"):
        time_layers(tmp_path)


def test_a_table_gives_what_was_timed_and_lies_between(model: onnx.ModelProto) -> None:
    times, layers = times_by_products(model), find_layers(model)
    table = LatencyTable(times, layers)
    for each in times.layers:
        at = next(layer for layer in layers if layer.kind == each.kind)
        assert table.layer_ms(dataclasses.replace(at, reads=each.reads, makes=each.makes)) == pytest.approx(each.ms)
    layer = layers[1]
    half = table.layer_ms(dataclasses.replace(layer, makes=layer.makes // 2))
    assert 0.4 * table.layer_ms(layer) < half < 0.6 * table.layer_ms(layer)


def test_what_does_not_shrink_with_the_layers_is_learnt(model: onnx.ModelProto) -> None:
    times, layers = times_by_products(model), find_layers(model)
    overhead = 0.5 * times.network_ms
    table = LatencyTable(msgspec.structs.replace(times, network_ms=times.network_ms + overhead), layers)
    halves = [
        [dataclasses.replace(each, makes=each.makes * left // 16) for each in layers] for left in range(16, 3, -1)
    ]
    exact = [times.network_ms * sum(map(table.layer_ms, each)) / sum(map(table.layer_ms, layers)) for each in halves]
    hopeful = table.network_ms(halves[-1])
    for each, ms in zip(halves[1:-1], exact[1:-1], strict=True):
        table.correct(each, ms + overhead)
    assert hopeful < 0.7 * (exact[-1] + overhead)
    assert table.network_ms(halves[-1]) == pytest.approx(exact[-1] + overhead, rel=0.1)
    again = LatencyTable(times, layers)
    again.take_up(table.measured)
    assert again.network_ms(halves[5]) == table.network_ms(halves[5])


def test_one_noisy_measurement_changes_little(model: onnx.ModelProto) -> None:
    times, layers = times_by_products(model), find_layers(model)
    table = LatencyTable(times, layers)
    smaller = [dataclasses.replace(each, makes=each.makes * 15 // 16) for each in layers]
    quarter = [dataclasses.replace(each, makes=each.makes // 4) for each in layers]
    before = table.network_ms(quarter) / times.network_ms
    table.correct(smaller, 1.1 * times.network_ms)
    assert table.network_ms(quarter) / table.network_ms(layers) == pytest.approx(before, rel=0.2)


def test_noise_makes_no_narrow_layer_slower(model: onnx.ModelProto) -> None:
    times = times_by_products(model)
    narrow = min((each for each in times.layers if not each.kind.depthwise), key=lambda each: each.reads * each.makes)
    noisy = msgspec.structs.replace(
        times, layers=tuple(msgspec.structs.replace(e, ms=1e3) if e == narrow else e for e in times.layers)
    )
    layer = next(each for each in find_layers(model) if each.kind == narrow.kind)
    table = LatencyTable(noisy, find_layers(model))
    small = dataclasses.replace(layer, reads=narrow.reads, makes=narrow.makes)
    assert table.layer_ms(small) <= table.layer_ms(layer)


def test_times_of_another_network_are_refused(model: onnx.ModelProto) -> None:
    times = times_by_products(model)
    with pytest.raises(CalibrationError, match="layer times are of wide, and do not have the layer of"):
        LatencyTable(msgspec.structs.replace(times, layers=times.layers[:1]), find_layers(model))


def test_what_a_cut_saves_is_foretold(model: onnx.ModelProto) -> None:
    layers = find_layers(model)
    removed = [channel for group in find_channels(model) for channel in group.channels[:8]]
    cut = slices_cut(removed)
    found = find_layers(cut_channels(model, removed))
    assert [(each.reads, each.makes) for each in found] == [
        (each.reads, each.makes) for each in (layer.without(cut) for layer in layers)
    ]


def lesson(model: onnx.ModelProto) -> Lesson:
    made = [TrainingFrame(image=image) for image in frames(16)]
    return Lesson(teacher=model, frames=made[4:], screening=made[:4])


def test_rounds_reach_the_target(model: onnx.ModelProto) -> None:
    options = ShrinkOptions(target_ms=5.0, rounds=6, points=2)
    adapt = NetAdapt(model, LatencyTable(times_by_products(model), find_layers(model)), lesson(model))
    start = adapt.ms
    for wanted in options.round_targets(start):
        if adapt.ms > wanted:
            done = adapt.cut(adapt.ms - wanted, 5)
            assert done is not None
            assert done.after < done.before
            assert done.ms == pytest.approx(adapt.ms)
    assert start == pytest.approx(10.0)
    assert adapt.ms < 5.6
    assert count_macs(adapt.model) < 0.6 * count_macs(model)
    onnx.checker.check_model(adapt.model, full_check=True)
    assert np.isfinite(adapt.loss(adapt.model))


def test_a_round_takes_the_channels_that_cost_least(model: onnx.ModelProto) -> None:
    """Of two groups that save the same, the one whose channels nobody reads."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    groups = find_channels(copy)
    silent = max(groups, key=lambda each: len(each.channels))
    tensors = {t.name: t for t in copy.graph.initializer}
    for channel in silent.channels[:24]:
        for constant, axis, at in channel.held:
            array = onnx.numpy_helper.to_array(tensors[constant]).copy()
            np.moveaxis(array, axis, 0)[at] = 0
            tensors[constant].CopyFrom(onnx.numpy_helper.from_array(array, constant))
    adapt = NetAdapt(copy, LatencyTable(times_by_products(copy), find_layers(copy)), lesson(copy))
    done = adapt.cut(1.0, 0)
    assert done is not None
    assert done.group == silent.name
    assert set(adapt.last_removed) <= set(silent.channels[:24])
    assert adapt.loss(adapt.model) == pytest.approx(0, abs=1e-5)


def test_nothing_left_to_cut_is_said(model: onnx.ModelProto) -> None:
    adapt = NetAdapt(model, LatencyTable(times_by_products(model), find_layers(model)), lesson(model))
    for _ in range(60):
        if adapt.cut(2.0, 0) is None:
            break
    else:
        pytest.fail("a network without channels is cut on and on")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target_ms": 0.0}, "above 0"),
        ({"target_ms": float("nan")}, "above 0"),
        ({"target_ms": 5.0, "points": 4, "rounds": 3}, "got points 4 and rounds 3; raise rounds"),
        ({"target_ms": 5.0, "criterion": "luck"}, "known: taylor, l1, scale"),
        ({"target_ms": 5.0, "sizes": (1.5,)}, "shares of the input"),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ShrinkOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("points", "rounds"), [(1, 1), (3, 16), (4, 6), (5, 5)])
def test_the_last_round_is_a_point_and_there_are_as_many_as_asked(points: int, rounds: int) -> None:
    options = ShrinkOptions(target_ms=2.0, points=points, rounds=rounds)
    chosen = [number for number in range(rounds) if options.is_point(number)]
    assert len(chosen) == points
    assert chosen[-1] == rounds - 1
    assert options.round_targets(8.0)[-1] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ((224, 288), [(192, 256), (160, 192)]),
        ((128, 160), [(96, 128)]),
        ((64, 96), [(32, 64)]),
        ((32, 32), []),
    ],
    ids=str,
)
def test_smaller_inputs_differ_from_each_other_and_the_whole(
    whole: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert ShrinkOptions(target_ms=2.0).input_sizes(whole) == expected
