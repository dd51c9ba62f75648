"""Weights in files beside the model: read where that is safe, refused by name where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import SIZE_HW, Net, body, frame, run, segmenter_onnx, tensor
from onnx import TensorProto, helper
from torch_networks import small

from edge_vseg.errors import ExternalDataError
from edge_vseg.export.graph.onnx_file import read_onnx
from edge_vseg.export.source.source_network import open_source_network


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    return made


def save(folder: Path, *, location: str = "net.onnx.data") -> Path:
    """The usual network with all weights in one file beside it, as onnx itself writes it."""
    path = folder / "net.onnx"
    onnx.save(segmenter_onnx(), path, save_as_external_data=True, location=location, size_threshold=0)
    assert (folder / location).stat().st_size > 1000
    return path


def rename(path: Path, location: str, **entries: str) -> None:
    """Make all weights lie at ``location``, and the first as ``entries`` say."""
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = location
    first = model.graph.initializer[0].external_data
    for key, value in entries.items():
        next(entry for entry in first if entry.key == key).value = value
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_model(folder):
    value = tensor(frame())
    network = open_source_network(str(save(folder)), weights=None, size_hw=None)
    np.testing.assert_allclose(network.run(value), run(segmenter_onnx(), value), atol=1e-5)


def test_weights_in_a_folder_inside(folder):
    (folder / "weights").mkdir()
    path = save(folder, location="weights/all.bin")
    np.testing.assert_array_equal(run(read_onnx(path).model, tensor(frame())), run(segmenter_onnx(), tensor(frame())))


@pytest.mark.filterwarnings("ignore")  # of torch's own use of itself
def test_what_torch_writes_by_default(folder):
    path, value = folder / "net.onnx", tensor(frame()).copy()
    torch.onnx.export(small(), (torch.zeros(1, 3, *SIZE_HW),), path, dynamo=True, external_data=True, verbose=False)
    with torch.no_grad():
        wanted = small()(torch.from_numpy(value)).numpy()
    np.testing.assert_allclose(run(read_onnx(path).model, value), wanted, atol=1e-4)


def test_other_weights_are_another_network(folder):
    path = save(folder)
    before = read_onnx(path).sha256
    assert read_onnx(path).sha256 == before
    data = bytearray((folder / "net.onnx.data").read_bytes())
    data[3] ^= 64
    (folder / "net.onnx.data").write_bytes(data)
    assert read_onnx(path).sha256 != before


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a\\..\\..\\secret", "C:\\secret", "\\secret", ""])
def test_a_path_that_leaves_the_folder(folder, location):
    path = save(folder)
    (folder.parent / "secret").write_bytes(bytes(10_000))
    rename(path, location)
    with pytest.raises(ExternalDataError, match="leaves the model's folder.*save it as one file"):
        read_onnx(path)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_that_leaves_the_folder(folder, what):
    path = save(folder)
    outside = folder.parent / "outside"
    outside.mkdir()
    (folder / "net.onnx.data").rename(outside / "weights")
    if what == "file":
        (folder / "link").symlink_to(outside / "weights")
        rename(path, "link")
    else:
        (folder / "link").symlink_to(outside)
        rename(path, "link/weights")
    with pytest.raises(ExternalDataError, match="a link that leaves the model's folder"):
        read_onnx(path)


def test_a_link_inside_the_folder(folder):
    path = save(folder)
    (folder / "link").symlink_to("net.onnx.data")
    rename(path, "link")
    assert read_onnx(path).model.graph.initializer[0].raw_data


def test_a_missing_file(folder):
    path = save(folder)
    (folder / "net.onnx.data").unlink()
    with pytest.raises(ExternalDataError, match=r"there is no .*net.onnx.data; copy that file beside the model"):
        read_onnx(path)


@pytest.mark.parametrize("what", ["folder", "pipe", "circle"])
def test_no_plain_file(folder, what):
    path = save(folder)
    match what:
        case "folder":
            (folder / "odd").mkdir()
        case "pipe":
            os.mkfifo(folder / "odd")
        case "circle":
            (folder / "odd").symlink_to("odd")
    rename(path, "odd")
    with pytest.raises(ExternalDataError, match="no plain file|cannot be read"):
        read_onnx(path)


def test_a_file_that_is_too_short(folder):
    path = save(folder)
    data = (folder / "net.onnx.data").read_bytes()
    (folder / "net.onnx.data").write_bytes(data[: len(data) // 2])
    with pytest.raises(ExternalDataError, match=f"too short: .*the file has {len(data) // 2} bytes"):
        read_onnx(path)


@pytest.mark.parametrize(
    "entries", [{"offset": "-4"}, {"offset": "x"}, {"length": "4"}, {"length": "99999999999"}, {"length": "-1"}]
)
def test_a_place_that_cannot_be(folder, entries):
    path = save(folder)
    rename(path, "net.onnx.data", **entries)
    with pytest.raises(ExternalDataError, match="is damaged: tensor"):
        read_onnx(path)


def test_in_a_constant_node(tmp_path):
    net = Net()
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [1.0])
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../../x")
    one = net.node("Constant", value=hidden)
    path = tmp_path / "net.onnx"
    path.write_bytes(net.model(net.node("Mul", body(net), one)).SerializeToString())
    with pytest.raises(ExternalDataError, match="hidden"):
        read_onnx(path)


def test_strings_cannot_lie_outside(folder: Path) -> None:
    """Their size is unknown: nothing is read."""
    path = save(folder)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].data_type = TensorProto.STRING
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExternalDataError, match="of a type that cannot lie there"):
        read_onnx(path)
