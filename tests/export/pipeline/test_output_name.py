"""The output chosen of several is in the manifest, and an update takes the same one."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from networks import Net, body, upsample

from edge_vseg.export import BundleUpdate, ExportOptions, export_bundle, update_bundle

pytestmark = pytest.mark.usefixtures("warm_converter")

QUICK = {"runtimes": ("onnxruntime",), "precisions": ("float",), "slices": False}


@pytest.fixture
def two_heads(tmp_path) -> Path:
    """Scores of 4 classes at full size, and of 3 at half size."""
    net = Net(seed=1)
    large = upsample(net, body(net), 2)
    model = net.model([large, body(net, channels=3)])
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("at", "classes", "warned"), [(None, 4, 1), (0, 4, 0), (1, 3, 0)])
def test_the_manifest_names_it(tmp_path, two_heads, sample, at, classes, warned):
    names = [output.name for output in onnx.load(two_heads).graph.output]
    options = ExportOptions(output_name="" if at is None else names[at], **QUICK)
    exported = export_bundle(str(two_heads), tmp_path / "a.evseg", sample, options)
    assert exported.manifest.source.output == names[at or 0]
    assert len(exported.manifest.labels) == classes
    told = [warning for warning in exported.warnings if "outputs" in warning]
    assert len(told) == warned
    if warned:
        assert f"{names[0]!r} (1, 4, 24, 32) is exported, not {names[1]!r} (1, 3, 12, 16)" in told[0]


def test_an_update_takes_the_same(tmp_path, two_heads, sample):
    smaller = onnx.load(two_heads).graph.output[1].name
    bundle = tmp_path / "a.evseg"
    export_bundle(str(two_heads), bundle, sample, ExportOptions(output_name=smaller, **QUICK))
    change = BundleUpdate(source=str(two_heads), runtimes=("openvino",), precisions=("float",))
    updated = update_bundle(bundle, sample, change).manifest
    assert updated.source.output == smaller
    made = {variant.id: variant for variant in updated.variants}
    assert made["openvino/float"].output.shape == made["onnxruntime/float"].output.shape
    assert made["openvino/float"].parity is not None
    assert made["openvino/float"].parity.pixel_agreement > 0.99
