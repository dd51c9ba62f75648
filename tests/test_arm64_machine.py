"""The tool that makes an emulated Arm machine, without making one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edge_vseg.runtimes.cpu import cpu_features

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(PROJECT / "tools"))
    import arm64_machine

    return arm64_machine


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("name", "model", "dotprod", "i8mm"),
    [
        ("cortex-a72", "Cortex-A72", False, False),
        ("cortex-a76", "Cortex-A76", True, False),
        ("neoverse-v2", "Neoverse-V2", True, True),
    ],
)
def test_a_cpu_is_seen_as_itself(name: str, model: str, dotprod: bool, i8mm: bool, tool: object) -> None:
    cpu = cpu_features(tool.CPUS[name].cpuinfo(4), machine="aarch64")
    assert (cpu.model, cpu.architecture, cpu.cores) == (model, "arm64", 4)
    assert (cpu.has("asimd"), cpu.has_dotprod, cpu.has("i8mm")) == (True, dotprod, i8mm)


def test_a_device_has_no_workstation_packages(tool: object) -> None:
    names = {line.split(">")[0].split("<")[0].split("[")[0] for line in tool.device_requirements()}
    assert names >= {"numpy", "onnxruntime", "openvino", "ai-edge-litert", "pytest"}
    assert not names & {"torch", "onnx", "litert-torch", "tflite-runtime", "cyclonedds"}


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ((), "qemu-user-static"),
        (("qemu-aarch64-static",), "apt-get is not"),
        (("qemu-aarch64-static", "apt-get"), "dpkg"),
    ],
)
def test_what_is_missing_is_named(
    there: tuple[str, ...], missing: str, tool: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in there:
        program(tmp_path / "bin", name, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(tool.MachineError, match=missing):
        tool.make_machine(tmp_path / "machine", "http://localhost/debian")
    assert not (tmp_path / "machine").exists()


def test_nothing_is_left_half_made(tool: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tool.NEEDED:
        program(tmp_path / "bin", name, "echo no route to host >&2; exit 100")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(tool, "KEYRING", Path(__file__))
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "old").touch()
    with pytest.raises(tool.MachineError, match=r"(?s)--mirror.*no route to host"):
        tool.make_machine(tmp_path / "machine", "http://localhost/debian")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "machine"]
    assert (tmp_path / "machine" / "old").exists(), "the older machine stays"


def test_a_machine_is_made_once(tool: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name in tool.NEEDED:
        program(tmp_path / "bin", name, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(tool, "unpack_debian", lambda root, _mirror: made.append(root))
    monkeypatch.setattr(tool, "unpack_wheels", lambda *_: None)
    for _ in range(2):
        tool.make_machine(tmp_path / "machine", "")
    assert len(made) == 1
    monkeypatch.setattr(tool, "DEBIAN", "another")
    tool.make_machine(tmp_path / "machine", "")
    assert len(made) == 2


def test_the_interpreter_is_a_program_that_tests_can_start(
    tool: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "qemu-aarch64-static", 'for word in "$@"; do echo "$word"; done')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    root = tmp_path / "a machine"
    (root / "usr/bin").mkdir(parents=True)
    python = tool.install_cpu(root, tool.CPUS["cortex-a72"])
    words = subprocess.run([python, "-c", "1 + 1"], capture_output=True, text=True, check=True).stdout.splitlines()
    prefix = Path(words[words.index("-L") + 1])
    assert words[words.index("-cpu") + 1] == "cortex-a72"
    assert words[words.index("-0") + 1] == str(python), "or sys.executable would not be a program of this machine"
    assert words[-2:] == ["-c", "1 + 1"]
    assert cpu_features((prefix / "proc/cpuinfo").read_text(), machine="aarch64").model == "Cortex-A72"
    assert (prefix / "usr").resolve() == root / "usr"
    identification = (prefix / "sys/devices/system/cpu/cpu0/regs/identification/midr_el1").read_text()
    assert int(identification, 16) == 0x410FD081


@pytest.mark.skipif(platform.machine() == "aarch64", reason="an Arm machine emulates none")
def test_an_unknown_cpu_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "tools/arm64.py", "tests", "--cpus", "m68k"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no CPU m68k; known: cortex-a72" in done.stderr
