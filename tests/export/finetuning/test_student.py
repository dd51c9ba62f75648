"""The student computes what the int8 graph computes, and its gradients are those of the papers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from networks import Net, deep_onnx, frames, staged, upsample
from networks import run as run_unfused

from edge_vseg.export.finetuning.blocks import block_ends
from edge_vseg.export.finetuning.rounded_tensors import RoundedActivation, RoundedWeight
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation


@pytest.fixture(scope="module")
def prepared() -> Int8Preparation:
    return Int8Preparation(staged(deep_onnx()), frames(8), 0)


def run(module: torch.nn.Module, prepared: Int8Preparation) -> list[np.ndarray]:
    with torch.no_grad():
        return [module(torch.from_numpy(frame[None]))[""].numpy() for frame in prepared.frames]


def test_the_student_begins_as_the_int8_graph(prepared: Int8Preparation) -> None:
    """An independent reference: ONNX Runtime on the QDQ graph, without int8 kernels, whose sums may saturate."""
    rounded = prepared.weights(())
    found = run(Student(prepared.equalized, rounded, prepared.ranges), prepared)
    graph = quantize_onnxruntime(rounded, prepared.ranges, recipe_for("arm64"))
    expected = [run_unfused(graph, frame[None]) for frame in prepared.frames]
    smooth = run_frames(prepared.equalized, prepared.frames)
    step = max(high - low for low, high in [prepared.ranges[rounded.graph.node[-1].output[0]]]) / 255
    for a, b, c in zip(found, expected, smooth, strict=True):
        # The QDQ graph rounds its output as well.
        assert np.abs(a - b).mean() < step
        assert np.abs(a - b).mean() < 0.5 * np.abs(b - c).mean() + step


def test_gates_are_rounded_as_in_the_int8_graph() -> None:
    """Of a HardSwish the int8 graph rounds the gate by itself, and to the same levels whatever it was calibrated to."""
    net = Net(seed=2)
    x = net.node("HardSwish", net.conv("image", 3, 8, strides=[2, 2]))
    x = net.node("Mul", x, net.node("HardSigmoid", net.conv(x, 8, 8), alpha=1 / 6, beta=0.5))
    prepared = Int8Preparation(staged(net.model(upsample(net, net.conv(x, 8, 4), 2))), frames(8), 0)
    rounded = prepared.weights(())
    student = Student(prepared.equalized, rounded, prepared.ranges)
    graph = quantize_onnxruntime(rounded, prepared.ranges, recipe_for("arm64"))
    low, high = prepared.ranges[rounded.graph.output[0].name]
    unfused = [run_unfused(graph, frame[None]) for frame in prepared.frames]
    for a, b in zip(run(student, prepared), unfused, strict=True):
        # The QDQ graph rounds its output as well, and clips it.
        assert np.mean(np.abs(np.clip(a, low, high) - b) > 0.51 * (high - low) / 255) < 0.04
    gates = {node.output[0] for node in rounded.graph.node if node.op_type == "HardSigmoid"}
    assert gates
    assert not gates & student.ranges().keys()


def test_the_teacher_is_the_staged(prepared: Int8Preparation) -> None:
    for a, b in zip(run(Teacher(prepared.model), prepared), run_frames(prepared.model, prepared.frames), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_untrained_weights_are_written_as_they_were(prepared: Int8Preparation) -> None:
    rounded = prepared.weights(())
    student = Student(prepared.equalized, rounded, prepared.ranges)
    for a, b in zip(
        run_frames(student.write(rounded, on_grid=True), prepared.frames),
        run_frames(rounded, prepared.frames),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert student.ranges().keys() <= prepared.ranges.keys()
    for name, (low, high) in student.ranges().items():
        assert (low, high) == pytest.approx(prepared.ranges[name], abs=(high - low) / 200)


def test_written_weights_lie_on_the_grid_that_quantizers_find(prepared: Int8Preparation) -> None:
    rounded = prepared.weights(())
    student = Student(prepared.equalized, rounded, prepared.ranges)
    with torch.no_grad():
        for part in student._weights.values():
            part.steps += 3 * torch.randn_like(part.steps)
    written = student.write(rounded, on_grid=True)
    onnx.checker.check_model(written)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in written.graph.initializer}
    checked = 0
    for node in written.graph.node:
        if node.op_type == "Conv":
            flat = weights[node.input[1]].reshape(len(weights[node.input[1]]), -1)
            integers = flat / (np.abs(flat).max(1, keepdims=True) / FULL_LEVELS)
            np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)
            checked += 1
    assert checked > 1
    names = {t.name for t in student.write(prepared.equalized, on_grid=False).graph.initializer}
    assert not names & {name for name in weights if name.endswith(".weight8")}, "a float node must find its own weights"


def test_a_weight_starts_with_the_integers_of_the_static_recipe() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    step = np.abs(weight).reshape(4, -1).max(1).reshape(4, 1, 1, 1) / FULL_LEVELS
    rounded = (np.clip(np.round(weight / step + rng.normal(size=weight.shape)), -127, 127) * step).astype(np.float32)
    rounded.reshape(4, -1)[:, 0] = step.reshape(4) * FULL_LEVELS
    part = RoundedWeight(weight, rounded)
    np.testing.assert_allclose(part().detach().numpy(), rounded, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (-1.0, 3.0), (-2.0, 0.0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_lsq(low: float, high: float, layout: torch.memory_format) -> None:
    """Against the formula written out with straight-through rounding."""
    torch.manual_seed(0)
    x = (4 * torch.randn(2, 3, 8, 8)).to(memory_format=layout).requires_grad_()
    wanted = torch.randn(2, 3, 8, 8).to(memory_format=layout)
    part = RoundedActivation(low, high)
    (part(x) * wanted).sum().backward()

    other = x.detach().clone().requires_grad_()
    scale, zero = (
        torch.tensor(part.scale.item(), requires_grad=True),
        torch.tensor(part.zero.item(), requires_grad=True),
    )

    def through(value: torch.Tensor) -> torch.Tensor:
        return value + (value.round() - value).detach()

    rounded = (torch.clamp(through(other / scale) + through(zero), 0, 255) - through(zero)) * scale
    (rounded * wanted).sum().backward()
    factor = (x.numel() * 255) ** -0.5
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(part.scale.grad, factor * scale.grad, rtol=1e-3, atol=1e-3)
    if low < 0:
        torch.testing.assert_close(part.zero.grad, factor * zero.grad, rtol=1e-3, atol=1e-4)


def test_blocks_end_where_everything_goes_through_one_tensor(prepared: Int8Preparation) -> None:
    model = prepared.model
    ends = block_ends(model)
    assert ends
    order = [name for node in model.graph.node for name in node.output]
    for end in ends:
        behind = model.graph.node[order.index(end) + 1 :]
        before = set(order[: order.index(end)]) | {i.name for i in model.graph.input}
        assert not any(name in before for node in behind for name in node.input)
