"""Open a bundle, and check its files against the manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge_vseg.bundle import manifest as manifest_module
from edge_vseg.bundle.manifest import Manifest, Variant
from edge_vseg.bundle.outside_bytes import outside_references
from edge_vseg.errors import BundleFileError, BundleNotFoundError
from edge_vseg.input_files import open_regular, read_regular

MANIFEST_NAME = "manifest.json"
SIGNATURES_NAME = "signatures.json"
"""Signatures over the manifest; the only file that the manifest does not list."""
# A validation frame at the input size, and the float graph's labels on it; `verify` compares with them.
CHECK_FRAME, CHECK_LABELS = "check/frame.png", "check/labels.png"
_NETWORK_SUFFIXES = (".onnx", ".tflite", ".xml", ".pt", ".pth", ".safetensors")
_LFS_MARK = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An opened bundle.

    Attributes:
        root: Its directory.
        manifest: Its checked manifest.
        sha256: Hash of ``manifest.json``, which contains the hashes of all other files: it identifies the bundle.

    Example:
        >>> from edge_vseg import open_bundle
        >>> bundle = open_bundle("street.evseg")
        >>> [variant.runtime for variant in bundle.manifest.variants]
        ['onnxruntime']
        >>> bundle.file(bundle.manifest.variants[0].entry).suffix
        '.onnx'
    """

    root: Path
    manifest: Manifest
    sha256: str

    def file(self, relative: str) -> Path:
        """Check a file's hash, and return its path.

        Raises:
            BundleFileError: If it is not listed, missing, outside the bundle, or its hash differs.
        """
        spec = self.manifest.files.get(relative)
        if spec is None:
            raise BundleFileError(f"{relative!r} is not a file of bundle {self.root}; `edge-vseg inspect` lists them")
        path = _inside(self.root, relative)
        if file_sha256(path) != spec.sha256:
            raise BundleFileError(
                f"{path} is not the file that the bundle was written with (SHA-256 differs);"
                " copy the bundle again or export it again"
            )
        return path

    def entry(self, variant: Variant) -> Path:
        """Check all files of a variant, and return the one that the runtime opens.

        Raises:
            BundleFileError: As :meth:`file`, or if a runtime would read more than these files.
        """
        for relative in variant.files:
            path = self.file(relative)
            for more in _outside_references(path):
                if str(PurePosixPath(relative).parent / more) not in variant.files:
                    raise BundleFileError(
                        f"{path} makes a runtime read {more!r}, which is not among the files of {variant.id!r}, so that"
                        " no hash covers it; remove that file, or export the bundle again"
                    )
        return self.root / variant.entry


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle: check the manifest and the presence and size of every file. Hashes are checked on use.

    Args:
        path: The bundle's directory, usually ``NAME.evseg``.

    Raises:
        BundleNotFoundError: If there is no bundle.
        ManifestError: If the manifest is malformed or contradicts itself.
        SchemaVersionError: If this edge_vseg does not read its schema version.
        BundleFileError: If a file is missing, has another size, or lies outside the bundle.

    Example:
        >>> from edge_vseg import open_bundle
        >>> bundle = open_bundle("street.evseg")
        >>> [label.name for label in bundle.manifest.labels][:3]
        ['sky', 'building', 'pole']
        >>> bundle.manifest.frame.size_hw
        (192, 256)
    """
    root = Path(path)
    manifest_path = root / MANIFEST_NAME
    if not _exists(root):
        raise BundleNotFoundError(
            f"no bundle at {root}; make one with `edge-vseg export MODEL -o {root.name} --frames VIDEO`"
        )
    if not root.is_dir():
        advice = "check the path"
        if root.suffix.lower() in _NETWORK_SUFFIXES:
            advice = f"make one with `edge-vseg export {root} -o {root.stem}.evseg --frames VIDEO`"
        raise BundleNotFoundError(f"{root} is a file; expected a bundle, a directory with {MANIFEST_NAME}; {advice}")
    try:
        data = read_regular(manifest_path)
    except FileNotFoundError as exc:
        raise BundleNotFoundError(f"{root} is not a bundle: it has no {MANIFEST_NAME}; check the path") from exc
    except OSError as exc:
        raise BundleFileError(f"{manifest_path} cannot be read: {exc.strerror}; check its permissions") from exc
    if data.startswith(_LFS_MARK):
        raise BundleFileError(f"{manifest_path} is a Git LFS pointer, not the file itself; run `git lfs pull`")
    manifest = manifest_module.loads(data, where=str(manifest_path))
    for relative, spec in manifest.files.items():
        file = _inside(root, relative)
        if not file.is_file():
            raise BundleFileError(f"{file} is missing; copy the whole bundle again")
        size = file.stat().st_size
        if size != spec.bytes:
            raise BundleFileError(
                f"{file} has {size} bytes, the manifest says {spec.bytes}; copy the bundle again{_lfs_hint(file)}"
            )
    return Bundle(root=root, manifest=manifest, sha256=hashlib.sha256(data).hexdigest())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as exc:
        raise BundleFileError(f"{path} cannot be read: {exc.strerror}; copy the bundle again") from exc
    return digest.hexdigest()


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    try:
        outside = not path.resolve().is_relative_to(root.resolve())
        path.is_file()
    except (OSError, RuntimeError) as exc:  # circular links, names too long for the file system
        raise BundleFileError(f"{path} cannot be resolved: {exc}; copy the bundle again") from exc
    if outside:
        raise BundleFileError(
            f"{path} points outside the bundle; export the bundle again, or replace the link by the file"
        )
    return path


def _outside_references(path: Path) -> tuple[str, ...]:
    try:
        return outside_references(path)
    except OSError as exc:
        raise BundleFileError(f"{path} cannot be read: {exc.strerror}; copy the bundle again") from exc


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def _lfs_hint(path: Path) -> str:
    try:
        with open_regular(path) as stream:
            is_pointer = stream.read(64).startswith(_LFS_MARK)
    except OSError:
        return ""
    return " (it is a Git LFS pointer: run `git lfs pull`)" if is_pointer else ""
