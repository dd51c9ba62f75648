"""The list of a variant's files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_vseg.bundle.manifest import Variant


def list_variant_files(root: Path, variant: Variant) -> Variant:
    """The variant with all its files listed, and the size of its whole graph: nothing else makes this list.

    Args:
        root: The folder that holds the variant's folder.
        variant: A variant whose whole graph, slices and tile graph are written.
    """
    entries = [variant.entry, *(part.entry for part in variant.slices)]
    if variant.tile is not None:
        entries.append(variant.tile.entry)
    stems = [Path(entry).stem for entry in entries]
    paths = sorted(path for path in (root / variant.id).iterdir() if path.stem in stems)  # OpenVINO has .xml and .bin
    graph = [path for path in paths if path.stem == stems[0]]
    return msgspec.structs.replace(
        variant,
        files=tuple(f"{variant.id}/{path.name}" for path in paths),
        graph_bytes=sum(path.stat().st_size for path in graph),
    )
