"""The features of this machine's CPU that matter for int8.

archspec was examined (0.2.7) and not used: it reads the first core only, while the cores of a big.LITTLE board differ;
and arm cores that it does not list, such as the Cortex-A76 and A78, get the features of a generic Armv8, without dot
product and i8mm. Device profiles and the cache of ``runtime="auto"`` use :meth:`CpuInfo.fingerprint` as a key.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

FEATURES: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"),
    "arm64": ("asimd", "asimddp", "i8mm", "sve"),
}
"""Features that decide the speed and exactness of int8, by architecture, under the kernel's names."""

ALIASES: Mapping[str, tuple[str, ...]] = {"vnni": ("avx512_vnni", "avx_vnni"), "dotprod": ("asimddp",)}
"""Features that several flags provide, or that have another common name."""

# (implementer, part) of the main ID register, as in the kernel's arch/arm64/include/asm/cputype.h.
ARM_PARTS: Mapping[tuple[int, int], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuInfo:
    """A CPU.

    Attributes:
        model: The vendor's name; on arm, the core designs and the board.
        architecture: ``x86_64``, ``arm64``, or the kernel's name of another one.
        cores: Logical processors in the machine.
        features: Those of :data:`FEATURES` that every core has.
    """

    model: str
    architecture: str
    cores: int
    features: tuple[str, ...]

    @property
    def has_vnni(self) -> bool:
        """Whether x86 sums int8 products in 32 bits, so that full-range weights are exact."""
        return self.has("vnni")

    @property
    def has_dotprod(self) -> bool:
        """Whether an arm core multiplies four int8 pairs in one instruction."""
        return self.has("dotprod")

    def has(self, feature: str) -> bool:
        """Whether the CPU has a feature of :data:`FEATURES` or :data:`ALIASES`."""
        return any(name in self.features for name in ALIASES.get(feature, (feature,)))

    def fingerprint(self) -> str:
        """16 hex digits that change with any attribute; a key for caches and device profiles."""
        text = "|".join((self.model, self.architecture, str(self.cores), *self.features))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def cpu_features(text: str | None = None, *, machine: str | None = None) -> CpuInfo:
    """Read the CPU's features from the kernel.

    Args:
        text: Contents of ``/proc/cpuinfo``; ``None`` reads the file. Without such a file, no feature is reported.
        machine: Architecture as ``uname -m`` prints it; ``None`` for this machine's.
    """
    text = _cpuinfo() if text is None else text
    architecture = _architecture(machine or platform.machine())
    blocks, cores = _blocks_and_cores(text)
    relevant = FEATURES.get(architecture, ())
    common = _common_flags(cores)
    return CpuInfo(
        model=_model(blocks, cores),
        architecture=architecture,
        cores=len(cores) or os.cpu_count() or 1,
        features=tuple(name for name in relevant if name in common),
    )


def has_any_flag(names: Collection[str], text: str | None = None) -> bool:
    """Whether every core has one of these flags of the kernel, also of those that :data:`FEATURES` does not count.

    Args:
        names: Such as ``avx512_bf16``.
        text: Contents of ``/proc/cpuinfo``; ``None`` reads the file. Without such a file, there are no flags.
    """
    _, cores = _blocks_and_cores(_cpuinfo() if text is None else text)
    return not _common_flags(cores).isdisjoint(names)


def usable_cores() -> int:
    """Number of logical processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_list() -> str:
    """The logical processors that this process may use, as ``taskset -c`` takes them: ``0-3`` or ``2,5``."""
    used = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
    if len(used) > 2 and used[-1] - used[0] == len(used) - 1:
        return f"{used[0]}-{used[-1]}"
    return ",".join(map(str, used))


def _cpuinfo() -> str:
    return CPUINFO.read_text(errors="replace") if CPUINFO.is_file() else ""


def _blocks_and_cores(text: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    blocks = [_fields(block) for block in text.split("\n\n") if block.strip()]
    return blocks, [block for block in blocks if "processor" in block]


def _common_flags(cores: Sequence[Mapping[str, str]]) -> set[str]:
    # Cores may differ, and threads migrate: only features of all cores count.
    flags = [set(f.split()) for core in cores if (f := core.get("flags") or core.get("Features"))]
    return set.intersection(*flags) if flags else set()


def _architecture(machine: str) -> str:
    name = machine.lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(name, name)


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _model(blocks: list[dict[str, str]], cores: list[dict[str, str]]) -> str:
    # On arm, "model name" is at best "ARMv8 Processor rev 1".
    names = [_arm_name(core) or core.get("model name", "") for core in cores]
    board = next((block["Model"] for block in blocks if "Model" in block), "")
    kinds = list(dict.fromkeys(name for name in names if name))
    return ", ".join([*kinds, board] if board else kinds) or "unknown"


def _arm_name(core: Mapping[str, str]) -> str:
    try:
        key = (int(core["CPU implementer"], 16), int(core["CPU part"], 16))
    except (KeyError, ValueError):
        return ""
    return ARM_PARTS.get(key, f"arm core {key[0]:#x}/{key[1]:#x}")
