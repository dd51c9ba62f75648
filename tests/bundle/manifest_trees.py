"""A valid manifest as the tree of its JSON."""

from __future__ import annotations

import json
from typing import Any

from reference_bundle import make_manifest, make_variant

from edge_vseg.bundle.manifest import FileSpec, dumps

SHA = "a" * 64


def tree() -> dict[str, Any]:
    variant = make_variant()
    manifest = make_manifest(variant, files={variant.entry: FileSpec(bytes=3, sha256=SHA)})
    loaded = json.loads(dumps(manifest))
    assert isinstance(loaded, dict)
    return loaded
