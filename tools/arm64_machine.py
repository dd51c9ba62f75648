"""A 64-bit Arm machine in a folder: Debian's Python and the arm64 wheels of what a device installs, run by QEMU.

Nothing is installed into the system and no administrator is needed: packages are only unpacked. A folder is made beside
its place and renamed when it is complete, and made again when Debian's packages, the requirements or
``constraints.txt`` change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1]
CONSTRAINTS = PROJECT / "constraints.txt"
EXTRAS = ("onnxruntime", "openvino", "litert", "serve", "mcap")
TEST_PACKAGES = ("pytest", "hypothesis")
DEBIAN = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEBIAN_PACKAGES = ("python3.11", "libstdc++6")
PYTHON_VERSION = "3.11"
SITE = "usr/lib/python3/dist-packages"
"""Where Debian's Python looks by itself: tests start others with a PYTHONPATH of their own."""
PLATFORMS = (
    "manylinux2014_aarch64",
    *(f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 26, 27, 28, 31, 34, 35, 36)),
)
"""Wheels that run on the Debian above, which has glibc 2.36."""
NEEDED = {
    "qemu-aarch64-static": "sudo apt install qemu-user-static",
    "apt-get": "a Debian or a descendant of it",
    "dpkg-deb": "sudo apt install dpkg",
    "tar": "sudo apt install tar",
}
KEY = "made-of.sha256"


class MachineError(RuntimeError):
    """The machine cannot be made here; the message says what is missing and the command that brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """A CPU that QEMU emulates.

    Attributes:
        name: Its name here.
        board: A machine that has it.
        qemu: QEMU's name for it.
        part: Variant and part of the main ID register.
        features: What the kernel reports of it.
    """

    name: str
    board: str
    qemu: str
    part: tuple[int, int]
    features: str

    def cpuinfo(self, cores: int) -> str:
        """``/proc/cpuinfo`` as an Arm kernel writes it."""
        variant, part = self.part
        lines = (f"Features\t: {self.features}", "CPU implementer\t: 0x41", "CPU architecture: 8")
        ids = (f"CPU variant\t: {variant:#x}", f"CPU part\t: {part:#x}", "CPU revision\t: 1")
        return "".join("\n".join((f"processor\t: {core}", *lines, *ids)) + "\n\n" for core in range(cores))


ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu(
            name="cortex-a72",
            board="Raspberry Pi 4",
            qemu="cortex-a72",
            part=(0, 0xD08),
            features="fp asimd evtstrm crc32 cpuid",
        ),
        Cpu(name="cortex-a76", board="Raspberry Pi 5", qemu="cortex-a76", part=(4, 0xD0B), features=ARMV8_2),
        Cpu(
            name="neoverse-v2",
            board="NVIDIA Grace",
            # Without SME, which it lacks and QEMU's largest CPU has; vectors of 128 bits, as it has.
            qemu="max,sme=off,sve128=on",
            part=(0, 0xD4F),
            features=f"{ARMV8_2} jscvt fcma sha3 sha512 sve asimdfhm ilrcpc flagm sb paca pacg dcpodp sve2 i8mm bf16",
        ),
    )
}


def make_machine(root: Path, mirror: str) -> Path:
    """Make the machine if it is not there, or made of something else.

    Args:
        root: Its folder.
        mirror: Where Debian's packages are.

    Returns:
        ``root``, resolved.

    Raises:
        MachineError: If something is missing here; nothing is left half-made.
    """
    root = root.resolve()
    requirements = device_requirements()
    key = _key(requirements)
    if (root / KEY).is_file() and (root / KEY).read_text() == key:
        return root
    for name, remedy in NEEDED.items():
        if shutil.which(name) is None:
            raise MachineError(f"{name} is not on this machine: {remedy}")
    partial = root.with_name(f"{root.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        unpack_debian(partial, mirror)
        unpack_wheels(partial / SITE, requirements)
        register_project(partial / SITE)
        (partial / KEY).write_text(key)
        if root.exists():
            shutil.rmtree(root)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def device_requirements() -> list[str]:
    """What the device half and its tests need, as ``pyproject.toml`` says."""
    chosen = []
    for line in metadata.requires("edge-vseg") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in EXTRAS):
            requirement.marker = None
            chosen.append(str(requirement))
    return [*chosen, *TEST_PACKAGES]


def unpack_debian(root: Path, mirror: str) -> None:
    """Fetch and unpack Debian's Python for arm64 and all that it depends on."""
    if not KEYRING.is_file():
        raise MachineError(f"{KEYRING} is not on this machine: sudo apt install debian-archive-keyring")
    apt = root / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {DEBIAN} main\n")
    (apt / "apt.conf").write_text(_apt_settings(apt))
    for command in (("update", "--error-on=any"), ("install", "--yes", "--download-only", *DEBIAN_PACKAGES)):
        _run(
            ["apt-get", *command],
            f"apt-get {command[0]} of Debian's arm64 packages failed; it needs {mirror}, or another one in --mirror",
            {"APT_CONFIG": str(apt / "apt.conf")},
        )
    for name in ("lib", "bin", "sbin"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
            _run(
                ["tar", "-x", "--keep-directory-symlink", "-C", root], f"{package.name} is damaged", stdin=files.stdout
            )
    shutil.rmtree(apt)


def unpack_wheels(site: Path, requirements: Iterable[str]) -> None:
    """Fetch and unpack the wheels for the Debian above, in the versions of ``constraints.txt``."""
    tags = [f"--python-version={PYTHON_VERSION}", "--implementation=cp", "--only-binary=:all:"]
    tags += [f"--platform={name}" for name in PLATFORMS]
    tags += [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", site, *tags, "-c", CONSTRAINTS, *requirements],
        "pip found no arm64 wheel for one of these packages, or no package index",
    )


def register_project(site: Path) -> None:
    """Let Python know edge-vseg's version, as an editable install does."""
    project = metadata.distribution("edge-vseg")
    folder = site / f"edge_vseg-{project.version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(project.read_text("METADATA") or "")


def install_cpu(root: Path, cpu: Cpu) -> Path:
    """Give the machine a CPU.

    QEMU shows programs the files below its prefix in place of the host's. So the CPU's own ``/proc/cpuinfo`` stands
    there: onnxruntime crashes on that of an x86 host, and edge_vseg would see none of the CPU's features.

    Returns:
        A Python that runs on that CPU. It is a script, so that tests can start it as ``sys.executable`` without the
        kernel knowing how to run Arm programs.
    """
    prefix = root / "cpus" / cpu.name
    cores = len(os.sched_getaffinity(0))
    variant, part = cpu.part
    (prefix / "proc").mkdir(parents=True, exist_ok=True)
    (prefix / "proc/cpuinfo").write_text(cpu.cpuinfo(cores))
    for core in range(cores):
        registers = prefix / f"sys/devices/system/cpu/cpu{core}/regs/identification"
        registers.mkdir(parents=True, exist_ok=True)
        (registers / "midr_el1").write_text(f"{0x41 << 24 | variant << 20 | 0xF << 16 | part << 4 | 1:#018x}\n")
    for name in ("usr", "lib", "bin", "sbin", "etc"):
        if not (prefix / name).is_symlink():
            (prefix / name).symlink_to(f"../../{name}")
    qemu = shutil.which("qemu-aarch64-static")
    if qemu is None:
        raise MachineError(f"qemu-aarch64-static is not on this machine: {NEEDED['qemu-aarch64-static']}")
    # Beside the real one, so that Python finds its library from the name it is started by.
    python = root / "usr/bin" / f"python-{cpu.name}"
    python.write_text(
        f'#!/bin/sh\nexec "{qemu}" -cpu {cpu.qemu} -L "{prefix}" -0 "{python}" "{root}/usr/bin/python3.11" "$@"\n'
    )
    python.chmod(0o755)
    return python


def _key(requirements: Iterable[str]) -> str:
    parts = (
        DEBIAN,
        *DEBIAN_PACKAGES,
        SITE,
        *PLATFORMS,
        metadata.version("edge-vseg"),
        *requirements,
        CONSTRAINTS.read_text(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _apt_settings(folder: Path) -> str:
    """Settings that make apt an arm64 one with its own lists, which leaves the system's alone."""
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
    }
    return "".join(f'{name} "{value}";\n' for name, value in settings.items())


def _run(
    command: Sequence[object],
    problem: str,
    environment: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(environment or {})},
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise MachineError(f"{problem}:\n{last}")
