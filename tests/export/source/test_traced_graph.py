"""Torch modules in forms that torch.export does not take as they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from networks import run
from torch import nn
from torch_networks import TwoClamps, Wrapped, in_bfloat16, small

from edge_vseg.export.graph.onnx_file import check_onnx
from edge_vseg.export.source.torch_module import TorchSource, open_torch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own

SIZE_HW = (24, 32)
IMAGE = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)


def scores(opened: TorchSource) -> np.ndarray:
    opened.try_out(SIZE_HW)
    graph: onnx.ModelProto = check_onnx(opened.trace(SIZE_HW), where="here")
    return run(graph, IMAGE)


def expected(network: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(IMAGE)).numpy()


@pytest.mark.parametrize("name", ["in_float16", "in_bfloat16", "in_double", "compiled", "scripted"])
def test_is_exported_as_the_plain_module_in_float32(name):
    network = in_bfloat16().float() if name == "in_bfloat16" else small()
    ours = scores(open_torch(f"torch_networks:{name}", None))
    # float16 weights are off by 2^-11 of themselves; nothing else may be.
    np.testing.assert_allclose(ours, expected(network), atol=2e-2 if name == "in_float16" else 1e-4)


def test_weights_of_a_network_in_float16_keep_their_digits(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(small().state_dict(), path)
    np.testing.assert_allclose(scores(open_torch("torch_networks:in_float16", path)), expected(small()), atol=1e-4)


def test_script_gives_the_output_that_was_chosen(monkeypatch):
    traced = torch.jit.trace(Wrapped("tuple"), torch.from_numpy(IMAGE))
    monkeypatch.setattr("torch_networks.small", lambda: traced)
    opened = open_torch("torch_networks:small", None, "1")
    with torch.no_grad():
        np.testing.assert_allclose(scores(opened), traced(torch.from_numpy(IMAGE))[1].numpy(), atol=1e-4)


def test_two_clamps_behind_one_relu():
    np.testing.assert_allclose(scores(open_torch("torch_networks:two_clamps", None)), expected(TwoClamps()), atol=1e-4)


class _CastsItself(torch.nn.Module):
    """Computes in float16 and says so itself."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.half()

    def forward(self, image):
        return self.conv(image.half()).float()


def test_a_network_that_changes_its_precision_itself_is_left_alone(monkeypatch):
    torch.manual_seed(0)
    network = _CastsItself().eval()
    monkeypatch.setattr("torch_networks.small", lambda: network)
    with torch.no_grad():
        wanted = network(torch.from_numpy(IMAGE)).numpy()
    np.testing.assert_allclose(scores(open_torch("torch_networks:small", None)), wanted, atol=2e-2)


def test_weights_saved_from_a_compiled_network(tmp_path):
    state = {f"_orig_mod.{key}": value for key, value in small().state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    opened = open_torch("torch_networks:small", tmp_path / "weights.pt")
    np.testing.assert_allclose(scores(opened), expected(small()), atol=1e-4)


def test_scripts_of_other_code_are_other_networks(monkeypatch):
    found = set()
    for change in (torch.nn.ReLU(), torch.nn.Sigmoid()):
        torch.manual_seed(0)
        made = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), change).eval()
        traced = torch.jit.trace(same_text(made), torch.from_numpy(IMAGE))
        monkeypatch.setattr("torch_networks.small", lambda traced=traced: traced)
        found.add(open_torch("torch_networks:small", None).fingerprint)
    assert len(found) == 2


def same_text(made):
    """A module whose text is the same whatever it computes."""

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = made[0]
            self.gate = isinstance(made[1], torch.nn.ReLU)

        def forward(self, image):
            scores = self.conv(image)
            return torch.relu(scores) if self.gate else torch.sigmoid(scores)

    return Same().eval()


class _Normalizes(torch.nn.Module):
    """Divides by a length that may be zero, but for what is added."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / torch.sqrt((image**2).sum(1, keepdim=True) + 1e-8)


def test_a_tiny_number_that_is_added_is_kept(monkeypatch):
    """torch 2.13's optimizer takes 1e-8 for zero; black pixels then gave NaN."""
    monkeypatch.setattr("torch_networks.small", _Normalizes)
    opened = open_torch("torch_networks:small", None)
    opened.try_out(SIZE_HW)
    black = np.zeros_like(IMAGE)
    np.testing.assert_array_equal(run(check_onnx(opened.trace(SIZE_HW), where="here"), black), black)


def test_what_torch_exported_is_taken(monkeypatch):
    network = small().eval()
    program = torch.export.export(network, (torch.from_numpy(IMAGE),))
    monkeypatch.setattr("torch_networks.small", lambda: program.module())
    np.testing.assert_allclose(scores(open_torch("torch_networks:small", None)), expected(network), atol=1e-4)


def test_a_scripted_part_of_a_network(monkeypatch):
    network = nn.Sequential(torch.jit.script(small().eval()), nn.ReLU())
    monkeypatch.setattr("torch_networks.small", lambda: network)
    np.testing.assert_allclose(scores(open_torch("torch_networks:small", None)), expected(network), atol=1e-4)
