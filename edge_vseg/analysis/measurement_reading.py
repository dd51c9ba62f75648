"""Read a file of measurements that this package wrote, in this version or another."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edge_vseg.errors import OptionError
from edge_vseg.input_files import read_regular, strict_json

Record = TypeVar("Record", bound=msgspec.Struct)


class FileHeader(msgspec.Struct):
    """What every version of a file has: read first, because the other fields depend on the schema.

    Attributes:
        schema: Version of the file's format.
    """

    schema: int


def read_measurements(
    path: Path, record: type[Record], header: type[FileHeader], *, schema: int, wrong: str, how: str, again: str
) -> Record:
    """Read a file.

    Args:
        path: The file.
        record: What it holds.
        header: Its header, with the tag of its kind.
        schema: The version that this package reads.
        wrong: What is said of another file, such as ``is not a latency profile``.
        how: How one is made.
        again: What to do where it has another schema.

    Raises:
        OptionError: If it is missing, damaged, or of another kind or version.
    """
    try:
        tree = strict_json(read_regular(path))
        found = msgspec.convert(tree, header).schema
        if found == schema:
            return msgspec.convert(tree, record)
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, msgspec.ValidationError) as exc:
        raise OptionError(f"{path} {wrong}: {exc}; {how}") from exc
    raise OptionError(f"{path} has schema {found}, this version reads {schema}; {again}")
