"""Every operator of the table against the ONNX standard's own backend node tests."""

from __future__ import annotations

import warnings
from collections import defaultdict
from fnmatch import fnmatch
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx_graphs import run_onnxruntime

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # making the cases overflows on purpose here and there
    from onnx.backend.test.loader import load_model_tests

    _ALL = load_model_tests(kind="node")

from edge_vseg.errors import UnsupportedOperatorError
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.onnx_to_torch.folding import ALWAYS_FOLDED
from edge_vseg.export.onnx_to_torch.node import TORCH_DTYPES
from edge_vseg.export.onnx_to_torch.table import TABLE

UNSUPPORTED = {
    "test_averagepool_3d_*": "spatial axes",
    "test_convtranspose_3d": "spatial axes",
    "test_maxpool_3d_*": "spatial axes",
    "test_col2im_5d": "spatial axes",
    "test_maxpool_with_argmax_*": "output Indices",
    "test_batchnorm_*_training_mode": "training mode",
    "test_training_dropout*": "training_mode",
    "test_resize_tf_crop_and_resize*": "tf_crop_and_resize",
    "test_*_empty_set*": "is empty",
    "test_reshape_allowzero_reordered": "is empty",
    "test_split_zero_size_splits_*": "is empty",
    "test_slice_start_out_of_bounds": "is empty",
    "test_rotary_embedding_expanded": "is empty",
    "test_rotary_embedding_3d_input_expanded": "is empty",
    "test_rotary_embedding_no_position_ids_expanded": "is empty",
    "test_rotary_embedding_interleaved_expanded": "is empty",
    "test_rotary_embedding_no_position_ids_interleaved_expanded": "is empty",
    "test_castlike_*_to_FLOAT": "is empty",
    "test_castlike_*_to_FLOAT16": "is empty",
    "test_castlike_*_to_DOUBLE": "is empty",
    "test_causal_conv_with_state_kernel_size_one_expanded": "is empty",
    "test_center_crop_pad_*_expanded": "must be a constant",
    "test_blackmanwindow*_expanded": "unsupported operators: Range",
    "test_hammingwindow*_expanded": "unsupported operators: Range",
    "test_hannwindow*_expanded": "unsupported operators: Range",
}
"""Unsupported cases, and what the error must say. Every other case has to pass."""

AS_ONNX_RUNTIME = "test_resize_downsample_scales_*_align_corners"
"""Cases in which ONNX Runtime, the float baseline, leaves the standard as torch does: corners of the rounded size."""

PROVED_ELSEWHERE = {
    "CastLike": "its own cases take the type of a tensor of no elements; the expanded functions use it with real ones",
}
"""Operators without a passing case of their own, and how they are tested instead."""

CASES = [case for case in _ALL if {node.op_type for node in case.model.graph.node} & TABLE.keys()]


def _arrays(values: Any) -> list[NDArray[Any]]:
    made = [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]
    return [np.asarray(value) for value in made]


def _frozen(model: onnx.ModelProto, inputs: list[NDArray[Any]]) -> tuple[onnx.ModelProto, list[NDArray[Any]]]:
    """The case with those inputs as initialisers that a real network holds as constants (shapes, sizes, axes)."""
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    constant: set[str] = set()
    for node in model.graph.node:
        row = TABLE.get(node.op_type)
        constant |= {node.input[index] for index in (row.constants if row else ()) if index < len(node.input)}
    rest = []
    for info, array in zip(model.graph.input, inputs, strict=True):
        if info.name in constant:
            frozen.graph.initializer.append(numpy_helper.from_array(array, info.name))
        else:
            rest.append(array)
    return frozen, rest


def _types(model: onnx.ModelProto) -> set[int]:
    """Element types that the graph's inputs, outputs and casts name; 0 for anything but a tensor."""
    infos = [*model.graph.input, *model.graph.output]
    types = {info.type.tensor_type.elem_type if info.type.HasField("tensor_type") else 0 for info in infos}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    return types | {attribute.i for node in casts for attribute in node.attribute if attribute.name == "to"}


def _expected_error(case: Any) -> str | None:
    """What the error must say; ``None`` if the case has to pass."""
    if not _types(case.model) <= TORCH_DTYPES.keys():
        return "element type|unsupported operators"
    for pattern, words in UNSUPPORTED.items():
        if fnmatch(case.name, pattern):
            return words
    operators = {node.op_type for node in case.model.graph.node}
    return None if operators <= TABLE.keys() | ALWAYS_FOLDED else "unsupported operators"


def _check(case: Any) -> None:
    for inputs, outputs in case.data_sets:
        model, rest = _frozen(case.model, _arrays(inputs))
        with torch.no_grad():
            result = to_torch(model)(*(torch.from_numpy(np.array(array)) for array in rest))
        got = result if isinstance(result, tuple) else (result,)
        followed = fnmatch(case.name, AS_ONNX_RUNTIME)
        expected = run_onnxruntime(model, rest) if followed else _arrays(outputs)
        for ours, theirs in zip(got, expected, strict=True):
            array = ours.numpy()
            assert array.dtype == theirs.dtype
            assert array.shape == theirs.shape
            # Half precision rounds at every step of a composed function: three units in its last place.
            rtol = max(case.rtol, 3e-3) if theirs.dtype == np.float16 else case.rtol
            np.testing.assert_allclose(array.astype(np.float64), theirs.astype(np.float64), rtol=rtol, atol=case.atol)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_backend_case_passes_or_is_unsupported(case):
    words = _expected_error(case)
    if words is None:
        _check(case)
        return
    with pytest.raises(UnsupportedOperatorError, match=words) as error:
        _check(case)
    assert "docs/operators.md lists what is supported" in str(error.value)


def test_every_operator_passes_a_backend_case():
    proved: dict[str, list[str]] = defaultdict(list)
    for case in CASES:
        if _expected_error(case) is None and len(case.model.graph.node) == 1:
            proved[case.model.graph.node[0].op_type].append(case.name)
    unproved = set(TABLE) - set(proved)
    assert unproved == set(PROVED_ELSEWHERE)
    composed = [
        case
        for case in CASES
        if _expected_error(case) is None and "CastLike" in {node.op_type for node in case.model.graph.node}
    ]
    assert len(composed) > 20


def test_every_unsupported_pattern_is_used():
    for pattern in (*UNSUPPORTED, AS_ONNX_RUNTIME):
        assert any(fnmatch(case.name, pattern) for case in CASES), pattern
