"""``keygen``, ``sign``, ``update``, and ``--trusted`` of the commands that open bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference_bundle import write_bundle
from signed_bundles import new_key, sign, trust

from edge_vseg import open_bundle
from edge_vseg.trust.keys import write_key_pair

Cli = Callable[..., Any]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    private, _ = write_key_pair(new_key(), tmp_path / "release", None)
    return private


@pytest.mark.parametrize("command", ["keygen", "sign", "update"])
def test_help_of_the_trust_commands(command: str, cli: Cli) -> None:
    shown = cli(command, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "--json" in shown.out


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_a_key_signs_and_its_public_half_verifies(kind: str, cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("not to be seen\n")
    with_passphrase = ("--passphrase-file", tmp_path / "passphrase")
    made = cli("keygen", tmp_path / "release", "--kind", kind, *with_passphrase, "--json").json()
    assert (made["kind"], made["encrypted"]) == (kind, True)
    index = reference_bundle.parent / "index.json"
    asked = ("--key", made["private"], "--version", 3, "--expires", "30d", "--index", index)
    signed = cli("sign", reference_bundle, *asked, *with_passphrase, "--json").json()
    assert (signed["name"], signed["version"], signed["signed_by"]) == ("colours", 3, [made["key_id"]])
    assert signed["sha256"] == open_bundle(reference_bundle).sha256
    assert signed["created"] < signed["expires"]
    assert json.loads(index.read_bytes())["location"] == reference_bundle.name
    shown = cli("verify", reference_bundle, "--trusted", made["public"], "--json").json()
    assert shown["ok"]
    assert (shown["signature"]["version"], shown["signature"]["signed_by"]) == (3, [made["key_id"]])
    assert made["key_id"] in cli("verify", reference_bundle, "--trusted", made["public"]).out
    assert cli("verify", reference_bundle, "--json").json()["signature"] is None


def test_a_key_without_a_passphrase_must_be_asked_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGE_VSEG_KEY_PASSPHRASE", raising=False)
    refused = cli("keygen", tmp_path / "release")
    assert (refused.code, "--no-passphrase" in refused.err) == (1, True)
    assert not list(tmp_path.glob("release*"))
    assert cli("keygen", tmp_path / "release", "--no-passphrase").code == 0
    monkeypatch.setenv("EDGE_VSEG_KEY_PASSPHRASE", "secret words")
    assert cli("keygen", tmp_path / "other", "--no-passphrase").code == 1
    shown = cli("keygen", tmp_path / "other")
    assert shown.code == 0
    assert "secret words" not in shown.out + shown.err
    assert b"ENCRYPTED" in (tmp_path / "other.pem").read_bytes()
    assert cli("keygen", tmp_path / "third", "--kind", "rsa").code == 1


def test_only_an_intact_bundle_is_signed(cli: Cli, reference_bundle: Path, key_file: Path) -> None:
    graph = reference_bundle / "reference/float/graph.npz"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    refused = cli("sign", reference_bundle, "--key", key_file, "--version", 1)
    assert (refused.code, "BundleFileError" in refused.err) == (1, True)
    assert not (reference_bundle / "signatures.json").exists()


@pytest.mark.parametrize("words", [(), ("--version", 1, "--expires", "soon"), ("--version", 1, "--index", "elsewhere")])
def test_signing_asks_for_what_it_needs(
    words: tuple[object, ...], cli: Cli, reference_bundle: Path, key_file: Path
) -> None:
    elsewhere = reference_bundle / "inside.json"
    asked = [elsewhere if word == "elsewhere" else word for word in words]
    assert cli("sign", reference_bundle, "--key", key_file, *asked).code == 1
    assert not (reference_bundle / "signatures.json").exists()


@pytest.mark.parametrize("command", ["run", "record", "profile", "evaluate", "serve", "ros2", "verify"])
def test_every_command_that_opens_a_bundle_can_ask_for_a_signature(
    command: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    keys = trust(tmp_path / "keys", new_key())
    given: dict[str, tuple[object, ...]] = {
        "verify": (),
        "record": (clip, tmp_path / "drive.mcap", "--runtime", "reference"),
        "evaluate": ("--video", clip, "--runtime", "reference"),
        "serve": (clip, "--runtime", "reference", "--port", 0),
        "ros2": ("--image", "/camera/image_raw", "--interface", "lo", "--runtime", "reference"),
    }
    if command == "ros2":
        pytest.importorskip("cyclonedds")
    words = given.get(command, (clip, "--runtime", "reference"))
    refused = cli(command, reference_bundle, *words, "--trusted", keys)
    assert refused.code == 1, refused.out
    assert "UnsignedBundleError" in refused.err


def test_the_machine_asks_where_nobody_else_does(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    monkeypatch.setenv("EDGE_VSEG_TRUSTED_KEYS", str(trust(tmp_path / "keys", key)))
    words = ("run", reference_bundle, clip, "--runtime", "reference", "--json")
    assert cli(*words).json()["error"]["kind"] == "UnsignedBundleError"
    sign(reference_bundle, key)
    assert cli(*words).json()["complete"] is True


def test_an_update_tells_what_it_did(cli: Cli, tmp_path: Path) -> None:
    key = new_key()
    release = write_bundle(tmp_path / "release.evseg")
    sign(release, key, 5)
    words = ("update", tmp_path / "robot.evseg", release, "--trusted", trust(tmp_path / "keys", key), "--json")
    first, second = cli(*words).json(), cli(*words).json()
    assert (first["status"], second["status"]) == ("updated", "current")
    assert first["release"]["version"] == 5
    assert first["signed_by"] == [key.public.key_id]
    assert first["slot"] == second["slot"] == str((tmp_path / "robot.evseg").resolve())


def test_an_update_needs_keys(
    cli: Cli, reference_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGE_VSEG_TRUSTED_KEYS", raising=False)
    refused = cli("update", tmp_path / "robot.evseg", reference_bundle)
    assert (refused.code, "--trusted" in refused.err) == (1, True)
    for option in ("--watch", "--timeout", "--probe-timeout"):
        assert cli("update", tmp_path / "x.evseg", reference_bundle, "--trusted", tmp_path, option, "later").code == 1


def test_names_do_not_move_the_cursor(cli: Cli, tmp_path: Path, key_file: Path) -> None:
    from reference_bundle import Recipe

    odd = write_bundle(tmp_path / "odd.evseg", Recipe(name="\x1b[2Jred\x07"))
    shown = cli("sign", odd, "--key", key_file, "--version", 1)
    assert (shown.code, "\x1b[2J" in shown.out, "\x07" in shown.out) == (0, False, False)
