"""Find installed backend packages without loading them, and load them by name."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from types import ModuleType

from packaging.version import InvalidVersion, Version

from edge_vseg.errors import BackendMissingError, BackendVersionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed distribution, such as ``onnxruntime-gpu`` 1.22.0."""

    name: str
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """The version's numbers: ``(1, 22, 0)`` for ``1.22.0rc1``; empty if it is unknown."""
        try:
            return Version(self.version).release
        except InvalidVersion:
            return ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_package(module: str, distributions: tuple[str, ...]) -> Package | None:
    """Find the distribution that provides a module; ``None`` if there is no such module.

    Args:
        module: Top-level module, such as ``onnxruntime``.
        distributions: Distributions that may provide it, likeliest first.
    """
    if importlib.util.find_spec(module) is None:
        return None
    for name in distributions:
        try:
            return Package(name=name, version=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
    # Built from source without package metadata, as some board vendors do.
    return Package(name=module, version="unknown")


def require_package(module: str, distributions: tuple[str, ...], *, runtime: str, extra: str) -> Package:
    """Like :func:`find_package`, but the package must be installed.

    Raises:
        BackendMissingError: If the module is not installed.
    """
    package = find_package(module, distributions)
    if package is None:
        raise BackendMissingError(
            f"runtime {runtime!r} needs {distributions[0]}, which is not installed: pip install 'edge-vseg[{extra}]'"
        )
    return package


def load_module(name: str, package: Package) -> ModuleType:
    """Import a backend's module.

    Raises:
        BackendVersionError: If it is installed but its import fails.
    """
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise BackendVersionError(
            f"{package} is installed but cannot be imported: {exc};"
            f" reinstall it, or install a version for this system: pip install --force-reinstall {package.name}"
        ) from exc
