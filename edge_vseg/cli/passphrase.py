"""The passphrase of a private key, from a file or the environment, never from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from edge_vseg.errors import OptionError
from edge_vseg.input_files import read_regular

PASSPHRASE_VARIABLE = "EDGE_VSEG_KEY_PASSPHRASE"
MAX_PASSPHRASE = 4096

PassphraseFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help=f"File with the key's passphrase in its first line; else {PASSPHRASE_VARIABLE}."
    ),
]


def read_passphrase(path: Path | None) -> bytes | None:
    """The passphrase; ``None`` if there is neither a file nor the variable.

    Raises:
        OptionError: If the file cannot be read, or it is empty.
    """
    if path is None:
        given = os.environ.get(PASSPHRASE_VARIABLE)
        if given == "":
            raise OptionError(f"{PASSPHRASE_VARIABLE} is empty; unset it, or set it to the passphrase")
        return None if given is None else given.encode()
    try:
        first = read_regular(path, MAX_PASSPHRASE).partition(b"\n")[0].rstrip(b"\r")
    except OSError as exc:
        raise OptionError(f"the passphrase {path} cannot be read: {exc.strerror or exc}") from exc
    if not first:
        raise OptionError(f"the first line of {path} is empty; write the passphrase there")
    return first
