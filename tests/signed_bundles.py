"""Keys, signed bundles and folders of trusted keys."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from reference_bundle import BIAS, Recipe, write_bundle

pytest.importorskip("cryptography", reason="signatures need the extra trust")

from edge_vseg.bundle import open_bundle
from edge_vseg.trust.keys import KeyKind, SigningKey, generate_key
from edge_vseg.trust.release import Release
from edge_vseg.trust.signing import SignOptions, sign_bundle

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone.utc)


def new_key(kind: KeyKind = "ed25519") -> SigningKey:
    return generate_key(kind)


def trust(folder: Path, *keys: SigningKey, revoked: str = "") -> Path:
    """A folder that trusts some keys."""
    folder.mkdir(mode=0o755, exist_ok=True)
    for key in keys:
        path = folder / f"{key.public.key_id[:8]}.pub.pem"
        path.write_bytes(key.public.pem())
        path.chmod(0o644)
    if revoked:
        (folder / "revoked").write_text(revoked)
        (folder / "revoked").chmod(0o644)
    folder.chmod(0o755)
    return folder


def sign(
    root: Path,
    key: SigningKey,
    version: int | None = 1,
    *,
    lifetime: dt.timedelta | None = None,
    index: Path | None = None,
    now: dt.datetime = NOON,
) -> Release:
    options = SignOptions(version=version, lifetime=lifetime, index=index)
    return sign_bundle(open_bundle(root), key, options, now=now)


def write_signed(
    root: Path, key: SigningKey, version: int, *, name: str = "colours", index: Path | None = None
) -> Path:
    """A bundle of the numpy runtime; each version has other weights, so other files."""
    write_bundle(root, Recipe(name=name, bias=BIAS + np.float32(version)))
    sign(root, key, version, index=index)
    return root
