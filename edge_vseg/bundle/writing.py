"""Write a bundle atomically: at every moment its path has the complete old bundle or the complete new one."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import manifest as manifest_module
from edge_vseg.bundle.manifest import FileSpec, Manifest
from edge_vseg.bundle.reading import MANIFEST_NAME, file_sha256
from edge_vseg.errors import BundleWriteError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A bundle being written beside its target."""

    root: Path
    target: Path

    def list_files(self) -> dict[str, FileSpec]:
        """Size and hash of all staged files except the manifest, sorted by path."""
        paths = sorted(p for p in self.root.rglob("*") if p.is_file())
        names = [(p, p.relative_to(self.root).as_posix()) for p in paths]
        return {n: FileSpec(bytes=p.stat().st_size, sha256=file_sha256(p)) for p, n in names if n != MANIFEST_NAME}

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest, flush everything to disk, and move the bundle to the target in one step.

        Raises:
            BundleWriteError: If the disk is full or fails; the target is then unchanged.
            ManifestError: If the manifest cannot be read back.
        """
        data = manifest_module.dumps(manifest)
        manifest_module.loads(data)
        try:
            (self.root / MANIFEST_NAME).write_bytes(data)
            self.root.chmod(0o755)  # mkdtemp makes it 0700
            for path in sorted(self.root.rglob("*"), reverse=True):
                _fsync(path)
            _fsync(self.root)
            check_target(self.target)
            if self.target.is_dir():
                _exchange(self.root, self.target)
            else:
                self.root.rename(self.target)
            _fsync(self.target.parent)
        except OSError as exc:
            raise BundleWriteError(
                f"cannot write {self.target}: {exc.strerror}; free space or choose another -o"
            ) from exc


@contextmanager
def stage_bundle(target: str | Path) -> Iterator[Staging]:
    """Stage a bundle beside ``target``; without a commit it is removed at the end.

    Raises:
        BundleWriteError: See :func:`check_target`.
    """
    final = check_target(target)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        root = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".partial", dir=final.parent))
    except OSError as exc:
        raise BundleWriteError(f"cannot write beside {final}: {exc.strerror}; choose another place with -o") from exc
    try:
        yield Staging(root=root, target=final)
    finally:
        # After a commit, this is the replaced bundle, or does not exist.
        shutil.rmtree(root, ignore_errors=True)


def check_target(target: str | Path) -> Path:
    """Check that a bundle may be written to a path; call it before long work.

    New paths, empty folders and bundles may be replaced. Files, other folders, and bundles with added files may not.

    Returns:
        The path to write to, with symbolic links resolved.

    Raises:
        BundleWriteError: If the path must not be replaced.
    """
    path = Path(target).absolute()
    path = path.resolve() if path.exists() else path
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return path
    if not path.is_dir():
        raise BundleWriteError(
            f"{path} is a file and is not replaced; give a new directory name, such as {path.name}.evseg"
        )
    listed = _listed_files(path)
    if listed is None:
        raise BundleWriteError(f"{path} is a folder but not a bundle, and is not replaced; choose another path with -o")
    foreign = sorted(
        p.relative_to(path).as_posix()
        for p in path.rglob("*")
        if (p.is_symlink() or not p.is_dir()) and p.relative_to(path).as_posix() not in listed | {MANIFEST_NAME}
    )
    if foreign:
        raise BundleWriteError(
            f"{path} contains files that are not part of the bundle ({', '.join(foreign[:3])}); move them away first"
        )
    return path


def _listed_files(path: Path) -> set[str] | None:
    """Files listed in the folder's manifest; lenient, since an old or damaged bundle may be replaced."""
    try:
        tree = json.loads((path / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(tree, dict) or "schema_version" not in tree or not isinstance(tree.get("files"), dict):
        return None
    return set(tree["files"])


def _exchange(staged: Path, target: Path) -> None:
    """Swap two directories by one system call, or by renames where the system has no such call."""
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is not None:
        if renameat2(_AT_FDCWD, os.fsencode(staged), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise BundleWriteError(f"cannot replace {target}: {os.strerror(code)}; it is unchanged")
    aside = target.with_name(f".{target.name}.replaced")
    # Left by a process that was killed after the swap: its bundle is at `target`.
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    staged.rename(target)
    aside.rename(staged)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
