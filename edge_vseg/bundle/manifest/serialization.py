"""Reading and writing a manifest strictly."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from edge_vseg.bundle.manifest.document import Manifest
from edge_vseg.errors import ManifestError, SchemaVersionError

SCHEMA_VERSION = 3
READABLE = (1, 2, 3)
"""Version 2 added slices and tiles; version 3 renamed keys and lists failed variants apart."""
_RENAMED_IN_3 = {"region": "tile", "unregioned": "untiled", "bytes": "graph_bytes"}
"""Keys of a variant in version 2, and what they are called since."""
_FAILED_KEYS = ("id", "runtime", "precision", "target", "reason")


def dumps(manifest: Manifest) -> bytes:
    """The manifest as JSON: UTF-8, indented, keys in a fixed order, newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def loads(data: bytes, *, where: str = "manifest.json") -> Manifest:
    """Read a manifest strictly.

    Args:
        data: The bytes of ``manifest.json``.
        where: How messages call the file.

    Raises:
        SchemaVersionError: If the schema version is not one of :data:`READABLE`.
        ManifestError: If it is not JSON, repeats a key, holds NaN or infinity, or does not fit the schema.
    """
    try:
        tree = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as exc:
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
        return msgspec.convert(tree, Manifest, strict=True)
    except msgspec.ValidationError as exc:
        raise ManifestError(f"{where}: {exc}; export the bundle again") from exc


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
        tree["variants"] = [variant for variant in variants if variant not in failed]
        tree["failed"] = [*tree.get("failed", ()), *listed]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} appears twice")
        tree[key] = value
    return tree


def _no_constants(text: str) -> Any:
    raise ValueError(f"{text} is not allowed")


def _finite(text: str) -> float:
    # 1e999 is good JSON, and infinity once read.
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
