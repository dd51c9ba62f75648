"""Networks of other libraries, from the factory to labels of every runtime; each test needs the library installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import frames
from torch import nn

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import ExportOptions, ExportThresholds, Normalization, SampleFrames, export_bundle

pytestmark = pytest.mark.usefixtures("warm_converter")

SIZE_HW = (64, 64)
CLASSES = 5
IMAGENET = Normalization(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
NETWORKS = [
    ("torchvision", "lraspp"),
    ("segmentation_models_pytorch", "unet"),
    ("segmentation_models_pytorch", "pspnet"),
    ("transformers", "segformer"),
    ("transformers", "mobilevit"),
]


def lraspp() -> nn.Module:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)


def unet() -> nn.Module:
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None, classes=CLASSES, encoder_depth=3, decoder_channels=(32, 16, 8))


def pspnet() -> nn.Module:
    import segmentation_models_pytorch as smp

    return smp.PSPNet("resnet18", encoder_weights=None, classes=CLASSES, psp_out_channels=32)


def segformer() -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_labels=CLASSES, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 16, 32], decoder_hidden_size=32
    )
    return SegformerForSemanticSegmentation(config)


def mobilevit() -> nn.Module:
    from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

    config = MobileViTConfig(
        num_labels=CLASSES,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64],
        aspp_out_channels=32,
    )
    return MobileViTForSemanticSegmentation(config)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # other libraries warn of one another
@pytest.mark.parametrize(
    ("library", "name"),
    [pytest.param(*each, marks=[pytest.mark.release] if each[0] == "transformers" else []) for each in NETWORKS],
    ids=[name for _, name in NETWORKS],
)
def test_exported_for_all_runtimes(library: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    sample = SampleFrames(
        calibration=frames(4, size_hw=SIZE_HW), validation=frames(2, start=9, size_hw=SIZE_HW), spec=CalibrationSpec()
    )
    # Random weights make close calls: nothing is gained by searching for layers to keep in float.
    options = ExportOptions(
        size_hw=SIZE_HW,
        normalization=IMAGENET,
        max_drop=1.0,
        slices=False,
        thresholds=ExportThresholds(int8_agreement=0.0),
    )
    made = export_bundle(f"{__file__}:{name}", tmp_path / "net.evseg", sample, options)
    assert made.manifest.failed == ()
    assert {variant.runtime for variant in made.manifest.variants} == {"onnxruntime", "openvino", "tflite"}
    assert made.manifest.source.agreement > 0.99
    for variant in made.manifest.variants:
        assert variant.parity is not None
        if variant.precision == "float":
            assert variant.parity.pixel_agreement > 0.99, variant.id
        else:  # with random weights the classes say nothing; the noise of a wrong graph is as strong as the scores
            assert variant.parity.sqnr_db is not None
            assert variant.parity.sqnr_db > 3, variant.id
