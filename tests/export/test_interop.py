"""A peer's client opens our files with no extra arguments."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
from networks import deep_onnx, frame, frames

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.calibration import sample_frames
from edge_vseg.export import Exported, ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.open_options import OpenOptions
from edge_vseg.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("warm_converter")

model_api = pytest.importorskip("model_api.models", reason="openvino-model-api is not installed")


def hard_prediction(path: Path, image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Label map of the peer, brought back to the resolution of the scores.

    It enlarges its map to the image by nearest neighbour; picking every block's first pixel undoes that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = model_api.SegmentationModel.create_model(str(path))
        assert type(peer).__name__ == "SegmentationModel"
        result = peer(image)
    labels = np.asarray(getattr(result, "resultImage", result))
    assert labels.shape == image.shape[:2]
    rows, columns = ([-(-i * n // m) for i in range(m)] for n, m in zip(labels.shape, size_hw, strict=True))
    return labels[np.ix_(rows, columns)]


def assert_the_peer_agrees(
    made: Exported, variant_id: str, images: list[np.ndarray], extra: dict[str, str] | None = None
) -> None:
    variant = made.manifest.variant(variant_id)
    agreement, seen = [], set()
    options = OpenOptions(variant=variant_id, provider_options=extra or {})
    with Segmenter.open(made.path, threads=1, options=options) as segmenter:
        for image in images:
            logits = segmenter(image).logits
            ours = logits.argmax(0)
            theirs = hard_prediction(made.path / variant.entry, image, logits.shape[1:])
            agreement.append(np.mean(ours == theirs))
            seen |= set(np.unique(ours))
    assert len(seen) > 1
    assert np.mean(agreement) >= 0.995


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp("tiny")
    path = folder / "net.onnx"
    path.write_bytes(deep_onnx().SerializeToString())
    sample = SampleFrames(calibration=frames(8), validation=frames(3, start=50), spec=CalibrationSpec())
    options = ExportOptions(
        normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
        runtimes=("openvino", "onnxruntime"),
        targets=("x86_64-avx2",),
        max_drop=0.3,
        slices=False,
    )
    return export_bundle(str(path), folder / "net.evseg", sample, options)


@pytest.mark.parametrize("variant_id", ["openvino/int8", "openvino/float"])
def test_openvino(tiny, variant_id):
    assert_the_peer_agrees(tiny, variant_id, frames(3, start=80))


@pytest.mark.parametrize("variant_id", ["onnxruntime/int8-x86_64-avx2", "onnxruntime/float"])
def test_onnx(tiny, variant_id):
    assert_the_peer_agrees(tiny, variant_id, frames(3, start=80))


def test_an_image_of_another_size(tiny):
    """The peer resizes by itself; its map has the image's size."""
    image = cv2.resize(frame(90), (64, 48), interpolation=cv2.INTER_NEAREST)
    variant = tiny.manifest.variant("openvino/int8")
    assert hard_prediction(tiny.path / variant.entry, image, (12, 16)).shape == (12, 16)


def test_labels_are_told(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = model_api.SegmentationModel.create_model(str(tiny.path / "openvino/int8/model.xml"))
    assert list(peer.params.labels) == ["class_0", "class_1", "class_2", "class_3"]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.release
def test_a_real_network(tmp_path, data_dir):
    sample = sample_frames([data_dir / "videos" / "thoughtful.mp4"], calibration=6, validation=2, seed=0)
    options = ExportOptions(
        normalization=Normalization(scale=(255.0,) * 3),
        runtimes=("openvino", "onnxruntime"),
        targets=("x86_64-avx2",),
        max_drop=0.1,
        slices=False,
    )
    made = export_bundle(str(data_dir / "models/prisma-person/prisma.onnx"), tmp_path / "p.evseg", sample, options)
    images = [cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA) for image in sample.validation]
    # The peer leaves the precision of what is not int8 to the CPU: bfloat16 where it has it. We ask for float32.
    default = ov.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    hint = {"f32": "f32", "bf16": "bf16", "f16": "f16"}[default]
    assert_the_peer_agrees(made, "openvino/int8", images, {"INFERENCE_PRECISION_HINT": hint})
    assert_the_peer_agrees(made, "openvino/float", images)
    assert_the_peer_agrees(made, "onnxruntime/float", images)
