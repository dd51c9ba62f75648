"""The texts are written after the format of the kernel's show_cpuinfo, cut to the lines that are read."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edge_vseg.runtimes.cpu import CpuInfo, cpu_features, usable_cores

ARM_V8_0 = "fp asimd evtstrm crc32 cpuid"
ARM_V8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def x86(flags: str, model: str = "Example CPU @ 2.00GHz", cores: int = 2) -> str:
    core = "processor\t: {}\nvendor_id\t: Example\nmodel name\t: {}\nflags\t\t: fpu sse2 {}\npower management:\n"
    return "\n".join(core.format(n, model, flags) for n in range(cores)) + "\n"


def arm(cores: list[tuple[str, str, str]], tail: str = "", name: str = "") -> str:
    blocks = [
        f"processor\t: {n}\n{name}BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: {implementer}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
        for n, (implementer, part, features) in enumerate(cores)
    ]
    return "\n".join([*blocks, tail])


PI_4 = arm(
    [("0x41", "0xd08", ARM_V8_0)] * 4,
    "Hardware\t: BCM2835\nRevision\t: c03114\nSerial\t\t: 0\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
)
PI_5 = arm([("0x41", "0xd0b", ARM_V8_2)] * 4, "Revision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n")
ORIN = arm([("0x41", "0xd42", ARM_V8_2)] * 6, name="model name\t: ARMv8 Processor rev 1 (v8l)\n")
BIG_LITTLE = arm([("0x41", "0xd46", ARM_V8_2 + " sve i8mm")] * 2 + [("0x41", "0xd0b", ARM_V8_2)] * 2)

CASES = [
    pytest.param(
        x86("avx avx2 avx512f avx512_vnni amx_tile amx_int8"),
        "x86_64",
        ("avx2", "avx512f", "avx512_vnni", "amx_int8"),
        "Example CPU @ 2.00GHz",
        2,
        id="server",
    ),
    pytest.param(x86("avx avx2 avx_vnni"), "AMD64", ("avx2", "avx_vnni"), "Example CPU @ 2.00GHz", 2, id="mini-pc"),
    pytest.param(x86("avx avx2", "Old CPU", 4), "x86_64", ("avx2",), "Old CPU", 4, id="avx2-only"),
    pytest.param(x86("ssse3 sse4_1"), "x86_64", (), "Example CPU @ 2.00GHz", 2, id="atom"),
    pytest.param(PI_4, "aarch64", ("asimd",), "Cortex-A72, Raspberry Pi 4 Model B Rev 1.4", 4, id="pi4"),
    pytest.param(PI_5, "aarch64", ("asimd", "asimddp"), "Cortex-A76, Raspberry Pi 5 Model B Rev 1.0", 4, id="pi5"),
    pytest.param(ORIN, "aarch64", ("asimd", "asimddp"), "Cortex-A78AE", 6, id="orin"),
    pytest.param(BIG_LITTLE, "aarch64", ("asimd", "asimddp"), "Cortex-A510, Cortex-A76", 4, id="weakest-core-counts"),
    pytest.param(arm([("0x99", "0x123", ARM_V8_0)]), "arm64", ("asimd",), "arm core 0x99/0x123", 1, id="unknown-arm"),
    pytest.param("processor\t: 0\nhart\t: 0\nisa\t: rv64imafdc\n", "riscv64", (), "unknown", 1, id="riscv"),
    pytest.param(x86("avx2 avx_vnni"), "aarch64", (), "Example CPU @ 2.00GHz", 2, id="emulated-arm-on-x86"),
]


@pytest.mark.parametrize(("text", "machine", "features", "model", "cores"), CASES)
def test_cpuinfo(text: str, machine: str, features: tuple[str, ...], model: str, cores: int) -> None:
    cpu = cpu_features(text, machine=machine)
    assert (cpu.features, cpu.model, cpu.cores) == (features, model, cores)


def test_architecture_names_are_those_of_targets() -> None:
    names = {m: cpu_features("", machine=m).architecture for m in ("x86_64", "AMD64", "aarch64", "arm64", "armv7l")}
    assert names == {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "armv7l"}


@pytest.mark.parametrize(
    ("features", "vnni", "dotprod"),
    [
        (("avx2",), False, False),
        (("avx512_vnni",), True, False),
        (("avx_vnni",), True, False),
        (("asimddp",), False, True),
    ],
)
def test_feature_aliases(features: tuple[str, ...], vnni: bool, dotprod: bool) -> None:
    cpu = CpuInfo(model="", architecture="x86_64", cores=1, features=features)
    assert (cpu.has_vnni, cpu.has_dotprod) == (vnni, dotprod)
    assert (cpu.has("vnni"), cpu.has("dotprod")) == (vnni, dotprod)
    assert cpu.has(features[0])
    assert not cpu.has("sve")


def test_fingerprint_depends_on_everything_and_on_nothing_else() -> None:
    texts = [x86("avx2"), x86("avx2 avx_vnni"), x86("avx2", "Other"), x86("avx2", cores=3)]
    prints = [cpu_features(text, machine="x86_64").fingerprint() for text in texts]
    assert len(set(prints)) == len(texts)
    assert cpu_features(x86("avx2"), machine="AMD64").fingerprint() == prints[0]


def test_without_cpuinfo_no_feature_is_reported() -> None:
    cpu = cpu_features("", machine="x86_64")
    assert cpu.features == ()
    assert cpu.model == "unknown"
    assert cpu.cores >= 1


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="no /proc/cpuinfo")
def test_this_machine() -> None:
    cpu = cpu_features()
    words = Path("/proc/cpuinfo").read_text().split()
    assert all(feature in words for feature in cpu.features)
    assert 1 <= usable_cores() <= cpu.cores
    assert cpu.architecture in (platform.machine(), "x86_64", "arm64")
