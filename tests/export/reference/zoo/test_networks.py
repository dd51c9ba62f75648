"""The reference networks: their cost, their stages, and their export."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.onnx_to_torch.table import TABLE
from edge_vseg.export.reference.zoo import MIDDLE_THIN, SMALL, SPECS, NetworkSpec, TwoBranch
from edge_vseg.export.reference.zoo.stage_macs import parameter_count, stage_macs
from edge_vseg.export.source.torch_module import open_torch

pytestmark = pytest.mark.usefixtures("warm_converter")

KINDS = ("plain", "residual", "inverted", "shuffle", "factorised")
SIZE_HW = (360, 480)
TINY = NetworkSpec(
    name="tiny",
    classes=5,
    stem=(8, 8, 16),
    detail_blocks=(),
    head=16,
    context_blocks=(),
    deep=(16, 16),
    deep_blocks=(0, 0),
)


@pytest.mark.parametrize(("name", "max_macs", "max_parameters"), [
    ("small", 0.8e9, 2e6), ("middle", 2.5e9, 5e6), ("large", 6e9, 12e6),
])  # fmt: skip
def test_cost(name: str, max_macs: float, max_parameters: float) -> None:
    network = TwoBranch(SPECS[name])
    macs = stage_macs(network, SIZE_HW)
    assert set(macs) == {"stem", "context", "detail"}
    assert 0.9 * max_macs < sum(macs.values()) <= max_macs
    assert (macs["stem"] + macs["detail"]) / sum(macs.values()) <= 0.30
    assert parameter_count(network) <= max_parameters
    assert network.training, "counting leaves the mode alone"


def test_macs_by_hand() -> None:
    macs = stage_macs(TwoBranch(SMALL), (64, 96))
    first, second, third = 32 * 48 * 16 * 27, 16 * 24 * 32 * 9 * 16, 8 * 12 * 48 * 9 * 32
    assert macs["stem"] == first + second + third
    assert macs["detail"] == 8 * 12 * (48 * 9 * 48 + 48 * 9 * 48 + 44 * 48)


@pytest.mark.parametrize("name", SPECS)
def test_macs_are_half_of_what_torch_counts_as_flops(name: str) -> None:
    network = TwoBranch(SPECS[name]).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 72, 104))
    assert 2 * sum(stage_macs(network, (72, 104)).values()) == counter.get_total_flops()
    assert not network.training, "counting leaves the mode alone"


@pytest.mark.parametrize("spec", [SMALL, MIDDLE_THIN], ids=lambda spec: spec.name)
@pytest.mark.parametrize("size_hw", [(64, 64), (360, 480), (97, 131)], ids=str)
def test_stages_chained_are_the_network(size_hw: tuple[int, int], spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    network = TwoBranch(spec).eval()
    tensors = {"image": torch.randn(1, 3, *size_hw)}
    with torch.no_grad():
        for stage in network.stages():
            tensors[stage.output] = stage.module(*(tensors[name] for name in stage.inputs))
        scores = nn.functional.interpolate(tensors["scores"], size_hw, mode="bilinear", align_corners=False)
        assert torch.equal(scores, network(tensors["image"]))
    assert [stage.reusable for stage in network.stages()] == [False, True, False]
    height, width = (-(-side // 8) for side in size_hw)
    assert tensors["context"].shape == (1, spec.context_width, height, width)
    assert tensors["scores"].shape == (1, 11, 2 * height, 2 * width)


def test_odd_sizes_are_rounded_up() -> None:
    """360 rows are 45, 23 and 12 at strides 8, 16 and 32; the pyramid goes on to 6 and 3."""
    network = TwoBranch(SMALL).eval()
    context, sizes = network.context, []
    for part in (context.stride16, context.stride32, *context.pyramid.pools):
        part.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[-2:])))
    with torch.no_grad():
        assert network.stem(torch.zeros(1, 3, *SIZE_HW)).shape[-2:] == (45, 60)
        network(torch.zeros(1, 3, *SIZE_HW))
    assert sizes == [(23, 30), (12, 15), (6, 8), (3, 4)]


@settings(max_examples=25, deadline=None)
@given(st.integers(64, 200), st.integers(64, 200))
def test_any_input_size_works(height: int, width: int) -> None:
    network = TwoBranch(TINY).eval()
    thin = TwoBranch(replace(TINY, own_stem=(8, 8))).eval()
    with torch.no_grad():
        assert thin(torch.zeros(1, 3, height, width)).shape == (1, 5, height, width)
        shared = network.stem(torch.zeros(1, 3, height, width))
        assert network.context(shared).shape == shared.shape == (1, 16, -(-height // 8), -(-width // 8))
        assert network(torch.zeros(1, 3, height, width)).shape == (1, 5, height, width)


def test_context_of_an_older_frame_can_be_reused() -> None:
    """Same shape, so that it may be carried along; and it reaches the scores, but not what the stem gives."""
    torch.manual_seed(0)
    network = TwoBranch(SMALL).eval()
    now, before = torch.randn(1, 3, 72, 104), torch.randn(1, 3, 72, 104)
    with torch.no_grad():
        shared = network.stem(now)
        fresh, old = network.context(shared), network.context(network.stem(before))
        scores, stale = network.detail(shared, fresh), network.detail(shared, old)
    assert old.shape == fresh.shape == shared.shape
    assert stale.shape == scores.shape
    assert not torch.equal(stale, scores)


def test_receptive_field_of_detail_is_two_cells() -> None:
    """The per-frame path is local, which is what makes tiles of a frame cheap: 3x3 in the block, 3x3 in the head."""
    torch.manual_seed(0)
    network = TwoBranch(SMALL).eval()
    context = torch.zeros(1, 48, 16, 16)
    touched = context.clone()
    touched[:, :, 8, 8] = 1
    shared = torch.rand(1, 48, 16, 16)
    with torch.no_grad():
        changed = (network.detail(shared, touched) - network.detail(shared, context)).abs().amax(dim=(0, 1))
    rows, columns = torch.nonzero(changed, as_tuple=True)
    assert (rows.min() // 2, rows.max() // 2) == (7, 9)
    assert (columns.min() // 2, columns.max() // 2) == (7, 9)


@pytest.mark.parametrize(("name", "digest"), [
    ("small", "8ad71a079e1de9e1"), ("middle", "35e63294e064665a"), ("large", "e1ae9adba14dff84"),
    ("middle_thin", "aeedeb7d2b8410d1"),
])  # fmt: skip
def test_weight_names_and_shapes_do_not_change(name: str, digest: str) -> None:
    """A change of a name or shape makes all trained weights unreadable."""
    state = TwoBranch(SPECS[name]).state_dict()
    listed = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == digest


def test_invalid_widths_raise() -> None:
    with pytest.raises(ValueError, match="classes"):
        NetworkSpec(**_fields(classes=1))
    with pytest.raises(ValueError, match="positive"):
        NetworkSpec(**_fields(head=0))
    with pytest.raises(ValueError, match="positive"):
        NetworkSpec(**_fields(own_stem=(8, 0)))
    with pytest.raises(ValueError, match="empty or have two widths"):
        NetworkSpec(**_fields(own_stem=(8,)))
    with pytest.raises(ValueError, match="not negative"):
        NetworkSpec(**_fields(deep_blocks=(1, -1)))


def _fields(**changed: object) -> dict[str, object]:
    return {name: getattr(SMALL, name) for name in SMALL.__slots__} | changed


def variant(kind: str, activation: str) -> nn.Module:
    torch.manual_seed(0)
    return TwoBranch(NetworkSpec(**_fields(block=kind, activation=activation, detail_blocks=(kind,))))


def of_size(name: str) -> nn.Module:
    torch.manual_seed(0)
    return TwoBranch(SPECS[name])


def of_all_kinds() -> nn.Module:
    """Each kind of block once, with an activation that is not the usual one."""
    torch.manual_seed(0)
    fields = _fields(detail_blocks=KINDS, context_blocks=(), deep_blocks=(0, 0), activation="hardswish")
    return TwoBranch(NetworkSpec(**fields))


ONE_BY_ONE = [f"of_size({name!r})" for name in SPECS if name != "small"]
ONE_BY_ONE += [f"variant({kind!r}, 'relu')" for kind in KINDS if kind != "residual"]
ONE_BY_ONE += [f"variant('plain', {activation!r})" for activation in ("relu6", "hardswish")]
EXPORTS = ["of_size('small')", "of_all_kinds()"]
EXPORTS += [pytest.param(call, marks=pytest.mark.release) for call in ONE_BY_ONE]


@pytest.mark.parametrize("call", EXPORTS)
def test_networks_can_be_exported(call: str, tmp_path, monkeypatch) -> None:
    """Only operators that the importer knows, and the same scores on ONNX Runtime."""
    (tmp_path / "made.py").write_text(
        f"from test_networks import of_all_kinds, of_size, variant\n\n\ndef make():\n    return {call}\n"
    )
    monkeypatch.chdir(tmp_path)
    opened = open_torch(f"{tmp_path / 'made.py'}:make", None)
    canonical, image = canonicalize(opened.trace((64, 96)), (64, 96))
    operators = {node.op_type for node in canonical.graph.node}
    assert operators <= set(TABLE)
    assert not {op for op in operators if "Pool" in op}, "pools are convolutions, the int8 runtimes' fast path"
    value = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    session = ort.InferenceSession(canonical.SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {image.name: value})
    np.testing.assert_allclose(scores, opened.run(value), atol=2e-4, rtol=1e-3)
