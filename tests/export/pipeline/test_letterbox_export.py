"""Exports with a letterbox: calibration, border and what the bundle and its graphs say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sliced_bundle import street

from edge_vseg import Segmenter
from edge_vseg.bundle.labels import named_labels, numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec, FrameSpec, Letterbox
from edge_vseg.errors import OptionError
from edge_vseg.export import BundleUpdate, ExportOptions, SampleFrames, export_bundle, update_bundle
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.metadata import model_info
from edge_vseg.export.pipeline import open_job
from edge_vseg.export.reference.zoo.weights import NORMALIZATION
from edge_vseg.imaging.letterbox import fit_image

pytestmark = pytest.mark.usefixtures("warm_converter")

SMALL = "edge_vseg.export.reference.zoo:small"


def portraits(seed: int, count: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(image[:, :96]) for image in street(seed, count)]


@pytest.fixture(scope="module")
def sample() -> SampleFrames:
    return SampleFrames(calibration=portraits(1, 4), validation=portraits(2, 2), spec=CalibrationSpec())


@pytest.mark.parametrize(
    ("norm", "border"),
    [
        (Normalization(mean=(123.7, 116.3, 103.5)), (124, 116, 104)),
        (Normalization(mean=(103.5, 116.3, 300.0), color="bgr"), (255, 116, 104)),
    ],
)
def test_the_border_is_the_mean_of_the_normalization(
    norm: Normalization, border: tuple[int, int, int], tmp_path: Path, sample: SampleFrames
) -> None:
    options = ExportOptions(normalization=norm, resize="letterbox")
    with open_job(SMALL, tmp_path / "x.evseg", options, frames=sample) as job:
        assert job.resize == Letterbox(border_rgb=border)
        spec = FrameSpec(size_hw=(64, 64), resize=Letterbox(border_rgb=border))
        for found, frames in (
            (job.calibration_frames((64, 64)), sample.calibration),
            (job.validation_frames((64, 64)), sample.validation),
        ):
            assert found[0][0, 0].tolist() == list(border[::-1])
            np.testing.assert_array_equal(found, [fit_image(frame, spec) for frame in frames])


def test_without_a_mean_the_border_is_that_of_the_frames(tmp_path: Path) -> None:
    red = np.full((8, 8, 3), (0, 10, 250), np.uint8)
    blue = np.full((8, 8, 3), (200, 30, 50), np.uint8)
    frames = SampleFrames(calibration=[red], validation=[blue], spec=CalibrationSpec())
    with open_job(SMALL, tmp_path / "x.evseg", ExportOptions(resize="letterbox"), frames=frames) as job:
        assert job.resize == Letterbox(border_rgb=(150, 20, 100))
    with open_job(SMALL, tmp_path / "x.evseg", ExportOptions(), frames=frames) as job:
        assert job.resize == "stretch"


def test_the_rule_is_in_bundle_and_graphs_and_stays_in_an_update(
    tmp_path: Path, sample: SampleFrames, onnx_file: Path
) -> None:
    options = ExportOptions(
        labels=numbered_labels(4),
        resize="letterbox",
        normalization=NORMALIZATION,
        max_drop=1.0,
        precisions=("int8", "float"),
        runtimes=("onnxruntime",),
        slices=False,
    )
    exported = export_bundle(str(onnx_file), tmp_path / "tall.evseg", sample, options)
    manifest = exported.manifest
    mean = tuple(round(value) for value in NORMALIZATION.mean)
    assert (manifest.schema_version, manifest.frame.resize) == (4, Letterbox(border_rgb=mean))
    model = onnx.load(exported.path / manifest.variants[0].entry)
    told = {each.key.removeprefix("model_info "): each.value for each in model.metadata_props}
    assert (told["resize_type"], told["pad_value"]) == ("fit_to_window_letterbox", str(round(sum(mean) / 3)))
    with Segmenter.open(exported.path, runtime="onnxruntime") as segmenter:
        assert segmenter(sample.validation[0]).labels.shape == (192, 96)
    updated = update_bundle(exported.path, sample, BundleUpdate(precisions=("float",), runtimes=("onnxruntime",)))
    assert (updated.manifest.schema_version, updated.manifest.frame.resize) == (4, Letterbox(border_rgb=mean))


def test_other_clients_are_told_nothing_new_without_it() -> None:
    told = model_info(named_labels("camvid"))
    assert told["resize_type"] == "standard"
    assert "pad_value" not in told


def test_an_unknown_rule() -> None:
    with pytest.raises(OptionError, match="resize must be stretch or letterbox, got 'crop'"):
        ExportOptions(resize="crop")  # type: ignore[arg-type]
