"""A network whose detail path has its own stem: what it starts from, and what its weights file leaves to another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from edge_vseg.errors import WeightsError
from edge_vseg.export.reference.training.ship import _commands, ship
from edge_vseg.export.reference.zoo import (
    MIDDLE,
    MIDDLE_THIN,
    SMALL,
    TwoBranch,
    pretrained,
    read_network,
    shipped,
    weights,
    write_weights,
)
from edge_vseg.export.reference.zoo.grow import grow
from edge_vseg.export.reference.zoo.own_stem import with_own_stem
from edge_vseg.export.reference.zoo.stage_macs import stage_macs

SMALL_THIN = replace(SMALL, name="middle_thin", own_stem=(8, 16), detail_blocks=("residual",))


def lived_in(spec=SMALL) -> TwoBranch:
    """Random weights and batch statistics, in half precision as files have them."""
    torch.manual_seed(4)
    network = TwoBranch(spec).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network.half().float()


def test_it_starts_with_what_the_other_says_of_the_context_alone() -> None:
    """The thin path silenced, it is the other network with nothing but the context before its head."""
    network = lived_in()
    made = with_own_stem(network, SMALL_THIN)
    nn.init.zeros_(made.detail.head[-1].weight)
    image = torch.randn(2, 3, 72, 104)
    with torch.inference_mode():
        context = network.context(network.stem(image))
        expected = network.detail.spread(network.detail.scores(network.detail.head(context)))
        torch.testing.assert_close(made.detail(image, made.context(image)), expected, rtol=1e-4, atol=1e-4)
    assert made.labels == network.labels
    assert not made.training


def test_the_thin_path_is_random_by_a_fixed_seed_and_disturbs_nothing_else() -> None:
    first, second = (with_own_stem(lived_in(), SMALL_THIN).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["detail.stem.0.0.0.weight"].std() > 0
    drawn = torch.get_rng_state()
    lived_in()
    assert torch.equal(torch.get_rng_state(), drawn), "the same draws with and without"


@pytest.mark.parametrize(("before", "spec"), [
    (SMALL, MIDDLE_THIN),
    (SMALL, SMALL),
    (SMALL_THIN, SMALL_THIN),
    (SMALL, replace(SMALL_THIN, head=64)),
    (SMALL, replace(SMALL_THIN, classes=5)),
], ids=["size", "shared", "thin already", "head", "classes"])  # fmt: skip
def test_other_widths_are_refused(before, spec) -> None:
    with pytest.raises(WeightsError, match=r"cannot start .* such as middle for middle_thin"):
        with_own_stem(TwoBranch(before), spec)


def test_thin_networks_do_not_grow() -> None:
    with pytest.raises(WeightsError, match="its own stem"):
        grow(TwoBranch(MIDDLE), MIDDLE_THIN)
    with pytest.raises(WeightsError, match="its own stem"):
        grow(TwoBranch(MIDDLE_THIN), MIDDLE)


def test_what_runs_on_every_frame_is_a_twelfth() -> None:
    macs = stage_macs(TwoBranch(MIDDLE_THIN), (360, 480))
    first, cells = 90 * 120 * 24 * 3 * 49, 45 * 60
    assert macs["detail"] == first + cells * (24 * 9 * 48 + 2 * 48 * 9 * 48 + 48 * 96 + 96 * 44)
    assert macs["stem"] == 0
    assert macs["detail"] < sum(macs.values()) / 11
    shared = stage_macs(TwoBranch(MIDDLE), (360, 480))
    assert macs["context"] == shared["stem"] + shared["context"] + cells * 64 * 9 * 96


def test_the_context_is_the_only_way_to_the_deep_layers() -> None:
    """With a given context the scores depend on the image by the thin path alone, and no other layer runs."""
    network, image = lived_in(SMALL_THIN), torch.randn(1, 3, 64, 96)
    ran: list[str] = []
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.inference_mode():
        context = network.context(network.stem(image))
        assert all(name.startswith("context.") for name in ran)
        ran.clear()
        scores = network.detail(network.stem(image), context)
        other = network.detail(network.stem(image + 1), context)
    assert all(name.startswith("detail.") for name in ran)
    assert context.shape == (1, SMALL.head, 8, 12)
    assert not torch.equal(scores, other)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, TwoBranch]:
    """The middle network's weights in a folder, and a thin network with its context."""
    folder = tmp_path_factory.mktemp("pair")
    made = with_own_stem(pretrained("middle"), MIDDLE_THIN)
    row = shipped()["middle"]
    (folder / row.file).write_bytes((weights.ASSETS / row.file).read_bytes())
    write_weights(folder / "thin.safetensors", made, {"config": "{}"}, folder / row.file)
    return folder, made


def test_a_context_that_another_file_has_is_not_written_again(pair) -> None:
    folder, made = pair
    written = safetensors.torch.load_file(folder / "thin.safetensors")
    own = {key for key in made.state_dict() if not key.startswith(("context.stem.", "context.branch."))}
    assert set(written) == own
    again = read_network(folder / "thin.safetensors")
    assert again.spec == MIDDLE_THIN
    state = again.state_dict()
    for key, value in made.state_dict().items():
        half = value.is_floating_point() and key in own
        assert torch.equal(state[key].to(value.dtype), value.half().float() if half else value), key


def test_the_file_it_needs_is_named(pair, tmp_path) -> None:
    folder, _ = pair
    thin, lender = tmp_path / "thin.safetensors", tmp_path / shipped()["middle"].file
    thin.write_bytes((folder / thin.name).read_bytes())
    with pytest.raises(WeightsError, match=r"need the context in .*two_branch_middle.*missing or another"):
        read_network(thin)
    lender.write_bytes((folder / lender.name).read_bytes()[:-1])
    with pytest.raises(WeightsError, match="missing or another"):
        read_network(thin)
    for source in ("x", {}, {"file": "../../etc/passwd", "sha256": ""}, {"file": 3}):
        facts = json.dumps({"network": "middle_thin", "context_from": source})
        safetensors.torch.save_file({"a": torch.zeros(1)}, thin, metadata={"edge_vseg": facts})
        with pytest.raises(WeightsError, match=rf"context in {tmp_path}/[\w.]+, which is missing"):
            read_network(thin)
    other = with_own_stem(pretrained("middle"), MIDDLE_THIN)
    nn.init.zeros_(other.context.branch.lateral[0].weight)
    with pytest.raises(WeightsError, match="another context than"):
        write_weights(thin, other, {}, folder / lender.name)


@pytest.mark.parametrize("same", [True, False])
def test_shipping_leaves_out_a_context_that_is_shipped(pair, tmp_path, monkeypatch, same: bool) -> None:
    folder, _ = pair
    run, assets, row = tmp_path / "run", tmp_path / "assets", shipped()["middle"]
    run.mkdir()
    assets.mkdir()
    (assets / row.file).write_bytes((folder / row.file).read_bytes())
    (assets / "weights.json").write_text(json.dumps([asdict(row)]))
    made = with_own_stem(pretrained("middle"), MIDDLE_THIN)
    if not same:
        nn.init.zeros_(made.context.stem[0].conv[0].weight)
    write_weights(run / "weights.safetensors", made, {})
    result = {"miou": 50.0, "iou": {"sky": 90.0}, "commands": ["edge-vseg-train"], "options": {"frozen": 1}}
    (run / "result.json").write_text(json.dumps(result))
    for module in ("edge_vseg.export.reference.zoo.weights", "edge_vseg.export.reference.training.ship"):
        monkeypatch.setattr(f"{module}.ASSETS", assets)
    monkeypatch.setattr("edge_vseg.export.reference.training.ship.MAX_WEIGHTS_BYTES", 20_000_000)
    ship([run])
    target = assets / "two_branch_middle_thin.safetensors"
    assert (target.stat().st_size < 400_000) == same
    assert shipped()["middle_thin"].sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    image, network = torch.randn(1, 3, 64, 96), read_network(target)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), read_network(run / "weights.safetensors")(image))


@pytest.mark.parametrize(
    ("command", "begun"),
    [("edge-vseg-train A -o R --start shipped", True), ("edge-vseg-train A --start shipped2", False)],
)
def test_a_run_from_shipped_weights_keeps_their_commands(command: str, begun: bool) -> None:
    before = shipped()["small"]
    assert _commands([command], before) == ((*before.commands, command) if begun else (command,))
    assert _commands([command], None) == (command,)
