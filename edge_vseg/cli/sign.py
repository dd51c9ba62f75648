"""``edge-vseg sign``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.cli import console
from edge_vseg.cli.options import BundleArgument, JsonOption, parse_duration
from edge_vseg.cli.passphrase import PassphraseFileOption, read_passphrase
from edge_vseg.cli.spared import spare_inputs
from edge_vseg.trust.keys import read_signing_key
from edge_vseg.trust.release import Release
from edge_vseg.trust.signing import SignOptions, sign_bundle
from edge_vseg.trust.verification import read_signatures


def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="Private key, PEM: Ed25519 or EC P-256.")],
    version: Annotated[
        int | None,
        typer.Option(
            "--version", help="Grows from release to release; without it, a second key signs the same.", min=1
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Not to be installed after so long, such as 90d.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="FILE", help="Also write the index that robots ask for updates.")
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle after checking the hash of every file. Writes signatures.json into it."""
    spare_inputs(index, [key, passphrase_file])
    lifetime = None if expires is None else dt.timedelta(seconds=parse_duration("--expires", expires))
    options = SignOptions(version=version, lifetime=lifetime, index=index)
    opened = open_bundle(bundle)
    check_files(opened)
    signing_key = read_signing_key(key, read_passphrase(passphrase_file))
    release = sign_bundle(opened, signing_key, options, now=dt.datetime.now(dt.timezone.utc))
    envelope = read_signatures(opened)
    key_ids = [] if envelope is None else [each.key_id for each in envelope.signatures]
    if as_json:
        told = describe_release(release) | {"key_id": signing_key.public.key_id, "signed_by": key_ids}
        console.print_json(told | {"index": None if index is None else str(index)})
        return
    until = "" if release.expires is None else f", until {release.expires:%Y-%m-%d %H:%M} UTC"
    lines = [
        f"signed {release.name} version {release.version}{until}",
        f"  manifest {release.sha256}",
        *(f"  key      {key_id}" for key_id in key_ids),
        *([] if index is None else [f"  index    {index}"]),
    ]
    for line in lines:
        console.out.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def describe_release(release: Release) -> dict[str, str | int | None]:
    """A release as JSON."""
    return {
        "name": release.name,
        "sha256": release.sha256,
        "version": release.version,
        "created": release.created.isoformat(),
        "expires": None if release.expires is None else release.expires.isoformat(),
    }


def printable(line: str) -> str:
    """A line without control characters: a bundle's name may hold any."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
