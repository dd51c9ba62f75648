"""An int8 graph that ONNX Runtime itself cannot run is a variant that failed, not an export that did."""

from __future__ import annotations

import onnx
from networks import Net

from edge_vseg.export import ExportOptions, Normalization, export_bundle


def test_the_float_variant_is_written_and_the_reason_is_told(tmp_path, sample):
    """ONNX Runtime 1.32 moves a cubic Resize that shrinks to its int8 convolutions' layout, for which it has none."""
    net = Net()
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    x = net.node("Resize", x, "", net.const([1, 1, 1.5, 0.75]), mode="cubic")
    onnx.save(net.model(net.conv(x, 8, 4)), tmp_path / "net.onnx")
    options = ExportOptions(
        normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
        runtimes=("onnxruntime",),
        targets=("x86_64-avx2",),
        slices=False,
    )
    manifest = export_bundle(str(tmp_path / "net.onnx"), tmp_path / "net.evseg", sample, options).manifest
    assert [variant.id for variant in manifest.variants] == ["onnxruntime/float"]
    assert [variant.id for variant in manifest.failed] == ["onnxruntime/int8-x86_64-avx2"]
    assert "'Cubic' mode" in manifest.failed[0].reason
