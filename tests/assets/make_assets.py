"""Make the tiny networks that the runtime tests open.

One network in four file formats: ``frame`` (1, 24, 32, 3) uint8 -> x / 255 -> 3x3 convolution, stride 2, padding 1,
8 channels -> ReLU -> 1x1 convolution -> ``scores`` (1, 3, 12, 16) float32. The files are committed, so that the
runtimes can be tested where onnx, torch and the converters are not installed. Make them again with::

    python tests/assets/make_assets.py

The ONNX file keeps to IR version 8 and opset 13, which the oldest supported ONNX Runtime and OpenVINO read.
``tiny.npz`` holds the weights, a frame, and the scores that plain loops in float64 give for it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SEED = 20
HEIGHT, WIDTH, HIDDEN, CLASSES = 24, 32, 8, 3


def make_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "w1": rng.normal(0, 0.4, (HIDDEN, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(0, 0.2, HIDDEN).astype(np.float32),
        "w2": rng.normal(0, 0.5, (CLASSES, HIDDEN, 1, 1)).astype(np.float32),
        "b2": rng.normal(0, 0.2, CLASSES).astype(np.float32),
    }


def expected_scores(frame: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The network written as loops over output pixels, in float64."""
    image = np.zeros((HEIGHT + 2, WIDTH + 2, 3))
    image[1:-1, 1:-1] = frame[0].astype(np.float64) / 255
    w1, b1, w2, b2 = (weights[k].astype(np.float64) for k in ("w1", "b1", "w2", "b2"))
    scores = np.empty((1, CLASSES, HEIGHT // 2, WIDTH // 2))
    for y in range(HEIGHT // 2):
        for x in range(WIDTH // 2):
            patch = image[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            hidden = np.maximum(np.einsum("ocij,ijc->o", w1, patch) + b1, 0)
            scores[0, :, y, x] = w2[:, :, 0, 0] @ hidden + b2
    return scores.astype(np.float32)


def make_onnx(path: Path, weights: dict[str, np.ndarray]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["frame"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["as_float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["nchw", "range"], ["image"]),
        helper.make_node("Conv", ["image", "w1", "b1"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["hidden"]),
        helper.make_node("Conv", ["hidden", "w2", "b2"], ["scores"]),
    ]
    constants = {**weights, "range": np.float32(255)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, (1, HEIGHT, WIDTH, 3))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, CLASSES, HEIGHT // 2, WIDTH // 2))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def make_openvino(onnx_path: Path, path: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(onnx_path), path, compress_to_fp16=False)


def make_tflite(path: Path, weights: dict[str, np.ndarray]) -> None:
    import litert_torch
    import torch
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    class Tiny(torch.nn.Module):
        def forward(self, frame: torch.Tensor) -> torch.Tensor:
            w = {name: torch.from_numpy(value) for name, value in weights.items()}
            image = frame.to(torch.float32).permute(0, 3, 1, 2) / 255
            hidden = torch.relu(torch.nn.functional.conv2d(image, w["w1"], w["b1"], stride=2, padding=1))
            return torch.nn.functional.conv2d(hidden, w["w2"], w["b2"])

    frame = torch.zeros((1, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    converted = litert_torch.convert(Tiny().eval(), sample_kwargs={"frame": frame})
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.tflite"
        converted.export(str(raw))
        model = schema.ModelT.InitFromPackedBuf(raw.read_bytes(), 0)
    # Only the signature gets our name: the tensor keeps the converter's, as in files found in the wild.
    model.signatureDefs[0].outputs[0].name = b"scores"
    builder = Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())


def main() -> None:
    rng = np.random.default_rng(SEED)
    weights = make_weights(rng)
    frame = rng.integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    np.savez_compressed(HERE / "tiny.npz", frame=frame, scores=expected_scores(frame, weights), **weights)
    make_onnx(HERE / "tiny.onnx", weights)
    make_openvino(HERE / "tiny.onnx", HERE / "tiny.xml")
    make_tflite(HERE / "tiny.tflite", weights)


if __name__ == "__main__":
    main()
