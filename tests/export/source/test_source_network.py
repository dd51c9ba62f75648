"""What counts as a source, and damaged ones on the whole way to the float graph."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, body, frame, frames, segmenter_onnx, tensor, upsample

from edge_vseg.errors import DynamicShapeError, ModelFileError, OptionError, SourceError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.float_graph import check_against_source, make_float_graph
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.source.source_network import is_ready_made, open_source_network


def test_onnx(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(segmenter_onnx().SerializeToString())
    network = open_source_network(str(path), weights=None, size_hw=None)
    assert (network.name, network.kind) == ("net.onnx", "onnx")
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    output = network.run(tensor(frame()))
    np.testing.assert_allclose(output.sum(1), 1, atol=1e-5)


def test_torch():
    network = open_source_network("torch_networks:small", weights=None, size_hw=SIZE_HW)
    assert (network.name, network.kind) == ("torch_networks:small", "torch")
    assert network.run(tensor(frame()).copy()).shape == (1, 4, *SIZE_HW)
    again = open_source_network("torch_networks:small", weights=None, size_hw=SIZE_HW)
    assert again.sha256 == network.sha256


def test_torch_needs_a_size():
    with pytest.raises(OptionError, match="--input-size HxW"):
        open_source_network("torch_networks:small", weights=None, size_hw=None)


def test_weights_do_not_apply_to_onnx(tmp_path):
    with pytest.raises(OptionError, match="--weights does not apply"):
        open_source_network("net.onnx", weights=tmp_path / "w.pt", size_hw=None)


def test_something_else():
    with pytest.raises(ModelFileError, match="expected path/file.py:factory, package.module:factory, a .onnx"):
        open_source_network("net.txt", weights=None, size_hw=None)


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("net.h5", "tf2onnx.convert --keras net.h5"),
        ("net.PB", "tf2onnx.convert --graphdef net.PB --output network.onnx .* with --inputs"),
        ("net.keras", r"keras.saving.load_model\('net.keras'\).export\('network.onnx', format='onnx'\)"),
        ("nets/net.pdiparams", "--model_dir nets --model_filename net.pdmodel --params_filename net.pdiparams"),
        ("net.pt2", r"torch.onnx.export\(torch.export.load\('net.pt2'\)"),
        ("net.engine", "made for one runtime"),
    ],
)
def test_files_of_other_frameworks(source, advice):
    with pytest.raises(ModelFileError, match=advice):
        open_source_network(source, weights=None, size_hw=None)


@pytest.mark.parametrize(
    ("holds", "advice"), [("saved_model.pb", "tf2onnx.convert --saved-model"), ("config.json", "from_pretrained")]
)
def test_folders_of_other_frameworks(tmp_path, holds, advice):
    (tmp_path / holds).touch()
    with pytest.raises(ModelFileError, match=advice):
        open_source_network(str(tmp_path), weights=None, size_hw=None)


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("best.pt", "path/file.py:factory.*--weights best.pt.*torch.jit.load"),
        ("nets/net.py", "nets/net.py:factory"),
    ],
)
def test_half_of_a_torch_network(source, advice):
    with pytest.raises(ModelFileError, match=advice):
        open_source_network(source, weights=None, size_hw=(96, 128))


def test_another_size_than_the_file_is_written_for(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(segmenter_onnx().SerializeToString())
    own = "x".join(map(str, SIZE_HW))
    with pytest.raises(DynamicShapeError, match=f"written for {own} images, not for 40x56; leave out --input-size"):
        open_source_network(str(path), weights=None, size_hw=(40, 56))
    assert open_source_network(str(path), weights=None, size_hw=SIZE_HW).run(tensor(frame())).shape[2:] == SIZE_HW


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.tflite", True), ("a.XML", True), ("a.onnx", False), ("package.xml:make", False), ("a:b", False)],
)
def test_ready_made(source, expected):
    assert is_ready_made(source) is expected


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_the_manifest_says_that_probabilities_stay(op, tmp_path):
    net, path = Net(), tmp_path / "net.onnx"
    path.write_bytes(net.model(upsample(net, net.node(op, body(net), axis=1), 2)).SerializeToString())
    network = open_source_network(str(path), weights=None, size_hw=None)
    head = make_float_graph(network, ExportOptions(normalization=Normalization())).head_spec
    assert head.holds_probabilities == (op == "Softmax")


def test_the_float_graph_agrees_with_its_source(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(segmenter_onnx().SerializeToString())
    norm = Normalization(mean=(120, 110, 100), scale=(60, 50, 55), color="rgb")
    network = open_source_network(str(path), weights=None, size_hw=None)
    graph = make_float_graph(network, ExportOptions(normalization=norm))
    assert check_against_source(graph, network, norm, frames(4), min_agreement=0.98) > 0.999
    wrong = Normalization(mean=(120, 110, 100), scale=(60, 50, 55), color="bgr")
    other = make_float_graph(network, ExportOptions(normalization=wrong))
    with pytest.raises(Exception, match="agrees with the network in only"):
        check_against_source(other, network, norm, frames(4), min_agreement=0.98)


def test_a_network_without_upsampling_is_compared_at_its_own_size():
    """Enlarging scores and then choosing a class is not what such a network does; noise has borders everywhere."""
    path = Path(__file__).parents[2] / "assets" / "tiny.onnx"
    network = open_source_network(str(path), weights=None, size_hw=None)
    graph = make_float_graph(network, ExportOptions())
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (*graph.size_hw, 3), np.uint8) for _ in range(3)]
    assert check_against_source(graph, network, Normalization(), noise, min_agreement=0.98) == 1


def test_damaged_networks_are_refused_by_name_on_the_whole_way(tmp_path):
    """Flips that the checker lets pass must not come out of ONNX Runtime or numpy as errors of their own."""
    good = segmenter_onnx().SerializeToString()
    structure = np.ones(len(good), bool)
    for tensor_ in onnx.load_model_from_string(good).graph.initializer:
        if len(tensor_.raw_data) > 64:
            start = good.index(tensor_.raw_data)
            structure[start : start + len(tensor_.raw_data)] = False
    rng, path = np.random.default_rng(5), tmp_path / "net.onnx"
    worked = refused = 0
    for place in rng.choice(np.flatnonzero(structure), 400):
        data = bytearray(good)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            network = open_source_network(str(path), weights=None, size_hw=None)
            graph = make_float_graph(network, ExportOptions())
            check_against_source(graph, network, Normalization(), frames(1, size_hw=graph.size_hw), min_agreement=0.98)
            worked += 1
        except (SourceError, OptionError):
            refused += 1
        except Exception as exc:
            # A flipped operator may make the two disagree; that is said by name, too.
            assert "agrees with the network in only" in str(exc)  # noqa: PT017
    assert worked > 20
    assert refused > 100
