"""Small ONNX networks made node by node, and frames to feed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.head import cut_head
from edge_vseg.export.graph.input_stage import Normalization, add_input_stage
from edge_vseg.export.quantization.activations import watch_activations
from edge_vseg.export.quantization.preparation import measure_ranges

SIZE_HW = (24, 32)


class Net:
    """Collects nodes and weights; every method gives the name of the tensor it makes."""

    def __init__(self, *, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        made = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), made, name=f"n_{name}", domain=domain, **attributes))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True, **attributes: Any) -> str:
        group = attributes.get("group", 1)
        shape = (outputs, inputs // group, kernel, kernel)
        weight = self.rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        constants = [self.const(weight)] + ([self.const(self.rng.normal(0, 0.1, outputs))] if bias else [])
        attributes.setdefault("pads", [kernel // 2] * 4)
        return self.node("Conv", x, *constants, kernel_shape=[kernel, kernel], **attributes)

    def model(
        self,
        output: str | Sequence[str],
        *,
        opset: int = 20,
        shape: Sequence[Any] | None = (1, 3, *SIZE_HW),
        ir: int = 8,
        dtype: int = TensorProto.FLOAT,
        domains: Sequence[str] = (),
    ) -> onnx.ModelProto:
        """The network that reads ``image``; shape inference fills in what the outputs are."""
        outputs = [output] if isinstance(output, str) else list(output)
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", dtype, shape)],
            [helper.make_empty_tensor_value_info(o) for o in outputs],
            self.weights,
        )
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        model.ir_version = ir
        return model


def body(net: Net, *, channels: int = 4, stride: int = 2, image: str = "image") -> str:
    """3 channels at full size to scores of ``channels`` classes at 1 / ``stride``."""
    x = net.node("Relu", net.conv(image, 3, 8, strides=[stride, stride]))
    return net.conv(x, 8, channels)


def segmenter_onnx(*, channels: int = 4, seed: int = 0, size_hw: tuple[int, int] = SIZE_HW) -> onnx.ModelProto:
    """Body, bilinear upsample to full size, softmax: the usual network."""
    net = Net(seed=seed)
    x = upsample(net, body(net, channels=channels), 2)
    return net.model(net.node("Softmax", x, axis=1), shape=(1, 3, *size_hw))


def deep_onnx() -> onnx.ModelProto:
    """Twelve convolutions: more than int8 needs to spare."""
    net = Net(seed=1)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    for _ in range(10):
        x = net.node("Relu", net.conv(x, 8, 8))
    return net.model(upsample(net, net.conv(x, 8, 4), 2))


def upsample(net: Net, x: str, factor: float, mode: str = "linear", where: str = "half_pixel", **more: Any) -> str:
    scales = net.const([1, 1, factor, factor])
    return net.node("Resize", x, "", scales, mode=mode, coordinate_transformation_mode=where, **more)


def run(model: onnx.ModelProto, value: np.ndarray) -> np.ndarray:
    """First output of the model as ONNX Runtime computes it without optimisations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: value})[0])


def fused(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    """First output for a frame, by the integer kernels that ONNX Runtime's optimisations choose."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: image[None]})[0])


def frame(seed: int = 0, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A smooth picture with grain, ``(H, W, 3)`` uint8 BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def frames(count: int, *, start: int = 0, size_hw: tuple[int, int] = SIZE_HW) -> list[np.ndarray]:
    return [frame(start + i, size_hw) for i in range(count)]


def tensor(image: np.ndarray, mean: float = 127.5, scale: float = 127.5) -> np.ndarray:
    """An RGB network's input for a BGR frame, ``(1, 3, H, W)`` float32."""
    return ((image[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)) - mean) / scale


def ranges_of_all(model: onnx.ModelProto, images: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Ranges of a graph, those of its outputs for all values: what decides nothing is not clipped."""
    outputs = {output.name for output in model.graph.output}
    extremes = dict.fromkeys(outputs, (0.0, 0.0))

    def see(name: str, value: np.ndarray) -> None:
        low, high = extremes[name]
        extremes[name] = min(low, float(value.min())), max(high, float(value.max()))

    watch_activations(model, images, sorted(outputs), see)
    return measure_ranges(model, images) | extremes


def ops(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def staged(model: onnx.ModelProto) -> onnx.ModelProto:
    """The canonical float graph that int8 starts from."""
    canonical, image = canonicalize(model, None)
    norm = Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3, color="rgb")
    return add_input_stage(cut_head(canonical)[0], image, norm)


def scores(model: onnx.ModelProto, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [run(model, image[None]) for image in images]


def second_choice(scores: np.ndarray, margin: float = 0.3) -> np.ndarray:
    """The classes of scores ``(1, C, h, w)``, but the second best where the best is hardly better: ``(h, w)`` uint8."""
    odds = np.exp(scores[0] - scores[0].max(0))
    odds /= odds.sum(0)
    order = np.argsort(-odds, axis=0)
    best, next_best = np.take_along_axis(odds, order, 0)[:2]
    return np.where(best - next_best < margin, order[1], order[0]).astype(np.uint8)
