"""Whether a bundle is one that this machine trusts."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.reading import SIGNATURES_NAME
from edge_vseg.errors import (
    ExpiredSignatureError,
    RevokedKeyError,
    SignatureError,
    UnsignedBundleError,
    UntrustedKeyError,
)
from edge_vseg.input_files import read_regular
from edge_vseg.trust.envelope import MAX_ENVELOPE_BYTES, Envelope, decode_envelope
from edge_vseg.trust.keyring import Keyring, read_keyring
from edge_vseg.trust.policy import TrustPolicy, machine_policy
from edge_vseg.trust.release import Release, decode_release

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRelease:
    """A release that a trusted key has signed.

    Attributes:
        release: What is signed.
        key_ids: Trusted keys whose signatures hold, one or more, none of them revoked.
    """

    release: Release
    key_ids: tuple[str, ...]


def require_trust(bundle: Bundle, policy: TrustPolicy | None = None) -> VerifiedRelease | None:
    """Refuse a bundle that the policy does not trust; call it before anything of the bundle is run.

    Args:
        bundle: The opened bundle.
        policy: ``None`` for that of this machine, which may be none at all; see
            :func:`~edge_vseg.trust.policy.machine_policy`.

    Returns:
        What is signed; ``None`` if no policy asks for a signature.

    Raises:
        UnsignedBundleError: If there is no signature.
        UntrustedKeyError: If none of the keys is trusted.
        RevokedKeyError: If the key, or the bundle itself, was revoked.
        ExpiredSignatureError: If the policy refuses what has expired.
        SignatureError: If the signature is damaged or of another bundle, or the trusted keys cannot be read.
    """
    policy = policy or machine_policy()
    if policy is None:
        return None
    keyring = read_keyring(policy.keys)
    _refuse_revoked_bundle(bundle.sha256, keyring)
    envelope = read_signatures(bundle)
    if envelope is None and policy.unsigned == "allow":
        log.warning("%s is not signed; it is opened because the policy allows it", bundle.root)
        return None
    if envelope is None:
        raise UnsignedBundleError(
            f"{bundle.root} is not signed, and this machine opens signed bundles only ({keyring.folder}); sign it with"
            " `edge-vseg sign` where the key is"
        )
    verified = verify_envelope(envelope, keyring, str(bundle.root))
    _check_subject(bundle, verified.release)
    check_expiry(verified.release, dt.datetime.now(dt.timezone.utc), policy.expired, str(bundle.root))
    return verified


def read_signatures(bundle: Bundle) -> Envelope | None:
    """The envelope in a bundle, unverified; ``None`` if it has none.

    Raises:
        SignatureError: If it cannot be read.
    """
    path = bundle.root / SIGNATURES_NAME
    try:
        data = read_regular(path, MAX_ENVELOPE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SignatureError(f"{path} cannot be read: {exc.strerror or exc}; sign the bundle again") from exc
    return decode_envelope(data, str(path))


def verify_envelope(envelope: Envelope, keyring: Keyring, where: str) -> VerifiedRelease:
    """Check the signatures of an envelope; one by a trusted key is enough, whatever the others are.

    Raises:
        UntrustedKeyError: If none of the keys is trusted.
        RevokedKeyError: If all trusted keys that signed are revoked, or the bundle is.
        SignatureError: If no signature by a trusted key holds, or what is signed is no release.
    """
    data = envelope.signed_bytes
    named = [(each, keyring.keys.get(each.key_id)) for each in envelope.signatures]
    known = [(key, each.signature) for each, key in named if key is not None]
    valid = dict.fromkeys(key.key_id for key, signature in known if key.verifies(data, signature))
    if not known:
        signers = ", ".join(each.key_id[:16] or "an unnamed key" for each in envelope.signatures)
        raise UntrustedKeyError(
            f"{where} is signed by {signers}, and {keyring.folder} trusts {_short(keyring.keys)}; copy the signer's"
            " public key there if you trust it"
        )
    if not valid:
        raise SignatureError(
            f"{where}: the signature of {_short(key.key_id for key, _ in known)} does not hold: the bundle was changed,"
            " or the signature is of another one; copy it again, or sign it again"
        )
    kept = tuple(key_id for key_id in valid if key_id not in keyring.revoked)
    if not kept:
        raise RevokedKeyError(
            f"{where} is signed by {_short(valid)}, which {keyring.folder} has revoked; take a release with another key"
        )
    release = decode_release(envelope.payload, where)
    _refuse_revoked_bundle(release.sha256, keyring)
    return VerifiedRelease(release=release, key_ids=kept)


def check_expiry(release: Release, now: dt.datetime, expired: str, where: str) -> None:
    """Refuse or report a release that has expired.

    Raises:
        ExpiredSignatureError: If it has, and ``expired`` is ``refuse``.
    """
    if release.is_from_the_future(now):
        log.warning("%s was signed on %s, and it is %s here; is the clock right?", where, release.created, now)
    if not release.is_expired(now):
        return
    text = f"the signature of {where}, version {release.version}, has expired on {release.expires:%Y-%m-%d %H:%M} UTC"
    if expired == "refuse":
        raise ExpiredSignatureError(f"{text}; sign it again, or set the clock, which says {now:%Y-%m-%d %H:%M}")
    log.warning("%s", text)


def _check_subject(bundle: Bundle, release: Release) -> None:
    if (release.sha256, release.name) != (bundle.sha256, bundle.manifest.name):
        raise SignatureError(
            f"{bundle.root}: the signature is of {release.name!r} with the manifest {release.sha256[:16]}, and this is"
            f" {bundle.manifest.name!r} with {bundle.sha256[:16]}; copy the whole bundle again, or sign it again"
        )


def _refuse_revoked_bundle(sha256: str, keyring: Keyring) -> None:
    if sha256 in keyring.revoked:
        raise RevokedKeyError(f"the bundle {sha256[:16]} is revoked in {keyring.folder}; install another version of it")


def _short(key_ids: object) -> str:
    return ", ".join(key_id[:16] for key_id in dict.fromkeys(key_ids)) or "no key"  # type: ignore[call-overload]
