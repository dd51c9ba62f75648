from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from edge_vseg.errors import OptionError
from edge_vseg.runtimes import runtime_names
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.doctor import RuntimeReport, diagnose, hints, report_runtime

GOOD = RuntimeReport(name="onnxruntime", status="ok", version="onnxruntime 1.22.0", providers=("cpu",))
ABSENT = RuntimeReport(name="openvino", status="missing", problem="pip install 'edge-vseg[openvino]'")
BROKEN = RuntimeReport(name="tflite", status="broken", problem="tflite-runtime 2.14.0 does not work with numpy 2.0")
REFERENCE = RuntimeReport(name="reference", status="ok", version="numpy 2.0", providers=("cpu",))


def cpu(architecture: str, *features: str) -> CpuInfo:
    return CpuInfo(model="", architecture=architecture, cores=4, features=features)


def test_this_machine_as_plain_data() -> None:
    diagnosis = diagnose()
    tree = diagnosis.as_dict()
    assert json.loads(json.dumps(tree)) == tree
    assert [r["name"] for r in tree["runtimes"]] == list(runtime_names())
    assert tree["cpu"]["fingerprint"] == diagnosis.cpu.fingerprint()
    assert tree["packages"]["numpy"][0].isdigit()
    for report in tree["runtimes"]:
        assert bool(report["providers"]) == (report["status"] == "ok")
        assert bool(report["problem"]) == (report["status"] != "ok")


def test_reference_always_works() -> None:
    report = report_runtime("reference")
    assert (report.status, report.providers) == ("ok", ("cpu",))


def test_unknown_runtime() -> None:
    with pytest.raises(OptionError, match="known runtimes"):
        report_runtime("abacus")


def test_machine_without_any_runtime() -> None:
    code = (
        "import json, sys\n"
        "for name in ('onnxruntime', 'openvino', 'ai_edge_litert', 'tflite_runtime'): sys.modules[name] = None\n"
        "from edge_vseg.runtimes.doctor import diagnose\n"
        "print(json.dumps(diagnose().as_dict()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tree = json.loads(done.stdout)
    reports = {r["name"]: r for r in tree["runtimes"]}
    for name, extra in (("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("tflite", "litert")):
        assert reports[name]["status"] == "missing"
        assert f"pip install 'edge-vseg[{extra}]'" in reports[name]["problem"]
    assert any(hint.startswith("no inference runtime is installed") for hint in tree["hints"])


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        pytest.param(cpu("x86_64"), "no AVX2", id="no-avx2"),
        pytest.param(cpu("x86_64", "avx2"), "no VNNI: .*reduced weight range", id="no-vnni"),
        pytest.param(cpu("arm64", "asimd"), r"\(asimddp\): int8 gains less", id="no-dotprod"),
        pytest.param(cpu("riscv64"), "riscv64 is not among the tested", id="riscv"),
    ],
)
def test_hint_about_the_cpu(machine: CpuInfo, words: str) -> None:
    (hint,) = hints(machine, 4, (GOOD, ABSENT, REFERENCE))
    assert re.search(words, hint)


@pytest.mark.parametrize("machine", [cpu("x86_64", "avx2", "avx_vnni"), cpu("arm64", "asimd", "asimddp")])
def test_no_hints_for_a_good_machine(machine: CpuInfo) -> None:
    assert hints(machine, 4, (GOOD, ABSENT, REFERENCE)) == []


def test_broken_runtime_comes_first() -> None:
    found = hints(cpu("x86_64", "avx2"), 2, (GOOD, BROKEN, REFERENCE))
    assert found[0] == BROKEN.problem
    assert found[-1] == "this process may use 2 of 4 processors: give threads no more than 2"


def test_the_reference_runtime_alone_is_not_enough() -> None:
    found = hints(cpu("x86_64", "avx2", "avx_vnni"), 4, (ABSENT, REFERENCE))
    assert found == ["no inference runtime is installed: pip install 'edge-vseg[onnxruntime]'"]
