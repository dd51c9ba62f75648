"""What is damaged, what XNNPACK alone refuses, and what TFLite does not know."""

from __future__ import annotations

import pytest
from refused_by_xnnpack import depthwise_int8

from edge_vseg.errors import CustomOperatorError, ModelFileError
from edge_vseg.export.source.file_tensors import read_tflite_tensors


def test_a_file_that_xnnpack_refuses_is_read(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(depthwise_int8(1e-6))
    found = read_tflite_tensors(path)
    assert [(each.name, each.shape, each.dtype) for each in found.inputs] == [("image", (1, 4, 4, 2), "int8")]
    assert [(each.name, each.shape) for each in found.outputs] == [("result", (1, 4, 4, 2))]


@pytest.mark.parametrize("name", ["MaxUnpooling2D", "FlexErf"], ids=["custom", "select"])
def test_operators_that_tflite_lacks_are_named(tmp_path, name):
    path = tmp_path / "net.tflite"
    path.write_bytes(depthwise_int8(0.5, custom=name))
    with pytest.raises(CustomOperatorError, match=f"operator that TFLite lacks, {name}; convert it"):
        read_tflite_tensors(path)


@pytest.mark.parametrize("kept", [4, 40, 400])
def test_a_part_of_a_file_is_damaged(tmp_path, kept):
    path = tmp_path / "net.tflite"
    path.write_bytes(depthwise_int8(0.5)[:kept])
    with pytest.raises(ModelFileError, match="is damaged or no TFLite file: .*; download it again"):
        read_tflite_tensors(path)
