"""Torch networks: factories, and weights that may be anything."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from networks import SIZE_HW, frame, run, tensor
from torch_networks import small

from edge_vseg.errors import ModelFileError, WeightsError
from edge_vseg.export.source.torch_module import open_torch

FILE = Path(__file__).parents[1] / "torch_networks.py"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights other than the factory's."""
    generator = torch.Generator().manual_seed(9)
    return {
        k: v + 0.1 * torch.rand(v.shape, generator=generator) if v.is_floating_point() else v
        for k, v in small().state_dict().items()
    }


@pytest.fixture(scope="module")
def expected(state) -> np.ndarray:
    network = small()
    network.load_state_dict(state)
    with torch.no_grad():
        return network(torch.from_numpy(tensor(frame()).copy())).numpy()


def outputs(source: str, weights: Path | None = None) -> list[np.ndarray]:
    opened = open_torch(source, weights)
    value = tensor(frame()).copy()
    return [run(opened.trace(SIZE_HW), value), np.asarray(opened.run(value))]


@pytest.mark.parametrize("source", ["torch_networks:small", f"{FILE}:small"], ids=["package", "file"])
def test_factory(source):
    with torch.no_grad():
        wanted = small()(torch.from_numpy(tensor(frame()).copy())).numpy()
    for output in outputs(source):
        np.testing.assert_allclose(output, wanted, atol=1e-4)


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "beside_the_network.py").write_text("from torch_networks import small as make\n")
    (tmp_path / "network.py").write_text("from beside_the_network import make\n")
    assert outputs(f"{tmp_path / 'network.py'}:make")[0].shape == (1, 4, *SIZE_HW)


@pytest.mark.parametrize("name", ["in_dict", "in_tuple", "nested"])
def test_scores_inside_something(name):
    with torch.no_grad():
        wanted = small()(torch.from_numpy(tensor(frame()).copy())).numpy()
    for output in outputs(f"torch_networks:{name}"):
        np.testing.assert_allclose(output, wanted, atol=1e-4)


@pytest.mark.parametrize("form", ["safetensors", "pt", "legacy", "data parallel", "nested"])
def test_weights_are_loaded(tmp_path, state, expected, form):
    path = tmp_path / "weights.pt"
    match form:
        case "safetensors":
            path = tmp_path / "weights.safetensors"
            safetensors.torch.save_file(state, path)
        case "pt":
            torch.save(state, path)
        case "legacy":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "data parallel":
            torch.save({f"module.{k}": v for k, v in state.items()}, path)
        case "nested":
            torch.save({"epoch": 3, "state_dict": state}, path)
    for output in outputs("torch_networks:small", path):
        np.testing.assert_allclose(output, expected, atol=1e-4)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("form", ["pickle", "torch", "torch legacy"])
def test_a_pickle_that_carries_code_is_not_run(tmp_path, form):
    trace, path = tmp_path / "executed", tmp_path / "weights.pt"
    match form:
        case "pickle":
            path.write_bytes(pickle.dumps(Payload(trace)))
        case "torch":
            torch.save({"first.weight": Payload(trace)}, path)
        case "torch legacy":
            torch.save({"first.weight": Payload(trace)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="could run code"):
        open_torch("torch_networks:small", path)
    assert not trace.exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())
        assert trace.exists(), "the payload itself must work, or this test proves nothing"


def test_a_whole_network_is_no_state_dict(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(small(), path)
    with pytest.raises(WeightsError, match="save a state dict"):
        open_torch("torch_networks:small", path)


@pytest.mark.parametrize("what", [[1, 2], {"a": 1}, torch.zeros(3), {0: torch.zeros(2)}, {"state_dict": None}], ids=str)
def test_no_state_dict(tmp_path, what):
    path = tmp_path / "weights.pt"
    torch.save(what, path)
    with pytest.raises(WeightsError):
        open_torch("torch_networks:small", path)


def test_wrong_keys(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save({("other" if k == "last.bias" else k): v for k, v in state.items()}, path)
    with pytest.raises(WeightsError, match=r"1 missing \(last.bias\), 1 unexpected \(other\)"):
        open_torch("torch_networks:small", path)


def test_wrong_shapes(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save(state | {"last.bias": torch.zeros(7)}, path)
    with pytest.raises(WeightsError, match=r"do not fit.*last\.bias.*\[7\].*\[4\].*number of classes") as raised:
        open_torch("torch_networks:small", path)
    assert "\n" not in str(raised.value)
    torch.save({key: torch.zeros(2, *value.shape) for key, value in state.items()}, path)
    with pytest.raises(WeightsError, match=rf"for {next(iter(state))}: .*; and {len(state) - 2} more; the factory"):
        open_torch("torch_networks:small", path)


@pytest.mark.parametrize("form", ["safetensors", "pt", "legacy"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated_weights(tmp_path, state, form, share):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "pt")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError):
        open_torch("torch_networks:small", path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "LFS"), (b"hello there", "damaged")],
    ids=["empty", "lfs", "text"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_weights_at_all(tmp_path, data, message, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        open_torch("torch_networks:small", path)


def test_missing_weights(tmp_path):
    with pytest.raises(WeightsError, match="check the path"):
        open_torch("torch_networks:small", tmp_path / "weights.pt")


def test_bit_flips_in_weights_give_weights_or_a_named_error(tmp_path, state):
    from edge_vseg.export.source.torch_module import _read_state

    rng, refused = np.random.default_rng(3), 0
    for suffix, zipped in ((".pt", True), (".pt", False), (".safetensors", False)):
        path = tmp_path / f"w{suffix}"
        if suffix == ".pt":
            torch.save(state, path, _use_new_zipfile_serialization=zipped)
        else:
            safetensors.torch.save_file(state, path)
        good = path.read_bytes()
        for _ in range(60):
            data = bytearray(good)
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(data)
            try:
                _read_state(path)
            except WeightsError:
                refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such_package:small", "No module named"),
        ("torch_networks:nothing", "no attribute 'nothing'"),
        ("torch_networks:failing", "no such checkpoint"),
        ("torch_networks:no_module", "gave int; expected a torch.nn.Module"),
        ("torch_networks:NOT_CALLABLE", "not callable"),
        ("torch_networks:branching", "cannot be exported to ONNX at 24x32"),
        ("nowhere/net.py:small", "no Python file"),
        (":small", "give package.module:factory"),
    ],
)
def test_bad_factories(source, message):
    with pytest.raises(ModelFileError, match=message):
        open_torch(source, None).trace(SIZE_HW)


@pytest.mark.parametrize(
    "code", ["def make(:", "import no_such_thing", "1 / 0", "raise ValueError('no')", "make = None"]
)
def test_bad_python_files(tmp_path, code):
    path = tmp_path / "their_network.py"
    path.write_text(code)
    with pytest.raises(ModelFileError, match="their_network.py"):
        open_torch(f"{path}:make", None)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "assertion",
            r"does not run on an image of 24x32: AssertionError"
            r" \(torch_networks.py:\d+ in forward: assert image.shape\[2\] % 32 == 0\)",
        ),
        (
            "colourful",
            r"does not run on an image of 24x40: RuntimeError: sides must divide by 32 \(torch_networks.py:\d+",
        ),
        ("gray", r"does not run on .*expected input\[1, 3, 24, 32\] to have 1 channels.* or export a module around it"),
        (
            "branching",
            r"runs, but cannot be exported.*data-dependent.*\(torch_networks.py:\d+ in forward: return image",
        ),
        (
            "unknown",
            r"runs, but cannot be exported.*no form for the operator aten\._linalg_svd of layer 'odd'"
            r" \(torch_networks.py:\d+ in forward: return torch.linalg.svd\(image\)\[0\]\); write that step",
        ),
        ("failing", r"failed: RuntimeError: no such checkpoint \(torch_networks.py:\d+ in failing: raise RuntimeError"),
    ],
)
def test_the_innermost_error_of_the_users_code(name, wanted, capfd):
    """In one line, without what torch puts around it."""
    with pytest.raises(ModelFileError, match=wanted) as caught:
        open_torch(f"torch_networks:{name}", None).trace((24, 40) if name == "colourful" else SIZE_HW)
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert "step 1/3" not in message
    assert capfd.readouterr() == ("", "")
