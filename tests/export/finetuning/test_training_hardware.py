"""In bfloat16, and on a GPU, the student is still the int8 network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from networks import deep_onnx, frames, run, staged
from torch.utils._python_dispatch import TorchDispatchMode

from edge_vseg.errors import OptionError
from edge_vseg.export import TrainingLength, training_hardware
from edge_vseg.export.finetuning.finetune import finetune
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.finetuning.training import Course, Training
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation, TrainedWeights
from edge_vseg.export.training_hardware import TrainingHardware, has_bfloat16, repeatable
from edge_vseg.runtimes import cpu

BFLOAT16 = TrainingHardware(arithmetic="bfloat16")


@pytest.fixture(scope="module")
def prepared() -> Int8Preparation:
    return Int8Preparation(staged(deep_onnx()), frames(8), 0)


@pytest.fixture(scope="module")
def coarse(prepared: Int8Preparation) -> Int8Preparation:
    """Ranges that nobody measured well: there is something to learn."""
    wide = {name: (3 * low, 3 * high) for name, (low, high) in prepared.ranges.items()}
    weights = TrainedWeights(smooth=prepared.equalized, rounded=prepared.weights(()), ranges=wide)
    return prepared.with_trained(weights)


def train(prepared: Int8Preparation, hardware: TrainingHardware, steps: int, **more: Any) -> TrainedWeights:
    lesson = [TrainingFrame(image=frame) for frame in prepared.frames]
    course = Course(length=TrainingLength(steps=steps), hardware=hardware, **more)
    return finetune(prepared.equalized, prepared.weights(()), prepared.ranges, lesson, course)


class Seen(TorchDispatchMode):
    """Every operation on tensors, with the tensors that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[torch.Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((str(func), [each for each in args if isinstance(each, torch.Tensor)]))
        return func(*args, **(kwargs or {}))


def test_products_alone_are_in_bfloat16_and_weights_on_the_grid_exactly(prepared: Int8Preparation) -> None:
    student = Student(prepared.equalized, prepared.weights(()), prepared.ranges, arithmetic="bfloat16")
    image = torch.from_numpy(prepared.frames[0][None])
    with Seen() as seen, torch.no_grad():
        scores = student(image)[""]
    assert scores.dtype == torch.float32
    convolutions = [tensors for name, tensors in seen.calls if "conv" in name]
    assert len(convolutions) == 12
    for tensors in convolutions:
        _, weight = tensors  # no bias: eight bits would round what the int8 graph has in 32
        assert weight.dtype == torch.bfloat16
        assert (weight == weight.round()).all()
        assert (weight.flatten(1).abs().amax(1) == FULL_LEVELS).all()
    for name, tensors in seen.calls:
        if not any(word in name for word in ("conv", "_to_copy", "addcmul", "view", "detach")):
            assert all(each.dtype != torch.bfloat16 for each in tensors), name
    with torch.no_grad():
        exact = Student(prepared.equalized, prepared.weights(()), prepared.ranges)(image)[""]
    assert 0 < (scores - exact).abs().mean() < 0.03 * exact.abs().mean()


def test_gradients_are_those_of_float32(prepared: Int8Preparation) -> None:
    """But for rounding: a step of a weight is worth the same in both."""
    found = []
    for arithmetic in ("float32", "bfloat16"):
        student = Student(prepared.equalized, prepared.weights(()), prepared.ranges, arithmetic=arithmetic)
        student(torch.from_numpy(prepared.frames[0][None]))[""].square().mean().backward()
        weights = [value for name, value in student.named_parameters() if name.endswith(".steps")]
        found.append(torch.cat([value.grad.flatten() for value in weights]))
    exact, short = found
    assert torch.cosine_similarity(exact, short, dim=0) > 0.98
    assert 0.9 < short.norm() / exact.norm() < 1.1


def test_what_bfloat16_learnt_lies_on_the_grid_and_is_nearer_to_float(coarse: Int8Preparation) -> None:
    trained = train(coarse, BFLOAT16, 60)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in trained.rounded.graph.initializer}
    layers = [constants[node.input[1]] for node in trained.rounded.graph.node if node.op_type == "Conv"]
    assert len(layers) == 12
    for weight in layers:
        flat = weight.reshape(len(weight), -1)
        integers = flat / (np.abs(flat).max(1, keepdims=True) / FULL_LEVELS)
        np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)

    def error(prepared: Int8Preparation) -> float:
        # Scores are clipped where nothing is decided, which no training mends.
        ranges = prepared.ranges | dict.fromkeys((each.name for each in prepared.model.graph.output), (-4.0, 4.0))
        graph = quantize_onnxruntime(prepared.weights(()), ranges, recipe_for("arm64"))
        pictures = frames(6, start=50)
        pairs = zip(run_frames(prepared.model, pictures), pictures, strict=True)
        return float(np.mean([np.square(floats - run(graph, each[None])).mean() for floats, each in pairs]))

    assert error(coarse.with_trained(trained)) < 0.9 * error(coarse)
    assert trained.rounded != train(coarse, TrainingHardware(), 60).rounded


def test_the_teacher_stays_in_float32(prepared: Int8Preparation) -> None:
    """It is what int8 shall agree with; rounded to bfloat16 it agrees with itself hardly better than int8 does."""
    with Seen() as seen:
        Teacher(prepared.equalized)(torch.from_numpy(prepared.frames[0][None]))
    assert not any(each.dtype == torch.bfloat16 for _, tensors in seen.calls for each in tensors)


def test_bfloat16_is_taken_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, arithmetic in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(training_hardware, "has_bfloat16", lambda device, has=has: has)
        assert TrainingHardware.of("cpu") == TrainingHardware(device="cpu", arithmetic=arithmetic)
    assert TrainingHardware(device="cuda:1").key == TrainingHardware(device="cuda:0").key
    assert len({TrainingHardware().key, TrainingHardware(device="cuda").key, BFLOAT16.key}) == 3


@pytest.mark.parametrize(
    ("machine", "flags", "said", "has"),
    [
        ("x86_64", "avx512bw avx512_bf16", True, True),
        ("x86_64", "avx512bw amx_tile amx_bf16", True, True),
        ("x86_64", "avx512f avx512bw avx512vl avx512_vnni", True, False),  # emulated, and torch says yes
        ("x86_64", "avx2 avx512_bf16", False, False),
        ("aarch64", "asimd bf16", True, True),
        ("aarch64", "asimd", False, False),
    ],
)
def test_the_processor_says_what_it_has(
    machine: str, flags: str, said: bool, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("".join(f"processor\t: {core}\nflags\t\t: {flags}\n\n" for core in (0, 1)))
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: said)
    assert has_bfloat16("cpu") is has


def test_a_gpu_that_cannot_be_used_is_not_taken_by_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object, device: str = "cpu", **more: object) -> None:
        if torch.device(device).type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nMore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", full)
    with caplog.at_level("WARNING"):
        assert TrainingHardware.of("auto").device == "cpu"
    assert "CPU, for the GPU cannot be used: CUDA out of memory. Tried to allocate 2.00 MiB." in caplog.text
    with pytest.raises(OptionError, match="device 'cuda' cannot be used here: CUDA out of memory"):
        TrainingHardware.of("cuda")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.21 GiB, max allowed: 20.13 GiB)."),
        torch.OutOfMemoryError("XPU ran out"),
        RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    ],
    ids=["cuda", "cublas", "mps", "xpu", "level zero"],
)
def test_a_gpu_whose_memory_is_full_while_it_trains(
    error: Exception, prepared: Int8Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> float:
        raise error

    monkeypatch.setattr(Training, "_advance", full)
    with pytest.raises(OptionError, match="the GPU's memory does not suffice.*give --finetune-device cpu"):
        train(prepared, TrainingHardware(), 2)
    error = RuntimeError("size mismatch")
    with pytest.raises(RuntimeError, match="size mismatch"):
        train(prepared, TrainingHardware(), 2)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match="device 'nothing' cannot be used here"):
        TrainingHardware.of("nothing")
    if not torch.cuda.is_available():
        assert TrainingHardware.of("auto").device == "cpu"
        with pytest.raises(OptionError, match="device 'cuda' cannot be used here.*give cpu"):
            TrainingHardware.of("cuda")


def test_on_a_processor_nothing_is_switched() -> None:
    with repeatable("cpu"):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that CUDA has")
def test_a_training_goes_on_from_a_gpu_to_the_processor_and_back(coarse: Int8Preparation, tmp_path: Path) -> None:
    gpu, cpu = TrainingHardware.of("cuda"), TrainingHardware.of("cpu")
    path = tmp_path / "state.pt"
    for steps, hardware in ((4, gpu), (8, cpu), (12, gpu)):
        trained = train(coarse, hardware, steps, checkpoint=path)
        assert torch.load(path, map_location="cpu", weights_only=True)["step"] == steps
        assert onnx.checker.check_model(trained.rounded) is None
    assert train(coarse, gpu, 6).rounded == train(coarse, gpu, 6).rounded
