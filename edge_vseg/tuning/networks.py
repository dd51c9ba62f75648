"""The networks of a study: bundles that are there, or exports of one source at several input sizes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import edge_vseg
from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.errors import BundleError, OptionError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.tuning.clip import content_sha256
from edge_vseg.types import Size

if TYPE_CHECKING:
    from edge_vseg.bundle.sample_frames import SampleFrames
    from edge_vseg.export import ExportOptions

log = logging.getLogger(__name__)
_INPUTS = "inputs.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportRequest:
    """What to export, at which sizes.

    Attributes:
        source: As for ``edge-vseg export``.
        options: Of the export; the size is left out.
        sizes: Input sizes; empty for the network's own.
        frames: Sample videos and folders, for the fingerprint.
        sample: Draws the frames to calibrate and validate on; called only if something is exported.
    """

    source: str
    options: ExportOptions
    sizes: tuple[Size, ...]
    frames: tuple[str, ...]
    sample: Callable[[], SampleFrames]


def is_bundle(source: str) -> bool:
    """Whether a source is the folder of a bundle."""
    return (Path(source) / "manifest.json").is_file()


def open_networks(folders: Sequence[Path]) -> dict[str, Bundle]:
    """Bundles by name, the largest input first.

    Raises:
        BundleError: If one cannot be read.
        OptionError: If two have the same name, or their classes differ.
    """
    opened = [open_bundle(folder) for folder in folders]
    for bundle in opened:
        if [label.name for label in bundle.manifest.labels] != [label.name for label in opened[0].manifest.labels]:
            raise OptionError(f"{opened[0].root} and {bundle.root} have different classes and cannot be compared")
    opened.sort(key=lambda bundle: -bundle.manifest.frame.size_hw[0] * bundle.manifest.frame.size_hw[1])
    networks = {bundle.root.absolute().name.removesuffix(".evseg"): bundle for bundle in opened}
    if len(networks) < len(opened):
        raise OptionError("two of the bundles have the same name; rename one")
    return networks


def network_sha256(bundle: Bundle) -> str:
    """A hash of what a bundle computes: its graphs, classes and rules for frames. Reports are no part of it."""
    manifest = bundle.manifest
    used = sorted({name for variant in manifest.variants for name in variant.files})
    parts = [
        {name: manifest.files[name].sha256 for name in used},
        msgspec.to_builtins((manifest.labels, manifest.frame, manifest.head)),
        [(variant.id, variant.entry) for variant in manifest.variants],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def export_networks(request: ExportRequest, folder: Path, progress: Callable[[str], None]) -> list[Path]:
    """Export a source at each size; what was exported before from the same files is taken as it is.

    Args:
        request: What to export.
        folder: Gets a bundle for each size.
        progress: Called with the name of each step.

    Raises:
        SourceError: If the source cannot be read.
        ExportError: If no graph could be made.
    """
    made: list[Path] = []
    sample: SampleFrames | None = None
    for size in request.sizes or (None,):
        name = "network" if size is None else f"{size[0]}x{size[1]}"
        inputs = _fingerprint(request, size)
        target = folder / name / f"{name}.evseg"
        if not _is_made(target, inputs):
            from edge_vseg.export import export_bundle

            sample = sample or request.sample()
            make_folder(target.parent)
            options = replace(request.options, size_hw=size)
            export_bundle(
                request.source,
                target,
                sample,
                options,
                lambda step, name=name: progress(f"exporting {name}: {step}"),  # type: ignore[misc]
                work_dir=target.parent / "work",
            )
            write_whole(target.parent / _INPUTS, json.dumps(inputs).encode())
        made.append(target)
    return made


def _fingerprint(request: ExportRequest, size: Size | None) -> dict[str, str]:
    """Everything that an export depends on: files by their contents."""
    options = request.options
    files = [*_source_files(request.source), *([options.weights] if options.weights else [])]
    return {
        "version": edge_vseg.__version__,
        "source": request.source,
        "files": hashlib.sha256("".join(content_sha256(path) for path in files).encode()).hexdigest(),
        "frames": hashlib.sha256("".join(content_sha256(Path(each)) for each in request.frames).encode()).hexdigest(),
        "options": repr(replace(options, size_hw=size)),
    }


def _source_files(source: str) -> list[Path]:
    """The model file; of a factory, all Python files beside the one that it is in."""
    if not (":" in source and not Path(source).exists()):
        return [Path(source)]
    place = source.rpartition(":")[0]
    if place.endswith(".py"):
        return sorted(Path(place).parent.glob("*.py"))
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        found = None
    origin = None if found is None else found.origin
    return [] if origin is None else sorted(Path(origin).parent.glob("*.py"))


def _is_made(target: Path, inputs: dict[str, str]) -> bool:
    try:
        same = json.loads((target.parent / _INPUTS).read_bytes()) == inputs
        return same and bool(open_bundle(target).manifest.variants)
    except (OSError, ValueError, BundleError):
        return False
