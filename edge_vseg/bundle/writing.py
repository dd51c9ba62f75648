"""Write a bundle atomically: at every moment its path has the complete old bundle or the complete new one.

It is staged beside the target in ``.NAME.XXXXXXXX.partial``, which is locked while its process lives: a second writer
is refused, and what a killed one left is removed by the next.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import manifest as manifest_module
from edge_vseg.bundle.manifest import FileSpec, Manifest
from edge_vseg.bundle.reading import MANIFEST_NAME, SIGNATURES_NAME, file_sha256
from edge_vseg.errors import BundleWriteError, EdgeVsegError
from edge_vseg.files import DISK_ERRORS, cannot_write, lock, remove_leftovers, settle
from edge_vseg.input_files import read_regular, strict_json

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_PATIENCE_S = 5.0


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
            self.root.chmod(0o755)  # it was made for us alone
            for path in sorted(self.root.rglob("*"), reverse=True):
                _fsync(path)
            _fsync(self.root)
            _check_replaceable(self.target)
            if self.target.is_dir():
                exchange(self.root, self.target)
            else:
                self.root.rename(self.target)
        except OSError as exc:
            needed = sum(spec.bytes for spec in manifest.files.values())
            raise self.failed(exc, needed=needed) from exc
        settle(self.target)

    def failed(self, exc: OSError, *, needed: int | None = None) -> BundleWriteError:
        """The error for a file of the bundle that cannot be written.

        Args:
            exc: What the system said.
            needed: Bytes of the whole bundle, if they are known.
        """
        return BundleWriteError(f"{cannot_write(self.target, exc, needed=needed)} with -o; no bundle was changed")


@contextmanager
def stage_bundle(target: str | Path) -> Iterator[Staging]:
    """Stage a bundle beside ``target``; without a commit it is removed at the end.

    Raises:
        BundleWriteError: If another process is writing the same bundle, or a staged file cannot be written; and see
            :func:`check_target`.
    """
    final = _check_replaceable(target)
    root = final.with_name(f".{final.name}.{secrets.token_hex(4)}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(final.parent):
            _tidy(final)
            root.mkdir(mode=0o700)
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock(descriptor)
    except OSError as exc:
        with suppress(OSError):
            root.rmdir()
        raise BundleWriteError(f"cannot write beside {final}: {exc.strerror}; choose another place with -o") from exc
    staging = Staging(root=root, target=final)
    try:
        yield staging
    except OSError as exc:
        ours = exc.filename is None or str(exc.filename2 or exc.filename).startswith(f"{root}/")
        if isinstance(exc, EdgeVsegError) or exc.errno not in DISK_ERRORS or not ours:
            raise
        raise staging.failed(exc) from exc
    finally:
        # After a commit, this is the replaced bundle, or does not exist.
        shutil.rmtree(root, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other writers of bundles from starting in a folder at the same moment, if it can be locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + _PATIENCE_S
        while lock(descriptor) == "taken" and time.monotonic() < until:
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _tidy(target: Path) -> None:
    """Remove what killed processes left, and put back a bundle that one of them had put aside.

    Raises:
        BundleWriteError: If a living process is writing the same bundle.
    """
    if living := remove_leftovers(target):
        raise BundleWriteError(
            f"{target} is being written by another process, in {living[0].name}; wait until it is done, or choose"
            " another path with -o"
        )
    aside = _aside(target)
    if not os.path.lexists(target) and _listed_files(aside) is not None:
        aside.rename(target)
    elif os.path.lexists(target):
        shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def check_target(target: str | Path) -> Path:
    """Check that a bundle may be written to a path; call it before long work.

    New paths, empty folders and bundles may be replaced. Files, other folders, and bundles with added files may not.

    Returns:
        The path to write to, with symbolic links resolved.

    Raises:
        BundleWriteError: If the path must not be replaced, or another process is writing a bundle there.
    """
    path = _check_replaceable(target)
    if path.parent.is_dir():
        with suppress(OSError):  # the folder may not be ours to change, which shows when the bundle is staged
            _tidy(path)
    return path


def _check_replaceable(target: str | Path) -> Path:
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
        if (p.is_symlink() or not p.is_dir())
        and p.relative_to(path).as_posix() not in listed | {MANIFEST_NAME, SIGNATURES_NAME}
    )
    if foreign:
        raise BundleWriteError(
            f"{path} contains files that are not part of the bundle ({', '.join(foreign[:3])}); move them away first"
        )
    return path


def _listed_files(path: Path) -> set[str] | None:
    """Files listed in the folder's manifest; lenient, since an old or damaged bundle may be replaced."""
    try:
        tree = strict_json(read_regular(path / MANIFEST_NAME))
    except (OSError, ValueError):
        return None
    if not isinstance(tree, dict) or "schema_version" not in tree or not isinstance(tree.get("files"), dict):
        return None
    return set(tree["files"])


def exchange(staged: Path, target: Path) -> None:
    """Put a staged entry in the target's place, by one system call, or by renames where the system has no such call.

    What was there lies at ``staged`` afterwards, or after renames is removed.
    """
    if exchange_at_once(staged, target):
        return
    aside = _aside(target)
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    try:
        staged.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def exchange_at_once(staged: Path, target: Path) -> bool:
    """Swap two entries of one file system by one system call; ``False`` where there is no such call.

    Raises:
        BundleWriteError: If the system refuses; nothing was changed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(staged), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise BundleWriteError(f"cannot replace {target}: {os.strerror(code)}; it is unchanged")
    return False


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
