"""Which bundles are opened where a signature is asked for."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference_bundle import BIAS, Recipe, write_bundle
from retouch import rehash
from signed_bundles import NOON, new_key, sign, trust, write_signed

from edge_vseg import OpenOptions, Pipeline, PipelineOptions, Segmenter, open_bundle
from edge_vseg.bundle import check_target
from edge_vseg.errors import (
    ExpiredSignatureError,
    OptionError,
    RevokedKeyError,
    SignatureError,
    UnsignedBundleError,
    UntrustedKeyError,
)
from edge_vseg.trust import TrustPolicy, require_trust
from edge_vseg.trust import policy as trust_policy
from edge_vseg.trust.keys import SigningKey
from edge_vseg.trust.policy import machine_policy

Change = Callable[[Path], object]


@pytest.fixture
def key() -> SigningKey:
    return new_key()


@pytest.fixture
def keys(key: SigningKey, tmp_path: Path) -> Path:
    return trust(tmp_path / "keys", key)


@pytest.fixture
def signed(key: SigningKey, tmp_path: Path) -> Path:
    return write_signed(tmp_path / "colours.evseg", key, 3)


def open_segmenter(root: Path, keys: Path, **policy: str) -> Segmenter:
    options = OpenOptions(trust=TrustPolicy(keys=keys, **policy))  # type: ignore[arg-type]
    return Segmenter.open(root, runtime="reference", options=options)


def test_a_signed_bundle_opens(signed: Path, keys: Path, key: SigningKey) -> None:
    open_segmenter(signed, keys).close()
    verified = require_trust(open_bundle(signed), TrustPolicy(keys=keys))
    assert verified is not None
    assert (verified.release.name, verified.release.version, verified.release.created) == ("colours", 3, NOON)
    assert verified.key_ids == (key.public.key_id,)


def test_without_a_policy_nothing_is_asked(signed: Path) -> None:
    (signed / "signatures.json").unlink()
    Segmenter.open(signed, runtime="reference").close()


def retouched_graph(root: Path) -> None:
    """What who can write can do: another graph, and hashes that agree."""
    graph = root / "reference/float/graph.npz"
    np.savez(graph, weight=np.zeros((3, 3), np.float32), bias=BIAS, stride=np.int64(8))
    rehash(root)


def edited_signature(root: Path, edit: Callable[[dict[str, object]], object]) -> None:
    path = root / "signatures.json"
    tree = json.loads(path.read_bytes())
    edit(tree)
    path.write_text(json.dumps(tree))


def edited_payload(root: Path, **terms: object) -> None:
    def edit(tree: dict[str, object]) -> None:
        statement = json.loads(base64.b64decode(str(tree["payload"])))
        statement["predicate"] |= terms
        tree["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    edited_signature(root, edit)


def test_an_unsigned_bundle_is_refused(signed: Path, keys: Path) -> None:
    (signed / "signatures.json").unlink()
    with pytest.raises(UnsignedBundleError, match="edge-vseg sign"):
        open_segmenter(signed, keys)
    open_segmenter(signed, keys, unsigned="allow").close()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(retouched_graph, id="another graph and manifest"),
        pytest.param(lambda root: edited_payload(root, version=99), id="a higher version"),
        pytest.param(lambda root: edited_payload(root, expires="2999-01-01T00:00:00Z"), id="a later expiry"),
        pytest.param(
            lambda root: edited_signature(root, lambda t: t.update(payloadType="text/plain")), id="another type"
        ),
        pytest.param(lambda root: edited_signature(root, lambda t: t.update(signatures=[])), id="no signature in it"),
        pytest.param(lambda root: edited_signature(root, lambda t: t.pop("payload")), id="no payload"),
        pytest.param(lambda root: (root / "signatures.json").write_bytes(b""), id="empty"),
        pytest.param(lambda root: (root / "signatures.json").write_bytes(b"[" * 100_000), id="too large"),
        pytest.param(lambda root: (root / "signatures.json").write_bytes(b"[" * 10_000), id="deep"),
        pytest.param(lambda root: (root / "signatures.json").write_bytes(b"\xff\xfe"), id="not UTF-8"),
        pytest.param(
            lambda root: ((root / "signatures.json").unlink(), os.mkfifo(root / "signatures.json")), id="a FIFO"
        ),
    ],
)
@pytest.mark.parametrize("unsigned", ["refuse", "allow"])
def test_what_was_changed_is_refused(change: Change, unsigned: str, signed: Path, keys: Path) -> None:
    change(signed)
    with pytest.raises(SignatureError):
        open_segmenter(signed, keys, unsigned=unsigned)


def test_a_signature_does_not_fit_another_bundle(signed: Path, keys: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other.evseg", Recipe(bias=BIAS + 1))
    shutil.copy(signed / "signatures.json", other)
    with pytest.raises(SignatureError, match="copy the whole bundle again"):
        open_segmenter(other, keys)


def test_a_stranger_is_not_trusted(signed: Path, tmp_path: Path, key: SigningKey) -> None:
    with pytest.raises(UntrustedKeyError, match=key.public.key_id[:16]):
        open_segmenter(signed, trust(tmp_path / "others", new_key("ecdsa-p256")))


def test_naming_a_trusted_key_is_not_signing_with_it(signed: Path, keys: Path, key: SigningKey) -> None:
    sign(signed, new_key(), 4)
    edited_signature(signed, lambda tree: tree["signatures"][0].update(keyid=key.public.key_id))  # type: ignore[index]
    with pytest.raises(SignatureError, match="does not hold"):
        open_segmenter(signed, keys)


def test_a_revoked_key_is_refused(signed: Path, key: SigningKey, tmp_path: Path) -> None:
    keys = trust(tmp_path / "keys", key, revoked=key.public.key_id)
    with pytest.raises(RevokedKeyError, match="another key"):
        open_segmenter(signed, keys)


@pytest.mark.parametrize("unsigned", ["refuse", "allow"])
def test_a_revoked_bundle_is_refused_signed_or_not(
    unsigned: str, signed: Path, key: SigningKey, tmp_path: Path
) -> None:
    keys = trust(tmp_path / "keys", key, revoked=open_bundle(signed).sha256)
    for _ in range(2):
        with pytest.raises(RevokedKeyError, match="is revoked"):
            open_segmenter(signed, keys, unsigned=unsigned)
        (signed / "signatures.json").unlink(missing_ok=True)


def test_one_of_two_signatures_is_enough(signed: Path, key: SigningKey, tmp_path: Path) -> None:
    """So a fleet changes over from one key to the next."""
    second = new_key("ecdsa-p256")
    release = sign(signed, second, None)
    assert release.version == 3
    open_segmenter(signed, trust(tmp_path / "old", key)).close()
    open_segmenter(signed, trust(tmp_path / "new", second)).close()
    open_segmenter(signed, trust(tmp_path / "both", key, second, revoked=key.public.key_id)).close()
    edited_signature(signed, lambda tree: tree["signatures"][1].update(sig="AAAA"))  # type: ignore[index]
    open_segmenter(signed, trust(tmp_path / "old", key)).close()


def test_signing_a_new_version_drops_the_signatures_of_the_old(signed: Path, key: SigningKey, tmp_path: Path) -> None:
    second = new_key()
    sign(signed, second, 4)
    with pytest.raises(UntrustedKeyError):
        open_segmenter(signed, trust(tmp_path / "old", key))
    open_segmenter(signed, trust(tmp_path / "new", second)).close()


def test_a_second_key_does_not_sign_for_another_bundle(signed: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other.evseg", Recipe(bias=BIAS + 1))
    shutil.copy(signed / "signatures.json", other)
    with pytest.raises(SignatureError, match="changed after it was signed"):
        sign(other, new_key(), None)


def test_the_first_signature_needs_a_version(reference_bundle: Path) -> None:
    with pytest.raises(OptionError, match="--version"):
        sign(reference_bundle, new_key(), None)


def test_expiry(reference_bundle: Path, key: SigningKey, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A robot that stands still because nobody signed in time helps nobody; who wants that says so."""
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    sign(reference_bundle, key, 1, lifetime=dt.timedelta(days=1), now=long_ago)
    with caplog.at_level(logging.WARNING):
        open_segmenter(reference_bundle, keys).close()
    assert "has expired" in caplog.text
    with pytest.raises(ExpiredSignatureError, match="2020-01-02"):
        open_segmenter(reference_bundle, keys, expired="refuse")


def test_a_clock_that_lags_behind_the_signature_is_told(
    reference_bundle: Path, key: SigningKey, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sign(reference_bundle, key, 1, now=dt.datetime(2999, 1, 1, tzinfo=dt.timezone.utc))
    with caplog.at_level(logging.WARNING):
        open_segmenter(reference_bundle, keys, expired="refuse").close()
    assert "is the clock right?" in caplog.text


@pytest.mark.parametrize("version", [0, -1, 2**53])
def test_versions_that_cannot_be(version: int, reference_bundle: Path, key: SigningKey) -> None:
    with pytest.raises(OptionError, match="counts up"):
        sign(reference_bundle, key, version)


def test_the_variable_holds_for_all_that_a_process_opens(
    signed: Path, keys: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_VSEG_TRUSTED_KEYS", str(keys))
    Segmenter.open(signed, runtime="reference").close()
    (signed / "signatures.json").unlink()
    with pytest.raises(UnsignedBundleError):
        Segmenter.open(signed, runtime="reference")
    with pytest.raises(UnsignedBundleError):
        Pipeline.open(signed, clip, runtime="reference")


def test_a_policy_reaches_the_segmenters_of_a_pipeline(signed: Path, clip: Path, tmp_path: Path) -> None:
    policy = TrustPolicy(keys=trust(tmp_path / "others", new_key()))
    with pytest.raises(UntrustedKeyError):
        Pipeline.open(signed, clip, options=PipelineOptions(segmenter=OpenOptions(trust=policy)))


def test_a_machine_whose_keys_are_gone_opens_nothing(signed: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="cannot be read"):
        open_segmenter(signed, tmp_path / "gone")


def test_a_signed_bundle_may_be_exported_again(signed: Path) -> None:
    """Its signature is no foreign file, and goes with the old files."""
    assert check_target(signed) == signed
    write_bundle(signed)
    assert not (signed / "signatures.json").exists()


def test_answers_that_do_not_exist(keys: Path) -> None:
    with pytest.raises(OptionError, match="'refuse' or 'allow'"):
        TrustPolicy(keys=keys, unsigned="perhaps")  # type: ignore[arg-type]


def test_keys_that_an_account_may_not_see_are_a_rule_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever makes the folder private turns the rule off."""
    keys = tmp_path / "etc" / "trusted-keys"
    monkeypatch.setattr(trust_policy, "MACHINE_KEYS", keys)
    assert machine_policy({}) is None
    keys.parent.write_text("a file in the way")
    assert machine_policy({}) is None

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "lstat", denied)
    assert machine_policy({}) == TrustPolicy(keys=keys)
