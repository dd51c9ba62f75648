"""A copy of a bundle with a schedule of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from edge_vseg.bundle.manifest import ScheduleSpec, schema_version
from edge_vseg.bundle.reading import Bundle, open_bundle
from edge_vseg.bundle.writing import stage_bundle


def write_scheduled_copy(bundle: Bundle, target: Path, schedule: ScheduleSpec) -> Bundle:
    """Write a bundle again, with a schedule in its manifest; atomically.

    The graphs are the same. Signatures are not copied: they are of another manifest.

    Args:
        bundle: The bundle.
        target: Where the copy goes; a bundle that is there is replaced, also the same one.
        schedule: The schedule.

    Returns:
        The copy, opened.

    Raises:
        BundleWriteError: If it cannot be written there.
        BundleFileError: If a file of the bundle is missing or damaged.
    """
    manifest = bundle.manifest
    with stage_bundle(target) as staging:
        for name in manifest.files:
            source = bundle.file(name)  # checked by its hash
            copy = staging.root / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        staging.commit(
            msgspec.structs.replace(
                manifest,
                schema_version=schema_version(manifest.frame, manifest.head, schedule),
                name=target.name.removesuffix(".evseg"),
                schedule=schedule,
            )
        )
    return open_bundle(target)
