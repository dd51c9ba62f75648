"""Variants that take as long as they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_network import variant

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Manifest, Variant
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.selection.auto import Choice, choose_variant

# A third party's runtime on a clock of its own: its graph file holds the milliseconds that a run takes.
PACED = """
from edge_vseg.errors import SessionError

now = 0
opened = []
VERSION = "1"

class Session:
    provider = "cpu"
    def __init__(self, path, spec):
        self.path, self.spec, self.ms = path, spec, float(path.read_text())
        opened.append(path.parent.name)
    def run(self, inputs):
        global now
        assert list(inputs) == [self.spec.input.name]
        if self.ms < 0:
            raise SessionError("the graph fell over")
        now += int(self.ms * 1e6)
        return {}
    def close(self):
        opened.append("-" + self.path.parent.name)

class Plugin:
    name, extra = "paced", ""
    def version(self):
        return "paced " + VERSION
    def providers(self):
        return ("cpu",)
    def open(self, path, spec, options):
        return Session(path, spec)
"""

BUNDLE_HASH = "a" * 64


def pace(root: Path, variant_id: str, ms: float, **more: object) -> Variant:
    """A variant of the paced runtime, written to disk."""
    folder = root / variant_id
    folder.mkdir(parents=True)
    made = variant(variant_id, "paced", **more)
    (root / made.entry).write_text(str(ms))
    return made


def choose(paced: Any, bundle: Manifest, root: Path, **more: Any) -> Choice:
    arguments: dict[str, Any] = {"options": SessionOptions(), "clock": lambda: paced.now, "rounds": 3} | more
    sha256 = arguments.pop("bundle_hash", BUNDLE_HASH)
    return choose_variant(Bundle(root=root, manifest=bundle, sha256=sha256), **arguments)
