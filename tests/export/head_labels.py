"""Compare the label maps of a cut network with those of the whole."""

from __future__ import annotations

import numpy as np
import onnx
from networks import SIZE_HW, frames, run, tensor

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.head import Head, cut_head
from edge_vseg.imaging.label_maps import LabelMapper


def cut(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Head]:
    made, head = cut_head(canonicalize(model, None)[0])
    onnx.checker.check_model(made, full_check=True)
    return made, head


def label_maps(model: onnx.ModelProto, value: np.ndarray) -> tuple[np.ndarray, Head, list[str]]:
    """Label map of the cut network at the input size, as a device makes it."""
    made, head = cut(model)
    output = run(made, value)
    assert output.shape[-2:] == head.size_hw
    if head.kind == "scores":
        assert output.shape[1] == head.classes
        return (
            LabelMapper(SIZE_HW, head.align)(np.ascontiguousarray(output[0])),
            head,
            [n.op_type for n in made.graph.node],
        )
    return output[0].astype(np.uint8), head, []


def own_labels(output: np.ndarray, classes: int) -> np.ndarray:
    """Label map of the whole network's output."""
    if output.dtype.kind in "iu":
        return output.reshape(SIZE_HW).astype(np.uint8)
    if output.shape[1] == classes:
        return output[0].argmax(0).astype(np.uint8)
    return output[0].argmax(-1).astype(np.uint8)


def assert_same_labels(model: onnx.ModelProto, threshold: float | None = None) -> tuple[Head, list[str]]:
    agreement, seen = [], set()
    for image in frames(6):
        value = tensor(image)
        ours, head, left = label_maps(model, value)
        whole = run(model, value)
        theirs = own_labels(whole, head.classes) if threshold is None else whole.reshape(SIZE_HW) > threshold
        agreement.append(np.mean(ours == theirs))
        seen |= set(np.unique(theirs))
    assert len(seen) > 1, "a network of one class proves nothing"
    assert np.mean(agreement) >= 0.999
    return head, left
