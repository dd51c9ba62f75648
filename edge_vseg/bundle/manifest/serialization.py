"""Reading and writing a manifest strictly."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_vseg.bundle.manifest.document import Manifest
from edge_vseg.bundle.manifest.schedule import ScheduleSpec
from edge_vseg.bundle.manifest.tensors import FrameSpec, HeadSpec
from edge_vseg.errors import ManifestError, SchemaVersionError
from edge_vseg.input_files import strict_json

READABLE = (1, 2, 3, 4, 5, 6)
"""Version 2 added slices and tiles; 3 renamed keys and lists failed variants apart; 4 knows the letterbox; 5
has a schedule; 6 says whether scores are logits or probabilities."""
_RENAMED_IN_3 = {"region": "tile", "unregioned": "untiled", "bytes": "graph_bytes"}
"""Keys of a variant in version 2, and what they are called since."""
_FAILED_KEYS = ("id", "runtime", "precision", "target", "reason")


def schema_version(frame: FrameSpec, head: HeadSpec, schedule: ScheduleSpec | None = None) -> int:
    """The oldest version that says all of it, so that older devices open what they understand."""
    if head.scores is not msgspec.UNSET:
        return 6
    if schedule is not None:
        return 5
    return 3 if frame.resize == "stretch" else 4


def dumps(manifest: Manifest) -> bytes:
    """The manifest as JSON: UTF-8, indented, keys in a fixed order, newline at the end."""
    tree = msgspec.to_builtins(manifest)
    if manifest.schedule is None:
        del tree["schedule"]  # readers of the schema versions before schedules refuse a field that they do not know
    return msgspec.json.format(msgspec.json.encode(tree), indent=1) + b"\n"


def loads(data: bytes, *, where: str = "manifest.json") -> Manifest:
    """Read a manifest strictly.

    Args:
        data: The bytes of ``manifest.json``.
        where: How messages call the file.

    Raises:
        SchemaVersionError: If the schema version is not one of :data:`READABLE`.
        ManifestError: If :func:`~edge_vseg.input_files.strict_json` refuses it, or it does not fit the schema.
    """
    try:
        tree = strict_json(data)
    except ValueError as exc:
        raise ManifestError(f"{where}: not a valid manifest: {exc}; export the bundle again") from exc
    if not isinstance(tree, dict) or not isinstance(tree.get("schema_version"), int):
        raise ManifestError(f"{where}: expected an object with an integer schema_version; is this a bundle's manifest?")
    if tree["schema_version"] not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise SchemaVersionError(
            f"{where}: schema version {tree['schema_version']}, this edge-vseg reads {known};"
            " install the version that wrote the bundle, or export it again"
        )
    if tree["schema_version"] < 3:
        _upgrade_to_3(tree)
    try:
        manifest = msgspec.convert(tree, Manifest, strict=True)
    except msgspec.ValidationError as exc:
        raise ManifestError(f"{where}: {exc}; export the bundle again") from exc
    if manifest.schema_version < 4 and manifest.frame.resize != "stretch":
        raise ManifestError(
            f"{where}: a letterbox needs schema version 4, not {manifest.schema_version}; export it again"
        )
    if manifest.schedule is not None and manifest.schema_version < 5:
        raise ManifestError(f"{where}: a schedule needs schema version 5, not {manifest.schema_version}; tune it again")
    if manifest.head.scores is not msgspec.UNSET and manifest.schema_version < 6:
        raise ManifestError(
            f"{where}: a head that says what its scores are needs schema version 6, not {manifest.schema_version};"
            " export it again"
        )
    return manifest


def _upgrade_to_3(tree: dict[str, Any]) -> None:
    calibration = tree.get("calibration")
    if isinstance(calibration, dict) and "parity_frames" in calibration:
        calibration.setdefault("validation_frames", calibration.pop("parity_frames"))
    variants = tree.get("variants")
    if not isinstance(variants, list) or not all(isinstance(variant, dict) for variant in variants):
        return
    for variant in variants:
        for old, new in _RENAMED_IN_3.items():
            if old in variant and new not in variant:
                variant[new] = variant.pop(old)
    failed = [variant for variant in variants if variant.get("status") == "failed"]
    if failed:
        listed = [{"reason": ""} | {key: each[key] for key in _FAILED_KEYS if key in each} for each in failed]
        tree["variants"] = [variant for variant in variants if variant.get("status") != "failed"]
        before = tree.get("failed", [])
        tree["failed"] = [*before, *listed] if isinstance(before, list) else before
