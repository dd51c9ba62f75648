"""Keys against OpenSSL, an independent implementation."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from signed_bundles import new_key, trust, write_signed

from edge_vseg.errors import OptionError, SignatureError
from edge_vseg.trust.envelope import pre_authentication_encoding
from edge_vseg.trust.keyring import read_keyring
from edge_vseg.trust.keys import KeyKind, read_public_key, read_signing_key, write_key_pair

KINDS: tuple[KeyKind, ...] = ("ed25519", "ecdsa-p256")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def openssl(*words: object) -> bytes:
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, check=True).stdout


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_what_is_signed_here(kind: KeyKind, tmp_path: Path) -> None:
    key = new_key(kind)
    private, public = write_key_pair(key, tmp_path / "release", None)
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(b"a release")
    signature.write_bytes(read_signing_key(private, None).sign(b"a release"))
    if kind == "ed25519":
        words = ("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", message, "-sigfile", signature)
    else:
        words = ("dgst", "-sha256", "-verify", public, "-signature", signature, message)
    assert b"Verif" in openssl(*words)
    message.write_bytes(b"A release")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*words)


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_openssl_sign_and_are_named_alike(kind: KeyKind, tmp_path: Path) -> None:
    private, public = tmp_path / "other.pem", tmp_path / "other.pub.pem"
    made = (
        ("-algorithm", "ed25519") if kind == "ed25519" else ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    )
    openssl("genpkey", *made, "-out", private)
    private.chmod(0o600)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    key = read_signing_key(private, None)
    der = openssl("pkey", "-pubin", "-in", public, "-outform", "DER")
    assert key.public.kind == kind
    assert read_public_key(public).key_id == key.public.key_id == hashlib.sha256(der).hexdigest()
    assert read_public_key(public).verifies(b"x", key.sign(b"x"))


def test_the_encoding_that_is_signed_is_that_of_the_dsse_specification() -> None:
    # The example of github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
    encoded = pre_authentication_encoding(b"hello world", "http://example.com/HelloWorld")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize("kind", KINDS)
def test_a_passphrase_is_needed_again(kind: KeyKind, tmp_path: Path) -> None:
    key = new_key(kind)
    private, _ = write_key_pair(key, tmp_path / "release.pem", b"long and secret")
    assert private == tmp_path / "release.pem"
    assert b"ENCRYPTED" in private.read_bytes()
    assert read_signing_key(private, b"long and secret").public.key_id == key.public.key_id
    for wrong in (None, b"other"):
        with pytest.raises(OptionError, match="passphrase"):
            read_signing_key(private, wrong)


def test_a_private_key_is_private_and_never_replaced(tmp_path: Path) -> None:
    private, public = write_key_pair(new_key(), tmp_path / "release", None)
    assert (private.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    before = private.read_bytes()
    with pytest.raises(OptionError, match="never replaced"):
        write_key_pair(new_key(), tmp_path / "release", None)
    assert private.read_bytes() == before
    private.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        read_signing_key(private, None)


@needs_openssl
def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    private = tmp_path / "big.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", private)
    private.chmod(0o600)
    with pytest.raises(OptionError, match="neither an Ed25519 nor an EC P-256 key"):
        read_signing_key(private, None)
    openssl("pkey", "-in", private, "-pubout", "-out", tmp_path / "big.pub.pem")
    with pytest.raises(SignatureError, match="neither an Ed25519 nor an EC P-256 key"):
        read_public_key(tmp_path / "big.pub.pem")


@pytest.mark.parametrize(
    "data",
    [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff" * 100],
    ids=["empty", "short", "binary"],
)
def test_what_is_no_key(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.pem").write_bytes(data)
    with pytest.raises(SignatureError, match="not a public key"):
        read_keyring(tmp_path)


def test_a_keyring_is_its_keys_and_what_is_revoked(tmp_path: Path) -> None:
    keys = new_key(), new_key("ecdsa-p256")
    folder = trust(
        tmp_path / "keys", *keys, revoked=f"# lost\n{keys[0].public.key_id.upper()}  # laptop\n\n{'0' * 64}\n"
    )
    found = read_keyring(folder)
    assert set(found.keys) == {key.public.key_id for key in keys}
    assert found.revoked == {keys[0].public.key_id, "0" * 64}


def test_a_single_key_is_a_keyring(tmp_path: Path) -> None:
    key = new_key()
    _, public = write_key_pair(key, tmp_path / "release", None)
    assert set(read_keyring(public).keys) == {key.public.key_id}


def test_a_typing_mistake_does_not_bring_a_revoked_key_back(tmp_path: Path) -> None:
    folder = trust(tmp_path / "keys", new_key(), revoked="0123\n")
    with pytest.raises(SignatureError, match="revoked, line 1"):
        read_keyring(folder)


def test_keys_that_others_may_change_are_not_trusted(tmp_path: Path) -> None:
    folder = trust(tmp_path / "keys", new_key(), revoked="0" * 64)
    for path in (folder, next(folder.glob("*.pem")), folder / "revoked"):
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        with pytest.raises(SignatureError, match="others may write"):
            read_keyring(folder)
        path.chmod(mode)
    read_keyring(folder)


def test_a_private_key_among_the_trusted_ones_is_told(tmp_path: Path) -> None:
    write_key_pair(new_key(), tmp_path / "release", None)
    with pytest.raises(SignatureError, match="private key"):
        read_keyring(tmp_path)


def test_an_empty_folder_trusts_nobody_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="has 0 keys"):
        read_keyring(tmp_path)
    with pytest.raises(SignatureError, match="cannot be read"):
        read_keyring(tmp_path / "nothing")


@needs_openssl
def test_openssl_verifies_a_signed_bundle(tmp_path: Path) -> None:
    """With nothing but the formats' specifications and OpenSSL."""
    key = new_key()
    _, public = write_key_pair(key, tmp_path / "release", None)
    root = write_signed(tmp_path / "signed.evseg", key, 3)
    envelope = json.loads((root / "signatures.json").read_bytes())
    kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", message, "-sigfile", signature)
    (subject,) = json.loads(payload)["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256((root / "manifest.json").read_bytes()).hexdigest()
    assert json.loads(payload)["predicate"]["version"] == 3
