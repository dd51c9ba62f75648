"""Run the device half's tests on 64-bit Arm: emulated on x86-64, as they are on an Arm machine.

    python tools/arm64.py                           # label maps on each CPU, then the device half's tests on one
    python tools/arm64.py labels --cpus cortex-a72  # label maps only, on one CPU
    python tools/arm64.py tests -- -k manifest      # the device half's tests; the rest goes to pytest
    python tools/arm64.py reference                 # only this machine's label maps, to be carried to a board

``make test-arm64`` runs the first. On x86-64 it needs the environment of ``make test``, for the export; on an Arm
machine only Python, and the folder ``.arm64/reference`` of an x86-64 one for the label maps. They are made once; remove
the folder to make them again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ON_ARM = platform.machine() in ("aarch64", "arm64")
LABEL_TESTS = ("tests/arm64",)
DEVICE_TESTS = (
    "tests/bundle",
    "tests/imaging",
    "tests/motion",
    "tests/navigation",
    "tests/runtimes",
    "tests/test_files.py",
    "tests/test_segmenter.py",
    "tests/test_signals.py",
)
NEED_A_WORKSTATION = (
    "tests/motion/test_occlusion.py",
    "tests/motion/test_optical_flow.py",
    "tests/motion/test_warp.py",
)
"""They compare with torch or ONNX's reference, which no device has."""
TOO_SLOW_EMULATED = ("tests/bundle/test_bundle_writing.py::test_killed_at_any_moment",)
"""It starts Python until five bundles are finished within 80 ms each: a hundred times."""
PYTEST_OPTIONS = ("-p", "no:cacheprovider", "--hypothesis-profile=slow-machine")
TESTED_ON = "cortex-a76"
"""The emulated CPU that runs more than label maps: the newest of a small board."""


def main() -> int:
    """Make what is missing, run the tests, print a table of the label maps."""
    options, for_pytest = parse(sys.argv[1:])
    root = options.root.resolve()
    reference, figures = root / "reference", root / "figures.jsonl"
    if not ON_ARM and options.what != "tests" and not reference.is_dir():
        run("export and label maps on this machine", [sys.executable, "tests/arm64/write_reference.py", reference])
    if options.what == "reference":
        return 0
    interpreters = native(root) if ON_ARM else emulated(root, options.cpus, options.mirror)
    figures.unlink(missing_ok=True)
    settings = {"EDGE_VSEG_FIGURES": str(figures)}
    if reference.is_dir():
        settings["EDGE_VSEG_REFERENCE_LABELS"] = str(reference)
    failures = 0
    if options.what != "tests":
        failures += sum(test(LABEL_TESTS, name, each, settings, for_pytest) for name, each in interpreters.items())
    if options.what != "labels":
        name = TESTED_ON if TESTED_ON in interpreters else next(iter(interpreters))
        left_out = [f"--ignore={path}" for path in NEED_A_WORKSTATION]
        left_out += [] if ON_ARM else [f"--deselect={each}" for each in TOO_SLOW_EMULATED]
        failures += test(DEVICE_TESTS, name, interpreters[name], settings, [*left_out, *for_pytest])
    if figures.is_file():
        print_figures([json.loads(line) for line in figures.read_text().splitlines()])
    return 1 if failures else 0


def parse(given: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the arguments into ours and pytest's."""
    at = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("all", "labels", "tests", "reference"), default="all")
    parser.add_argument("--root", type=Path, default=PROJECT / ".arm64", help="folder for all that is made")
    parser.add_argument("--cpus", nargs="+", default=[], help="CPUs to emulate; all by default")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian", help="mirror of Debian")
    return parser.parse_args(given[:at]), list(given[at + 1 :])


def emulated(root: Path, names: Sequence[str], mirror: str) -> dict[str, Path]:
    """An interpreter for each emulated CPU."""
    # What it imports is in the environment of `make test`, which an Arm machine need not have.
    from arm64_machine import CPUS, MachineError, install_cpu, make_machine

    unknown = sorted(set(names) - set(CPUS))
    if unknown:
        sys.exit(f"no CPU {', '.join(unknown)}; known: {', '.join(CPUS)}")
    try:
        machine = make_machine(root / "machine", mirror)
        return {name: install_cpu(machine, CPUS[name]) for name in names or CPUS}
    except MachineError as exc:
        sys.exit(f"cannot emulate an Arm machine: {exc}")


def native(root: Path) -> dict[str, Path]:
    """This Arm machine's own, in an environment with what a device installs."""
    python = root / "venv/bin/python"
    if not python.is_file():
        run("environment", [sys.executable, "-m", "venv", root / "venv"])
    project = f"{PROJECT}[onnxruntime,openvino,litert,serve,mcap]"
    install = [python, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", project]
    run("packages", [*install, "pytest", "hypothesis"])
    return {platform.machine(): python}


def test(tests: Sequence[str], name: str, python: Path, settings: dict[str, str], more: Sequence[str]) -> int:
    """Run tests on a CPU; 1 if some failed."""
    command = [python, "-m", "pytest", "-q", *PYTEST_OPTIONS, *tests, *more]
    # A cache of measurements is a machine's own.
    own = {"XDG_CACHE_HOME": str(python.parent / f"cache-{name}"), "EDGE_VSEG_CPU": name, "PYTHONPATH": str(PROJECT)}
    return bool(call(f"{', '.join(tests)} on {name}", command, settings | own))


def run(title: str, command: Sequence[object]) -> None:
    """Run a step that the next ones need."""
    if status := call(title, command, {"PYTHONPATH": str(PROJECT)}):
        sys.exit(f"{title} failed, exit status {status}")


def call(title: str, command: Sequence[object], settings: dict[str, str]) -> int:
    """Run a command in the project, with its title and duration on standard output."""
    print(f"== {title}", flush=True)
    start = time.monotonic()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **settings}
    done = subprocess.run([str(part) for part in command], cwd=PROJECT, env=environment, check=False)
    print(f"== {time.monotonic() - start:.0f} s", flush=True)
    return done.returncode


def print_figures(rows: Sequence[dict[str, object]]) -> None:
    """Print what the label tests noted, as a table in Markdown."""
    print("| CPU | variant | policy | equal pixels | worst frame | as float | as float on x86 |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        shares = [row.get(name) for name in ("equal", "worst", "as_float", "as_float_there")]
        cells = ["" if share is None else f"{share:.2%}" for share in shares]
        cells[0] = cells[0] or str(row.get("reason", ""))
        print("|", " | ".join([str(row["cpu"]), str(row["variant"]), str(row.get("policy", "")), *cells]), "|")


if __name__ == "__main__":
    sys.exit(main())
