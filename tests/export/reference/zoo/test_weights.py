"""Weights of the reference networks: written, read, shipped."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from edge_vseg.errors import WeightsError
from edge_vseg.export.reference import zoo
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.ship import MAX_WEIGHTS_BYTES, ship
from edge_vseg.export.reference.zoo import SMALL, TwoBranch, pretrained, read_network, shipped, weights, write_weights


@pytest.fixture
def small() -> TwoBranch:
    torch.manual_seed(1)
    return TwoBranch(SMALL).eval()


def test_round_trip_in_half_precision(small, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, small, {"made": "here"})
    assert path.stat().st_size < 2.2 * sum(value.numel() for value in small.parameters())
    again = read_network(path)
    assert again.spec == SMALL
    assert not again.training
    for key, value in small.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, atol=1e-3, rtol=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_equal_weights_give_identical_files(small, tmp_path) -> None:
    """However often they are written, and in whatever order their facts are given."""
    facts = {name: "x" for name in ("config", "made", "by", "on", "for")}
    written = set()
    for number in range(6):
        path = tmp_path / f"{number}.safetensors"
        write_weights(path, small, facts if number % 2 else dict(reversed(facts.items())))
        written.add(path.read_bytes())
    assert len(written) == 1


def test_stored_metadata(small, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, small, {"config": "{}"})
    with safetensors.safe_open(path, "pt") as file:
        (text,) = file.metadata().values()
    labels = [{"name": label.name, "color": list(label.color)} for label in small.labels]
    assert json.loads(text) == {"config": "{}", "network": "small", "labels": labels}
    assert read_network(path).labels == small.labels


def test_files_of_version_0_1_are_read(small, tmp_path) -> None:
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file(small.state_dict(), path, metadata={"network": "small", "config": "{}"})
    again = read_network(path)
    assert again.spec == SMALL
    assert all(torch.equal(again.state_dict()[key], value) for key, value in small.state_dict().items())


@pytest.mark.parametrize("text", ["{", "[]", '{"network": 3}', '{"network": ["small"]}', "{}"])
def test_metadata_without_a_known_network(text, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, path, metadata={"edge_vseg": text})
    with pytest.raises(WeightsError, match="small, middle, large"):
        read_network(path)


def test_unreadable_files_are_named(small, tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        read_network(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x00" * 40)
    with pytest.raises(WeightsError, match="damaged"):
        read_network(damaged)
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, foreign)
    with pytest.raises(WeightsError, match="small, middle, large"):
        read_network(foreign)
    safetensors.torch.save_file({"a": torch.zeros(3)}, foreign, metadata={"network": "small"})
    with pytest.raises(WeightsError, match="do not fit small"):
        read_network(foreign)


def test_shipped_weights_are_intact_and_small_enough() -> None:
    rows = shipped()
    sizes = []
    for row in rows.values():
        data = (weights.ASSETS / row.file).read_bytes()
        sizes.append(len(data))
        assert hashlib.sha256(data).hexdigest() == row.sha256
        assert row.commands, "nobody could make them again"
        assert len(row.iou) == 11
        assert row.miou == pytest.approx(sum(row.iou.values()) / 11, abs=0.02)
    assert sum(sizes) <= MAX_WEIGHTS_BYTES
    for name in rows:
        network = getattr(zoo, name)()
        assert network.spec.name == name
        assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 11, 64, 96)


def test_missing_weights_say_how_to_train_them(monkeypatch) -> None:
    monkeypatch.setattr(weights, "shipped", dict)
    with pytest.raises(WeightsError, match=r"edge-vseg-train CAMVID_DIR -o RUN --network large.*zoo:untrained_large"):
        pretrained("large")
    assert zoo.untrained_large().spec == zoo.LARGE


def test_damaged_asset_raises(monkeypatch, tmp_path) -> None:
    name = next(iter(shipped()))
    row = shipped()[name]
    (tmp_path / row.file).write_bytes((weights.ASSETS / row.file).read_bytes()[:-1])
    (tmp_path / "weights.json").write_bytes((weights.ASSETS / "weights.json").read_bytes())
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(WeightsError, match="install the package again"):
        pretrained(name)


def test_ship_writes_the_index_from_the_run(small, tmp_path, monkeypatch) -> None:
    assets, run = tmp_path / "assets", tmp_path / "run"
    assets.mkdir()
    run.mkdir()
    (assets / "weights.json").write_text("[]")
    write_weights(run / "weights.safetensors", small, {})
    result = {"miou": 50.0, "iou": {"sky": 90.0}, "commands": ["edge-vseg-train CAMVID -o RUN"]}
    (run / "result.json").write_text(json.dumps(result))
    for module in ("edge_vseg.export.reference.zoo.weights", "edge_vseg.export.reference.training.ship"):
        monkeypatch.setattr(f"{module}.ASSETS", assets)
    ship([run])
    assert shipped()["small"].miou == 50.0
    assert read_network(assets / shipped()["small"].file).spec == SMALL


def test_weights_in_8_bits_are_within_half_a_step(small, tmp_path) -> None:
    whole, packed = tmp_path / "whole.safetensors", tmp_path / "packed.safetensors"
    write_weights(whole, small, {})
    write_weights(packed, small, {}, in_8_bits=True)
    assert packed.stat().st_size < 0.55 * whole.stat().st_size
    exact, found = small.state_dict(), read_network(packed).state_dict()
    rounded = 0
    for key, value in exact.items():
        if value.ndim != 4 or value.numel() < 4096:
            np.testing.assert_array_equal(
                found[key].numpy(), value.half().float().numpy() if value.is_floating_point() else value
            )
            continue
        rounded += 1
        wanted, got = value.half().float().numpy(), found[key].numpy()
        step = np.abs(wanted).max((1, 2, 3), keepdims=True) / 127
        assert (np.abs(got - wanted) <= 0.5001 * step).all()
        np.testing.assert_allclose(got / step, np.round(got / step), atol=1e-3)
    assert rounded >= 15
    write_weights(tmp_path / "again.safetensors", read_network(packed), {}, in_8_bits=True)
    again = read_network(tmp_path / "again.safetensors").state_dict()
    assert all(torch.allclose(again[key].float(), value.float(), rtol=2e-3) for key, value in found.items())


def test_large_weights_are_shipped_in_8_bits_and_judged(small, tmp_path, monkeypatch) -> None:
    assets, run, garden = tmp_path / "assets", tmp_path / "run", tmp_path / "garden"
    for folder in (assets, run, garden / "images", garden / "labels"):
        folder.mkdir(parents=True)
    (assets / "weights.json").write_text("[]")
    write_weights(run / "weights.safetensors", small, {})
    result = {"miou": 50.0, "iou": {"sky": 90.0}, "commands": ["edge-vseg-train CAMVID -o RUN"], "options": {}}
    (run / "result.json").write_text(json.dumps(result))
    labels = [{"name": label.name, "color": list(label.color)} for label in small.labels]
    (garden / "classes.json").write_text(json.dumps(labels))
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    cv2.imwrite(str(garden / "images/0.png"), picture)
    cv2.imwrite(str(garden / "labels/0.png"), np.full((64, 96), 3, np.uint8))
    for module in ("edge_vseg.export.reference.zoo.weights", "edge_vseg.export.reference.training.ship"):
        monkeypatch.setattr(f"{module}.ASSETS", assets)
    monkeypatch.setattr("edge_vseg.export.reference.training.ship.MAX_FLOAT16_BYTES", 1_000_000)
    with pytest.raises(SystemExit, match="give --data"):
        ship([run])
    ship([run], data=f"folder:{garden}:all")
    row = shipped()["small"]
    assert (assets / row.file).stat().st_size < 0.55 * (run / "weights.safetensors").stat().st_size
    with torch.inference_mode():
        found = pretrained("small")(to_input([picture]))[0].argmax(0).numpy()
    assert row.iou["class_3"] == pytest.approx(100 * np.mean(found == 3), abs=0.01)
