"""Diagnose this machine: CPU, packages, runtimes, and the pip commands for what is missing."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import sys
from dataclasses import dataclass
from typing import Any, Literal

from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.errors import BackendCrashError, BackendError, BackendMissingError, ProbeTimeoutError
from edge_vseg.runtimes import get_runtime, runtime_names
from edge_vseg.runtimes.cpu import CpuInfo, cpu_features, usable_cores
from edge_vseg.runtimes.probing import FAILURES, ProbeRule

PACKAGES = ("edge-vseg", "numpy", "opencv-python-headless", "av", "msgspec", "packaging", "platformdirs")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeReport:
    """A runtime on this machine.

    Attributes:
        name: Its name.
        status: ``ok``, ``missing`` (not installed) or ``broken`` (installed but unusable).
        version: Distribution and version; empty unless ``ok``.
        providers: Providers or devices of this installation; empty unless ``ok``.
        problem: The problem, and the pip command that fixes it; empty if ``ok``.
    """

    name: str
    status: Literal["ok", "missing", "broken"]
    version: str = ""
    providers: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of ``edge-vseg doctor``.

    Attributes:
        python: Version of Python.
        system: Operating system and its release.
        packages: Versions of the packages that a device needs; ``None`` if missing.
        cpu: The CPU and its features for int8.
        usable_cores: Logical processors that this process may run on.
        runtimes: The runtimes, built-in ones first.
        hints: Problems and recommendations, a sentence each.
    """

    python: str
    system: str
    packages: dict[str, str | None]
    cpu: CpuInfo
    usable_cores: int
    runtimes: tuple[RuntimeReport, ...]
    hints: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Convert to dictionaries, lists, strings and numbers for JSON."""
        tree = dataclasses.asdict(self)
        tree["cpu"] |= {
            "features": list(self.cpu.features),
            "has_vnni": self.cpu.has_vnni,
            "has_dotprod": self.cpu.has_dotprod,
            "fingerprint": self.cpu.fingerprint(),
        }
        tree["runtimes"] = [report | {"providers": list(report["providers"])} for report in tree["runtimes"]]
        tree["hints"] = list(self.hints)
        return tree


def diagnose() -> Diagnosis:
    """Examine the CPU, the packages and the runtimes; every installed backend is loaded, in a process of its own."""
    cpu, cores = cpu_features(), usable_cores()
    reports = tuple(probe_runtime(name) for name in runtime_names())
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        packages={name: _version(name) for name in PACKAGES},
        cpu=cpu,
        usable_cores=cores,
        runtimes=reports,
        hints=tuple(hints(cpu, cores, reports)),
    )


def probe_runtime(name: str) -> RuntimeReport:
    """Check in a child process whether a runtime works on this machine, unless ``EDGE_VSEG_PROBE`` says ``never``.

    A package built for another CPU dies by an illegal instruction when it is loaded.

    Raises:
        OptionError: If there is no runtime of that name.
    """
    rule = ProbeRule.of_environment()
    if rule.when == "never" or not sys.executable:
        return report_runtime(name)
    with ChildProcess("the process that loaded it", ProcessLimits(seconds=rule.seconds), FAILURES) as child:
        try:
            return child.call(report_runtime, name)
        except (BackendCrashError, ProbeTimeoutError) as exc:
            advice = "its package may be built for another CPU; install another version or runtime"
            return RuntimeReport(name=name, status="broken", problem=f"{name}: {exc}; {advice}")


def report_runtime(name: str) -> RuntimeReport:
    """Check whether a runtime works on this machine.

    Raises:
        OptionError: If there is no runtime of that name.
    """
    try:
        runtime = get_runtime(name)
        return RuntimeReport(name=name, status="ok", version=runtime.version(), providers=runtime.providers())
    except BackendMissingError as exc:
        return RuntimeReport(name=name, status="missing", problem=str(exc))
    except BackendError as exc:
        return RuntimeReport(name=name, status="broken", problem=str(exc))


def hints(cpu: CpuInfo, cores: int, reports: tuple[RuntimeReport, ...]) -> list[str]:
    """Problems and recommendations for this machine, a sentence each, most urgent first."""
    sentences = [report.problem for report in reports if report.status == "broken"]
    if not any(report.status == "ok" for report in reports if report.name != "reference"):
        extra = "onnxruntime" if cpu.architecture in ("x86_64", "arm64") else "litert"
        sentences.append(f"no inference runtime is installed: pip install 'edge-vseg[{extra}]'")
    match cpu.architecture:
        case "x86_64" if not cpu.has("avx2"):
            sentences.append("the CPU has no AVX2: int8 is likely slower than float here")
        case "x86_64" if not cpu.has_vnni:
            sentences.append(
                "the CPU has no VNNI: ONNX Runtime uses the int8 variant with reduced weight range (x86_64-avx2),"
                " and int8 gains less over float"
            )
        case "arm64" if not cpu.has_dotprod:
            sentences.append("the CPU has no dot product instructions (asimddp): int8 gains less over float")
        case "x86_64" | "arm64":
            pass
        case other:
            sentences.append(f"{other} is not among the tested architectures (x86_64, arm64)")
    if cores < cpu.cores:
        sentences.append(f"this process may use {cores} of {cpu.cores} processors: give threads no more than {cores}")
    if sys.maxsize < 2**32:
        sentences.append("this Python is 32-bit, for which most runtimes have no packages: use a 64-bit system")
    return sentences


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
