"""A third party's runtime whose graphs are text files that say what happens: fine, abort, segfault, hang, grow."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from reference_bundle import make_variant, write_bundle
from retouch import rehash

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import Variant, dumps

PLUGIN = """
import ctypes, os, time
import numpy as np

class DriverError(RuntimeError):
    pass

class Session:
    provider = "cpu"
    def __init__(self, path, spec):
        self.what, self.spec = path.read_text().split(), spec
        self.do("open")
    def do(self, when):
        if self.what[0] != when:
            return
        match self.what[1]:
            case "abort":
                os.write(2, b"F0000 kernel.cc:7] Check failed: rank == 4\\n")
                os.abort()
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(10_000)
            case "raise":
                raise RuntimeError("the driver is gone")
            case "raise-own":
                raise DriverError("the driver is gone")
            case "raise-interrupt":
                raise KeyboardInterrupt
            case "grow":
                held = []
                while True:
                    held.append(b"x" * 50_000_000)
                    time.sleep(0.01)
    def run(self, inputs):
        self.do("run")
        return {out.name: np.zeros(out.shape, out.dtype) for out in self.spec.outputs}
    def close(self):
        self.do("close")

class Plugin:
    name, extra = "deadly", ""
    def version(self):
        return "deadly 1"
    def providers(self):
        with contextlib.suppress(FileNotFoundError):
            os.abort() if FLAG.exists() else None
        return ("cpu",)
    def open(self, path, spec, options):
        return Session(path, spec)
"""


@contextlib.contextmanager
def deadly_runtime(site: Path) -> Iterator[None]:
    """Install it in a folder on the path, which children see, too."""
    info = site / "plugin_deadly-1.0.dist-info"
    info.mkdir(parents=True)
    head = f"import contextlib, pathlib\nFLAG = pathlib.Path({str(site / 'dies-when-loaded')!r})\n"
    (site / "plugin_deadly.py").write_text(head + PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin_deadly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_vseg.runtimes]\ndeadly = plugin_deadly:Plugin\n")
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        sys.modules.pop("plugin_deadly", None)


def write_deadly_bundle(target: Path, *graphs: str) -> Path:
    """A bundle of one good variant of the numpy runtime, and one of the deadly runtime for each text."""
    made = {make_variant(f"deadly/{text.replace(' ', '-')}", runtime="deadly"): text.encode() for text in graphs}
    return add_variants(write_bundle(target), made)


def add_variants(bundle: Path, graphs: Mapping[Variant, bytes]) -> Path:
    """Add variants of one file each to a finished bundle."""
    manifest = open_bundle(bundle).manifest
    for variant, data in graphs.items():
        (bundle / variant.entry).parent.mkdir(parents=True)
        (bundle / variant.entry).write_bytes(data)
    files = manifest.files | {variant.entry: next(iter(manifest.files.values())) for variant in graphs}
    changed = replace(manifest, variants=(*manifest.variants, *graphs), files=files)
    (bundle / "manifest.json").write_bytes(dumps(changed))
    rehash(bundle)
    return bundle


def picture() -> np.ndarray:
    return np.zeros((48, 64, 3), np.uint8)
