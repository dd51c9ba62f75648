"""Where the normalization of a network comes from, and that nobody goes without one in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, frames, segmenter_onnx
from onnx import TensorProto

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.errors import ModelFileError
from edge_vseg.export import Exported, ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.export_options import DEFAULT_PRECISIONS, RUNTIMES
from edge_vseg.export.shrinking import open_whole
from edge_vseg.export.source.own_normalization import NONE_GIVEN, choose_normalization
from edge_vseg.export.source.source_network import open_source_network

pytestmark = pytest.mark.usefixtures("warm_converter")

ASSETS = Path(__file__).parents[2] / "assets"
OWN = Normalization(mean=(127.5, 127.5, 127.5), scale=(60, 61, 62), color="bgr")
OTHER = Normalization(mean=(10, 20, 30), scale=(40, 50, 60))
QUICK = ExportOptions(runtimes=("onnxruntime",), precisions=("float",), slices=False, size_hw=SIZE_HW)


def export(source: str, folder: Path, **options: object) -> Exported:
    sample = SampleFrames(calibration=frames(2), validation=frames(2, start=5), spec=CalibrationSpec())
    return export_bundle(source, folder / "net.evseg", sample, replace(QUICK, **options))


def said(made: Exported) -> Normalization:
    source = made.manifest.source
    return Normalization(mean=source.mean, scale=source.scale, color=source.color)


def graphs(made: Exported) -> dict[str, str]:
    """Hashes of the graphs; a report has times in it."""
    return {name: file.sha256 for name, file in made.manifest.files.items() if name.endswith(".onnx")}


@pytest.mark.parametrize("name", ["says_it", "factory_says_it"])
def test_a_network_may_say_it_of_itself(name, tmp_path, caplog):
    caplog.set_level("INFO", logger="edge_vseg")
    made = export(f"torch_networks:{name}", tmp_path)
    assert said(made) == OWN
    assert "--mean 127.5,127.5,127.5 --scale 60,61,62 --color bgr" in caplog.text
    assert NONE_GIVEN not in made.warnings
    asked = export(f"torch_networks:{name}", tmp_path / "asked", normalization=OWN)
    assert graphs(made) == graphs(asked)


def test_what_is_asked_for_wins_and_warns(tmp_path, caplog):
    made = export("torch_networks:says_it", tmp_path, normalization=OTHER)
    assert said(made) == OTHER
    (warning,) = (each for each in made.warnings if "says of itself" in each)
    assert "--mean 127.5,127.5,127.5" in warning
    assert "--mean 10,20,30 --scale 40,50,60 --color rgb" in warning
    assert warning in caplog.text


def test_nobody_says_it(tmp_path, caplog):
    made = export("torch_networks:small", tmp_path)
    assert said(made) == Normalization()
    assert NONE_GIVEN in made.warnings
    assert f"torch_networks:small: {NONE_GIVEN}" in caplog.text
    asked = export("torch_networks:small", tmp_path / "asked", normalization=Normalization())
    assert NONE_GIVEN not in asked.warnings
    assert graphs(made) == graphs(asked)


def test_onnx_that_takes_floats_or_bytes(tmp_path):
    floats = segmenter_onnx()
    (tmp_path / "floats.onnx").write_bytes(floats.SerializeToString())
    network = open_source_network(str(tmp_path / "floats.onnx"), weights=None, size_hw=None)
    assert choose_normalization(None, network).warnings == (NONE_GIVEN,)

    image = floats.graph.input[0]
    image.type.tensor_type.elem_type = TensorProto.UINT8
    cast = onnx.helper.make_node("Cast", [image.name], ["cast"], to=TensorProto.FLOAT)
    for node in floats.graph.node:
        node.input[:] = ["cast" if name == image.name else name for name in node.input]
    floats.graph.node.insert(0, cast)
    (tmp_path / "bytes.onnx").write_bytes(floats.SerializeToString())
    network = open_source_network(str(tmp_path / "bytes.onnx"), weights=None, size_hw=None)
    assert choose_normalization(None, network).warnings == ()


@pytest.mark.parametrize(
    ("mean", "scale", "advice"),
    [
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "--mean 127.5,127.5,127.5 --scale 127.5,127.5,127.5 --color rgb"),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "--mean 123.675,116.28,103.53 --scale 58.395,57.12,57.375"),
        ((0, 0, 0), (1, 1, 1), ""),
        ((0, 0, 0), (255, 255, 255), ""),
        ((127.5, 127.5, 127.5), (1, 1, 1), ""),
    ],
)
def test_figures_of_pixels_from_0_to_1(mean, scale, advice, tmp_path, caplog):
    """Int8 agrees with a float graph that is as wrong, so nothing else tells of it."""
    (tmp_path / "net.onnx").write_bytes(segmenter_onnx().SerializeToString())
    network = open_source_network(str(tmp_path / "net.onnx"), weights=None, size_hw=None)
    chosen = choose_normalization(Normalization(mean=mean, scale=scale), network)
    assert len(chosen.warnings) == bool(advice)
    assert all(advice in warning and warning in caplog.text for warning in chosen.warnings)


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.xml"])
def test_ready_made_files(name, tmp_path, caplog):
    whole = {"size_hw": None, "runtimes": RUNTIMES, "precisions": DEFAULT_PRECISIONS}
    made = export(str(ASSETS / name), tmp_path, **whole)
    takes_bytes = made.manifest.variants[0].input.dtype == "uint8"
    assert (NONE_GIVEN in made.warnings) is not takes_bytes
    assert (f"{name}: {NONE_GIVEN}" in caplog.text) is not takes_bytes
    asked = export(str(ASSETS / name), tmp_path / "asked", **whole, normalization=Normalization())
    assert NONE_GIVEN not in asked.warnings


@pytest.mark.parametrize(
    ("name", "message"),
    [("says_nonsense", "unknown std; expected a mapping of mean, scale"), ("says_too_little", "expected a mapping of")],
)
def test_what_cannot_be_understood_of_a_factory(name, message):
    with pytest.raises(ModelFileError, match=message):
        open_source_network(f"torch_networks:{name}", weights=None, size_hw=SIZE_HW)


def test_a_layer_of_that_name_says_nothing():
    network = open_source_network("torch_networks:has_a_layer_of_that_name", weights=None, size_hw=SIZE_HW)
    assert network.normalization is None


@pytest.mark.parametrize("network", ["small", "middle"])
def test_reference_networks(network):
    """They expect what CamVid's training feeds them; without it they are useless."""
    source = open_source_network(f"edge_vseg.export.reference.zoo:{network}", weights=None, size_hw=(64, 96))
    expected = Normalization(mean=(110,) * 3, scale=(75,) * 3, color="bgr")
    assert choose_normalization(None, source).value == expected
    assert np.allclose(source.normalization.mean, 110)


def test_networks_that_are_made_smaller():
    whole = open_whole("torch_networks:says_it", replace(QUICK, precisions=("float", "int8")))
    assert whole.normalization.value == OWN
    asked = open_whole("torch_networks:says_it", replace(QUICK, normalization=OWN))
    assert whole.graph.model.SerializeToString() == asked.graph.model.SerializeToString()
