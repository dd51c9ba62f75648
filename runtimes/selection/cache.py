"""The file in which ``runtime="auto"`` remembers the fastest variants."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import platformdirs

from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import OutputError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.input_files import others_may_write, read_regular, strict_json
from edge_vseg.runtimes.cpu import CpuInfo, usable_cores
from edge_vseg.runtimes.installed_versions import installed_versions
from edge_vseg.runtimes.port import SessionOptions

logger = logging.getLogger(__name__)

SCHEMA = 1
MAX_ENTRIES = 64
MAX_DEATHS = 3
"""A variant that killed so many processes that timed it, or kept them too long, is not tried again."""


class CachedTiming(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A variant's median milliseconds, or the reason why it has none.

    ``deaths`` is how often the process that timed it died or was late, one time after the other: a kill for want of
    memory, or a start beside everything else at boot, may be gone the next time.
    """

    variant_id: str
    median_ms: float | None
    reason: str = ""
    deaths: int = 0


class CachedChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chosen variant, and the measurements behind the choice."""

    variant_id: str
    table: tuple[CachedTiming, ...]

    @property
    def deaths(self) -> dict[str, int]:
        """Deaths of the variants that died, by id."""
        return {row.variant_id: row.deaths for row in self.table if row.deaths}


class _CacheFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: int
    entries: dict[str, CachedChoice]


def default_cache_path() -> Path | None:
    """``edge_vseg/auto.json`` in the user's cache folder; ``None`` for a user without a home."""
    try:
        folder = platformdirs.user_cache_path("edge_vseg", appauthor=False)
    except RuntimeError:
        return None
    return folder / "auto.json" if folder.is_absolute() else None


def cache_key(
    bundle_hash: str,
    variants: Sequence[Variant],
    options: SessionOptions,
    precision: str | None,
    cpu: CpuInfo,
) -> str:
    """A digest of everything that affects which variant is fastest."""
    facts = {
        "bundle": bundle_hash,
        "precision": precision,
        "threads": options.threads,
        "provider": options.provider,
        "provider_options": sorted(options.provider_options.items()),
        "usable_cores": usable_cores(),
        "cpu": cpu.fingerprint(),
        "edge_vseg": _own_version(),
        "runtimes": installed_versions(variants),
    }
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def read_choice(path: Path, key: str) -> CachedChoice | None:
    """The choice stored under a key; a damaged file is logged and treated as empty."""
    return _read(path).get(key)


def write_choice(path: Path, key: str, choice: CachedChoice) -> None:
    """Store a choice, and drop the oldest entries beyond :data:`MAX_ENTRIES`.

    The file is replaced atomically. If two processes write at once, one loses its entry and measures again next time. A
    file that cannot be written is only logged.
    """
    entries = {k: v for k, v in _read(path).items() if k != key} | {key: choice}
    newest = dict(list(entries.items())[-MAX_ENTRIES:])
    data = msgspec.json.encode(_CacheFile(schema=SCHEMA, entries=newest))
    try:
        make_folder(path.parent, mode=0o700)
        if path.is_symlink() or path.is_fifo():  # which would be written through, or wait for a reader
            path.unlink(missing_ok=True)
        write_whole(path, data, mode=0o600)
    except (OutputError, OSError) as exc:
        logger.warning("the choice of a variant cannot be stored: %s", exc)


def _read(path: Path) -> dict[str, CachedChoice]:
    if not _is_private(path):
        logger.warning("%s is a link, or of another account, so variants are timed again", path)
        return {}
    try:
        cache = msgspec.convert(strict_json(read_regular(path)), _CacheFile)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, msgspec.ValidationError) as exc:
        logger.warning("%s is unreadable, so variants are timed again: %s", path, exc)
        return {}
    return cache.entries if cache.schema == SCHEMA else {}


def _is_private(path: Path) -> bool:
    """Whether nobody else can have written a file: in a shared folder others choose what runs. A missing one is."""
    if path.is_symlink():
        return False
    try:
        return not others_may_write(path)
    except OSError:
        return True


def _own_version() -> str:
    try:
        return importlib.metadata.version("edge-vseg")
    except importlib.metadata.PackageNotFoundError:  # run from a source checkout
        return "unknown"
