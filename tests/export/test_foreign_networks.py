"""Networks of other libraries, from the factory to labels of every runtime; each test needs the library installed.

A few of them small and often, those of ``benchmarks/foreign_networks.py`` whole and seldom.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from networks import frames
from torch import nn

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.errors import ModelFileError
from edge_vseg.export import ExportOptions, ExportThresholds, Normalization, SampleFrames, export_bundle

pytestmark = pytest.mark.usefixtures("warm_converter")

SIZE_HW = (64, 64)
WHOLE_SIZE_HW = (64, 128)
"""A network pools to a 64th."""
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


def benchmarks_networks() -> ModuleType:
    """Their file; its folder comes last in the search, so that it hides nothing."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("foreign_networks")


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """What ``this_file.py:whole_NAME`` means."""
    if not name.startswith("whole_"):
        raise AttributeError(name)
    networks = benchmarks_networks()
    networks.SIZE_HW, networks.MEASURED_IMAGES = (128, 256), 8  # batch normalization need not be exact
    return getattr(networks, name.removeprefix("whole_"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # other libraries warn of one another
@pytest.mark.parametrize(
    ("library", "name"),
    [pytest.param(*each, marks=[pytest.mark.release] if each[0] == "transformers" else []) for each in NETWORKS],
    ids=[name for _, name in NETWORKS],
)
def test_exported_for_all_runtimes(library: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    _export_and_compare(name, SIZE_HW, tmp_path)


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", benchmarks_networks().NETWORKS)
def test_a_whole_network_for_all_runtimes(name: str, tmp_path: Path) -> None:
    try:
        _export_and_compare(f"whole_{name}", WHOLE_SIZE_HW, tmp_path)
    except ModelFileError as exc:
        if isinstance(exc.__cause__, ImportError):
            pytest.skip(f"{exc.__cause__.name} is not installed")
        raise


def _export_and_compare(name: str, size_hw: tuple[int, int], folder: Path) -> None:
    sample = SampleFrames(
        calibration=frames(4, size_hw=size_hw), validation=frames(2, start=9, size_hw=size_hw), spec=CalibrationSpec()
    )
    # Random weights make close calls: nothing is gained by searching for layers to keep in float.
    options = ExportOptions(
        size_hw=size_hw,
        normalization=IMAGENET,
        max_drop=1.0,
        slices=False,
        thresholds=ExportThresholds(int8_agreement=0.0, timing_rounds=1),
    )
    made = export_bundle(f"{__file__}:{name}", folder / "net.evseg", sample, options)
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
