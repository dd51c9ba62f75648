"""What a command reads, and must not replace by what it writes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from edge_vseg.errors import OptionError
from edge_vseg.video.bag import find_bag
from edge_vseg.video.images import is_image


def spare_source(source: str, written: Path | None) -> None:
    """Check that an output does not replace the video that is read, nor lies in its recording; ``None`` passes.

    Raises:
        OptionError: If it does.
    """
    if written is None:
        return
    bag = find_bag(source)
    taken = bag[0] if bag is not None else _local(source)
    try:
        same = taken.is_file() and taken.samefile(written)
    except OSError:  # there is nothing to spare, or it is an address
        same = False
    if same:
        raise OptionError(f"{written} is the source; give another name")
    if bag is not None and taken.resolve() == written.resolve().parent:
        raise OptionError(f"{written} lies in the recording that is read; give a name outside {taken}")
    spare_inputs(written, [taken])


def _local(source: str) -> Path:
    """The path of a source that has one."""
    named = re.fullmatch(r"file:(?://)?([^?]*)(?:\?.*)?", source)
    return Path(unquote(named[1]) if named else source)


def spare_pictures(folder: Path | None, sources: Iterable[str | Path]) -> None:
    """Check that pictures are not written among those of a source, which would be read with them the next time.

    Args:
        folder: Where they are written; ``None`` passes.
        sources: Videos, addresses, folders of pictures, and folders of datasets.

    Raises:
        OptionError: If they are.
    """
    if folder is None:
        return
    place = folder.resolve()
    for source in sources:
        taken = (_local(source) if isinstance(source, str) else source).resolve()
        for each in (place, *place.parents):
            if each.is_relative_to(taken) and each.is_dir() and any(map(is_image, each.iterdir())):
                raise OptionError(
                    f"{folder} lies among the pictures that are read, and its own would be read with them the next"
                    f" time; give a folder outside {taken}"
                )


def spare_inputs(written: Path | None, inputs: Iterable[Path | None]) -> None:
    """Check that an output replaces no file that is read, no picture of a folder, and nothing in a bundle.

    Args:
        written: The output; ``None`` passes.
        inputs: Files, bundles and other folders that are read; ``None`` for those that were not given.

    Raises:
        OptionError: If it does.
    """
    if written is None:
        return
    place = written.resolve()
    for each in inputs:
        if each is None:
            continue
        try:
            same = each.is_file() and each.samefile(written)
            inside = each.is_dir() and place.is_relative_to(each.resolve())
        except OSError:  # there is nothing to spare, or it is an address
            continue
        if same:
            raise OptionError(f"{written} is read, too; give another name")
        if inside and (each / "manifest.json").is_file():
            raise OptionError(f"{written} lies in the bundle that is read; give a name outside {each}")
        if inside and written.is_file() and is_image(written):
            raise OptionError(f"{written} is one of the pictures that are read; give another name")
