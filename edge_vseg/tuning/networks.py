"""The networks of a study: bundles that are there, or exports of one source at several input sizes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import edge_vseg
from edge_vseg.bundle import Bundle, open_bundle, stage_bundle
from edge_vseg.bundle.manifest import loads
from edge_vseg.bundle.reading import MANIFEST_NAME
from edge_vseg.cluster import JobFailure, Workers
from edge_vseg.errors import BundleError, ExportError, OptionError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.tuning.clip import content_sha256
from edge_vseg.types import Size

if TYPE_CHECKING:
    from edge_vseg.bundle.sample_frames import SampleFrames
    from edge_vseg.export import ExportOptions

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizedExport:
    """One export, so that it can run in another process or on another machine.

    Attributes:
        source: As for ``edge-vseg export``.
        options: Of the export, its size included.
        sample: Frames to calibrate and validate on.
        name: Of the bundle.
    """

    source: str
    options: ExportOptions
    sample: SampleFrames
    name: str


def export_networks(
    request: ExportRequest, folder: Path, workers: Workers, progress: Callable[[str], None] = lambda step: None
) -> list[Path]:
    """Export a source at each size; what was exported before from the same files is taken as it is.

    Args:
        request: What to export.
        folder: Gets a bundle for each size.
        workers: Where exports run.
        progress: Called with what is going on.

    Raises:
        ExportError: If the source cannot be read, or no graph could be made.
    """
    names = ["network" if size is None else f"{size[0]}x{size[1]}" for size in request.sizes or (None,)]
    targets = [folder / name / f"{name}.evseg" for name in names]
    inputs = _fingerprints(request)
    missing = [index for index, target in enumerate(targets) if not _is_made(target, inputs[index])]
    if not missing:
        return targets
    sample = request.sample()
    jobs = [
        SizedExport(
            source=request.source,
            options=replace(request.options, size_hw=(request.sizes or (None,))[index]),
            sample=sample,
            name=names[index],
        )
        for index in missing
    ]
    progress(f"exporting {', '.join(names[index] for index in missing)}")
    for number, answer in workers.run(run_export, jobs):
        if isinstance(answer, JobFailure):
            raise ExportError(f"{names[missing[number]]} could not be exported: {answer.message}")
        target = targets[missing[number]]
        make_folder(target.parent)
        _unpack(answer, target)
        write_whole(target.parent / _INPUTS, json.dumps(inputs[missing[number]]).encode())
        progress(f"exported {names[missing[number]]}")
    return targets


def export_inputs(request: ExportRequest) -> tuple[Path, ...]:
    """The files that an export reads. What a factory's file imports from beside it does not travel to a cluster."""
    place = _factory_file(request.source)
    source = () if ":" in request.source and place is None else (place or Path(request.source),)
    weights = () if request.options.weights is None else (request.options.weights,)
    return (*source, *weights)


def run_export(job: SizedExport, files: Callable[[Path], Path]) -> dict[str, bytes]:
    """Export, and give the bundle's files by name; ``files`` gives the path on this machine of what the job names.

    Raises:
        SourceError: If the source cannot be read.
        ExportError: If no graph could be made.
    """
    from edge_vseg.export import export_bundle

    source, place = job.source, _factory_file(job.source)
    if place is not None:
        source = f"{files(place)}:{job.source.rpartition(':')[2]}"
    elif ":" not in source:
        source = str(files(Path(source)))
    weights = job.options.weights
    options = replace(job.options, weights=None if weights is None else files(weights))
    with tempfile.TemporaryDirectory() as scratch:
        exported = export_bundle(source, Path(scratch) / f"{job.name}.evseg", job.sample, options)
        names = [path for path in sorted(exported.path.rglob("*")) if path.is_file()]
        return {path.relative_to(exported.path).as_posix(): path.read_bytes() for path in names}


def _unpack(files: dict[str, bytes], target: Path) -> None:
    """Write a bundle's files, atomically; which names they may have is the manifest's to say."""
    manifest = loads(files.pop(MANIFEST_NAME))
    with stage_bundle(target) as staging:
        for name in manifest.files:  # plain paths inside of the bundle
            place = staging.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[name])
        staging.commit(manifest)


def _factory_file(source: str) -> Path | None:
    """The file of ``file.py:factory``; ``None`` for a module or a model file."""
    place = source.rpartition(":")[0]
    return Path(place) if place.endswith(".py") else None


def _fingerprints(request: ExportRequest) -> list[dict[str, str]]:
    """Everything that the export at each size depends on: files by their contents, which are read once."""
    options = request.options
    files = [*_source_files(request.source), *([options.weights] if options.weights else [])]
    common = {
        "version": edge_vseg.__version__,
        "source": Path(request.source).name,
        "files": hashlib.sha256("".join(content_sha256(path) for path in files).encode()).hexdigest(),
        "frames": hashlib.sha256("".join(content_sha256(Path(each)) for each in request.frames).encode()).hexdigest(),
    }
    return [
        common | {"options": repr(replace(options, size_hw=size, weights=None))} for size in request.sizes or (None,)
    ]


def _source_files(source: str) -> list[Path]:
    """The model file; of a factory, all Python files beside the one that it is in."""
    if not (":" in source and not Path(source).exists()):
        return [Path(source)]
    if (place := _factory_file(source)) is not None:
        return sorted(place.parent.glob("*.py"))
    try:
        found = importlib.util.find_spec(source.rpartition(":")[0])
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
