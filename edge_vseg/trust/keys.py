"""Keys that sign bundles and keys that verify them: Ed25519, and ECDSA on P-256 with SHA-256.

A key's id is the SHA-256 of its public key as DER (SubjectPublicKeyInfo), which OpenSSL gives too::

    openssl pkey -pubin -in release.pub.pem -outform DER | sha256sum
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_vseg.errors import OptionError, SignatureError
from edge_vseg.input_files import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    AnyPublic: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey
    AnyPrivate: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey

KeyKind: TypeAlias = Literal["ed25519", "ecdsa-p256"]
MAX_KEY_BYTES = 16 * 1024


class PublicKey:
    """A key that verifies signatures.

    Attributes:
        key_id: SHA-256 of the key as DER, in hex.
        kind: ``ed25519`` or ``ecdsa-p256``.
    """

    def __init__(self, key: AnyPublic, kind: KeyKind) -> None:
        serialization = _cryptography().serialization
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = hashlib.sha256(der).hexdigest()
        self.kind: KeyKind = kind
        self._key = key

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made the signature over the data."""
        crypto = _cryptography()
        try:
            if self.kind == "ed25519":
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, crypto.ec.ECDSA(crypto.hashes.SHA256()))
        except crypto.InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """The key as PEM, which everybody may read."""
        serialization = _cryptography().serialization
        return bytes(
            self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )


class SigningKey:
    """A key that signs; keep it away from the machines that verify.

    Attributes:
        public: The key that verifies what this one signs.
    """

    def __init__(self, key: AnyPrivate, kind: KeyKind) -> None:
        self.public = PublicKey(key.public_key(), kind)
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """A signature: 64 bytes of Ed25519, or ECDSA's two numbers as DER."""
        crypto = _cryptography()
        if self.public.kind == "ed25519":
            return bytes(self._key.sign(data))
        return bytes(self._key.sign(data, crypto.ec.ECDSA(crypto.hashes.SHA256())))

    def pem(self, passphrase: bytes | None) -> bytes:
        """The key as PKCS #8 PEM, encrypted unless the passphrase is ``None``."""
        serialization = _cryptography().serialization
        encryption = (
            serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
        )
        return bytes(self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))


def generate_key(kind: KeyKind) -> SigningKey:
    """A new key, from the system's random numbers."""
    crypto = _cryptography()
    if kind == "ed25519":
        return SigningKey(crypto.ed25519.Ed25519PrivateKey.generate(), kind)
    return SigningKey(crypto.ec.generate_private_key(crypto.ec.SECP256R1()), kind)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key in PEM.

    Raises:
        SignatureError: If it cannot be read, or is of another kind.
    """
    crypto = _cryptography()
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise SignatureError(f"{path} is a private key; only its public half belongs here, {path.stem}.pub.pem")
    try:
        key = crypto.serialization.load_pem_public_key(data)
    except (ValueError, crypto.UnsupportedAlgorithm) as exc:
        raise SignatureError(f"{path} is not a public key in PEM: {exc}; make one with `edge-vseg keygen`") from exc
    if isinstance(key, crypto.ed25519.Ed25519PublicKey):
        return PublicKey(key, "ed25519")
    if isinstance(key, crypto.ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return PublicKey(key, "ecdsa-p256")
    raise SignatureError(f"{path} is neither an Ed25519 nor an EC P-256 key; make one with `edge-vseg keygen`")


def read_signing_key(path: Path, passphrase: bytes | None) -> SigningKey:
    """Read a private key in PEM.

    Raises:
        OptionError: If it cannot be read, its passphrase is missing or wrong, it is of another kind, or others may read
            it without a passphrase.
    """
    crypto = _cryptography()
    try:
        data = _read(path)
        key = crypto.serialization.load_pem_private_key(data, passphrase)
    except SignatureError as exc:
        raise OptionError(str(exc)) from exc
    except (TypeError, ValueError, crypto.UnsupportedAlgorithm) as exc:
        # Its messages never hold the passphrase.
        raise OptionError(
            f"{path} cannot be used: {exc}; it must be a private key in PEM, with its passphrase if it has one"
        ) from exc
    if passphrase is None and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise OptionError(f"{path} has no passphrase and others may read it; chmod 600 it, or give it a passphrase")
    if isinstance(key, crypto.ed25519.Ed25519PrivateKey):
        return SigningKey(key, "ed25519")
    if isinstance(key, crypto.ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
        return SigningKey(key, "ecdsa-p256")
    raise OptionError(f"{path} is neither an Ed25519 nor an EC P-256 key; make one with `edge-vseg keygen`")


def write_key_pair(key: SigningKey, path: Path, passphrase: bytes | None) -> tuple[Path, Path]:
    """Write ``PATH.pem``, which only this account can read, and ``PATH.pub.pem``; existing files are left alone.

    Returns:
        Both paths.

    Raises:
        OptionError: If one of them exists or cannot be written.
    """
    base = path.with_suffix("") if path.suffix == ".pem" else path
    private, public = base.with_name(f"{base.name}.pem"), base.with_name(f"{base.name}.pub.pem")
    for existing in (private, public):
        if os.path.lexists(existing):
            raise OptionError(f"{existing} exists, and a key is never replaced; choose another name")
    try:
        for target, data, mode in ((private, key.pem(passphrase), 0o600), (public, key.public.pem(), 0o644)):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
    except OSError as exc:
        raise OptionError(f"{exc.filename or path} cannot be written: {exc.strerror}; choose another place") from exc
    return private, public


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_KEY_BYTES)
    except OSError as exc:
        raise SignatureError(f"the key {path} cannot be read: {exc.strerror or exc}; check the path") from exc


def _cryptography() -> _Cryptography:
    try:
        return _Cryptography()
    except ImportError as exc:
        raise SignatureError("signatures need cryptography: pip install 'edge-vseg[trust]'") from exc


class _Cryptography:
    """The modules of cryptography that are used, imported late: a device without signatures does not have it."""

    def __init__(self) -> None:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        self.InvalidSignature = InvalidSignature
        self.UnsupportedAlgorithm = UnsupportedAlgorithm
        self.ec: ModuleType = ec
        self.ed25519: ModuleType = ed25519
        self.hashes: ModuleType = hashes
        self.serialization: ModuleType = serialization
