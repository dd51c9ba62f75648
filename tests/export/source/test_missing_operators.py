"""Operators that torch.onnx has no form for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import run
from torch import nn

from edge_vseg.errors import ModelFileError
from edge_vseg.export.source.torch_module import open_torch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own

SIZE_HW = (24, 32)
IMAGE = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)


class Pooled(nn.Module):
    """Scores that know what is largest in cells of the image, as channel attention does."""

    def __init__(self, cells: int | tuple[int | None, int | None], *, places: bool = False) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.pool = nn.AdaptiveMaxPool2d(cells, return_indices=places)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        found = self.pool(x)
        if isinstance(found, tuple):
            found = found[0] + found[1]
        return self.head(x + nn.functional.interpolate(found, x.shape[2:]))


@pytest.mark.parametrize("cells", [1, (3, 5), (None, 4), (24, 32)], ids=["whole", "uneven", "one axis", "pixels"])
def test_the_largest_in_cells_of_the_image(cells, monkeypatch):
    network = Pooled(cells).eval()
    monkeypatch.setattr("torch_networks.small", lambda: network)
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGE)).numpy()
    model = open_torch("torch_networks:small", None).trace(SIZE_HW)
    np.testing.assert_allclose(run(model, IMAGE), expected, atol=1e-5)


def test_where_the_largest_stood_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("torch_networks.small", lambda: Pooled((3, 5), places=True))
    with pytest.raises(ModelFileError, match="operator aten.adaptive_max_pool2d of layer 'pool'"):
        open_torch("torch_networks:small", None).trace(SIZE_HW)


class Summed(nn.Module):
    """An average pool that divides by a number of its own."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(divisor_override=4, **options)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.pool(self.stem(image))


@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 2}, {"kernel_size": (3, 5), "stride": (2, 3), "padding": (1, 2), "count_include_pad": False},
     {"kernel_size": 4, "stride": 3, "padding": 1, "ceil_mode": True}],
    ids=["plain", "padded", "ceil"],
)  # fmt: skip
def test_a_divisor_of_its_own(options, monkeypatch):
    network = Summed(**options).eval()
    monkeypatch.setattr("torch_networks.small", lambda: network)
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGE)).numpy()
    model = open_torch("torch_networks:small", None).trace(SIZE_HW)
    np.testing.assert_allclose(run(model, IMAGE), expected, atol=1e-5)


@pytest.mark.parametrize("form", [torch.jit.script, lambda network: torch.jit.trace(network, torch.from_numpy(IMAGE))])
def test_a_divisor_in_torchscript_is_refused_by_name(form, monkeypatch):
    scripted = form(nn.Sequential(Summed(kernel_size=3), nn.AvgPool2d(3)).eval())
    for network in (scripted, nn.Sequential(scripted, nn.ReLU())):
        monkeypatch.setattr("torch_networks.small", lambda network=network: network)
        with pytest.raises(ModelFileError, match=r"avg_pool2d of layer '(0\.)?0\.pool' with divisor_override"):
            open_torch("torch_networks:small", None).trace(SIZE_HW)


def test_a_divisor_of_a_pool_over_three_axes_is_refused_by_name(monkeypatch):
    class Deep(Summed):
        def forward(self, image):
            return nn.functional.avg_pool3d(self.stem(image), 3, divisor_override=5)

    monkeypatch.setattr("torch_networks.small", lambda: Deep(kernel_size=2).eval())
    with pytest.raises(ModelFileError, match=r"avg_pool3d with divisor_override .*avg_pool3d\(self.stem"):
        open_torch("torch_networks:small", None).trace(SIZE_HW)
