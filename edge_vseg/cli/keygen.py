"""``edge-vseg keygen``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from edge_vseg.cli import console
from edge_vseg.cli.options import JsonOption
from edge_vseg.cli.passphrase import PassphraseFileOption, read_passphrase
from edge_vseg.errors import OptionError
from edge_vseg.trust.keys import KeyKind, generate_key, write_key_pair


def keygen(
    path: Annotated[Path, typer.Argument(help="Where the keys go: NAME makes NAME.pem and NAME.pub.pem.")],
    kind: Annotated[str, typer.Option("--kind", help="ed25519 or ecdsa-p256.")] = "ed25519",
    passphrase_file: PassphraseFileOption = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Write the private key as it is; whoever has the file can sign.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key pair that signs bundles. Needs no network; keep the private key away from robots."""
    if kind not in get_args(KeyKind):
        raise OptionError(f"--kind {kind!r}: expected {' or '.join(get_args(KeyKind))}")
    passphrase = read_passphrase(passphrase_file)
    if passphrase is None and not no_passphrase:
        if not sys.stdin.isatty():
            raise OptionError("a key needs a passphrase: --passphrase-file FILE, or --no-passphrase for none")
        passphrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True).encode()
    if passphrase is not None and no_passphrase:
        raise OptionError("a passphrase was given; leave out --no-passphrase, or the passphrase")
    key = generate_key(cast(KeyKind, kind))
    private, public = write_key_pair(key, path, passphrase)
    if as_json:
        tree = {"key_id": key.public.key_id, "kind": kind, "private": str(private), "public": str(public)}
        console.print_json(tree | {"encrypted": passphrase is not None})
        return
    for line in (
        f"key {key.public.key_id}",
        f"  {private}  signs; keep it offline{'' if passphrase else ', for it has no passphrase'}",
        f"  {public}  verifies; copy it to the robots",
    ):
        console.out.print(line, highlight=False, markup=False, soft_wrap=True)
