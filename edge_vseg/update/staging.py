"""Bring a release into a folder of our own, and check it there, before anything of it is opened."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle import manifest as manifest_module
from edge_vseg.bundle.manifest import FileSpec, Manifest
from edge_vseg.bundle.reading import MANIFEST_NAME, SIGNATURES_NAME, file_sha256
from edge_vseg.errors import DownloadError, SignatureError, UpdateError
from edge_vseg.files import write_whole
from edge_vseg.trust.envelope import encode_envelope
from edge_vseg.trust.release import Release
from edge_vseg.update.sources import ReleaseSource, TransferLimits

MAX_MANIFEST_BYTES = 16 << 20
SPARE_BYTES = 16 << 20
"""Disk space that is left free."""


def stage_release(source: ReleaseSource, release: Release, folder: Path, limits: TransferLimits) -> Bundle:
    """Fetch a release whose signature has been verified; files that are there and right are kept.

    Args:
        source: Has its files.
        release: What was signed.
        folder: Where it goes: new, or of an earlier attempt at the same release.
        limits: What the transfer may take.

    Returns:
        The bundle in the folder, every file checked against its hash, without any other file, and flushed to disk.

    Raises:
        DownloadError: If a file is not the one that was signed, or does not come.
        SignatureError: If the manifest is of another bundle than the signature says.
        UpdateError: If the disk has too little space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _fetch_manifest(source, release, folder)
    needed = sum(spec.bytes for spec in manifest.files.values())
    if needed > limits.max_bytes:
        raise UpdateError(f"{source.where} has {needed} bytes, and {limits.max_bytes} are allowed; see --max-bytes")
    missing = needed - sum(_size(folder / relative) for relative in manifest.files)
    free = shutil.disk_usage(folder).free
    if missing + SPARE_BYTES > free:
        raise UpdateError(f"{source.where} needs {missing} more bytes, and {free} are free at {folder}; free some")
    for relative, spec in manifest.files.items():
        _fetch_file(source, relative, spec, folder / relative)
    write_whole(folder / SIGNATURES_NAME, encode_envelope(source.envelope))
    remove_unlisted(folder, manifest)
    flush_tree(folder)
    return open_bundle(folder)


def remove_unlisted(folder: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not list: nothing checks those bytes."""
    listed = {MANIFEST_NAME, SIGNATURES_NAME, *manifest.files}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in listed:
            path.unlink()


def flush_tree(folder: Path) -> None:
    """Let every account read a folder, whatever the umask, and have the disk write it: it outlives a loss of power."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o755 if path.is_dir() else 0o644)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _fetch_manifest(source: ReleaseSource, release: Release, folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    if not path.is_file() or file_sha256(path) != release.sha256:
        path.unlink(missing_ok=True)
        source.fetch(MANIFEST_NAME, path, MAX_MANIFEST_BYTES)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != release.sha256:
        path.unlink()
        raise DownloadError(
            f"{source.where}: {MANIFEST_NAME} is not the one that was signed; perhaps a new release is being put there:"
            " try again"
        )
    manifest = manifest_module.loads(data, where=f"{MANIFEST_NAME} of {source.where}")
    if manifest.name != release.name:
        raise SignatureError(f"{source.where}: the signature is of {release.name!r}, the bundle is {manifest.name!r}")
    if {MANIFEST_NAME, SIGNATURES_NAME} & set(manifest.files):
        raise SignatureError(f"{source.where}: the manifest lists itself or {SIGNATURES_NAME}; export the bundle again")
    return manifest


def _fetch_file(source: ReleaseSource, relative: str, spec: FileSpec, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and _size(target) >= spec.bytes:  # an empty one may not be there yet
        if file_sha256(target) == spec.sha256:
            return
        target.unlink()
    kept = _size(target)
    source.fetch(relative, target, spec.bytes)
    if kept and file_sha256(target) != spec.sha256:
        # What an earlier attempt left may be of another file.
        target.unlink()
        source.fetch(relative, target, spec.bytes)
    if _size(target) < spec.bytes:
        raise DownloadError(f"{source.where}: {_size(target)} of {spec.bytes} bytes of {relative} came; try again")
    if file_sha256(target) != spec.sha256:
        target.unlink()
        raise DownloadError(f"{source.where}: {relative} is not the file that was signed; put the bundle there again")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
