"""What the package shows to the outside: names, imports, and files that are nobody's business."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from reference_bundle import make_manifest, make_variant

import edge_vseg
from edge_vseg.bundle import stage_bundle
from edge_vseg.bundle.manifest import FrameSpec, HeadSpec, TensorSpec

PROJECT = Path(__file__).resolve().parents[1]
LINKED = ("calibration", "export", "runtimes")
HEAVY = {"torch", "onnx", "litert_torch", "ai_edge_quantizer", "pydantic", "tensorflow", "scipy", "pandas"}
LIGHT = {"cv2", "msgspec", "numpy", "packaging", "platformdirs", "typing_extensions"}


def test_public_names() -> None:
    assert edge_vseg.__all__ == [
        "IGNORE_ID",
        "Bundle",
        "Deadline",
        "EdgeVsegError",
        "Fleet",
        "Frame",
        "OpenOptions",
        "Pipeline",
        "PipelineOptions",
        "Result",
        "Segmenter",
        "StaleError",
        "VideoWriter",
        "open_bundle",
        "open_source",
    ]
    assert [name for name in edge_vseg.__all__ if not hasattr(edge_vseg, name)] == []


def python(code: str, *arguments: object) -> Any:
    """Run code in a fresh interpreter; it prints JSON."""
    shown = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_import_loads_nothing_heavy() -> None:
    loaded = set(python("from edge_vseg import *; import json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "numpy" in loaded
    lazy = {"av", "typer", "rich", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime"}
    assert loaded & (HEAVY | lazy) == set()
    # What this interpreter loads for itself (plugins of the environment) is not ours.
    bare = set(python("import json, sys; print(json.dumps(sorted(sys.modules)))"))
    packages = {name.partition(".")[0] for name in loaded - bare} - {"edge_vseg"} - sys.stdlib_module_names
    assert packages <= LIGHT, "each package more delays the first frame"
    assert not {name for name in loaded if name.startswith(("edge_vseg.export", "edge_vseg.calibration"))}


OPEN_AND_SEGMENT = """
import json, sys
import numpy as np
from edge_vseg import Segmenter
with Segmenter.open(sys.argv[1], runtime=sys.argv[2]) as segmenter:
    height, width = segmenter.bundle.manifest.frame.size_hw
    shape = segmenter(np.zeros((height, width, 3), np.uint8)).labels.shape
    assert shape == (height, width)
print(json.dumps(sorted(sys.modules)))
"""


def test_opening_a_reference_bundle_loads_nothing_heavy(reference_bundle: Path) -> None:
    loaded = set(python(OPEN_AND_SEGMENT, reference_bundle, "reference"))
    assert loaded & (HEAVY | {"av", "onnxruntime", "openvino", "ai_edge_litert"}) == set()


@pytest.mark.parametrize(
    ("runtime", "package", "suffixes"),
    [
        ("onnxruntime", "onnxruntime", (".onnx",)),
        ("openvino", "openvino", (".xml", ".bin")),
        ("tflite", "ai_edge_litert", (".tflite",)),
    ],
)
def test_opening_a_bundle_loads_its_runtime_alone(
    runtime: str, package: str, suffixes: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip(package)
    files = tuple(f"{runtime}/float/tiny{suffix}" for suffix in suffixes)
    variant = make_variant(
        f"{runtime}/float",
        runtime=runtime,
        entry=files[0],
        files=files,
        input=TensorSpec(name="frame", shape=(1, 24, 32, 3), dtype="uint8", layout="NHWC"),
        output=TensorSpec(name="scores", shape=(1, 3, 12, 16), dtype="float32", layout="NCHW"),
    )
    with stage_bundle(tmp_path / "tiny.evseg") as staging:
        for file in files:
            (staging.root / file).parent.mkdir(parents=True, exist_ok=True)
            (staging.root / file).write_bytes((PROJECT / "tests/assets" / Path(file).name).read_bytes())
        base = make_manifest(frame=FrameSpec(size_hw=(24, 32)), head=HeadSpec(kind="scores", size_hw=(12, 16)))
        staging.commit(replace(base, variants=(variant,), files=staging.list_files()))
    loaded = set(python(OPEN_AND_SEGMENT, tmp_path / "tiny.evseg", runtime))
    assert package in loaded
    others = {"onnxruntime", "openvino", "ai_edge_litert"} - {package}
    assert loaded & (HEAVY | others | {"av"}) == set()


WORKSTATION = ("torch", "onnx", "matplotlib", "jinja2", "litert_torch", "ai_edge_quantizer", "edge_vseg.export")

OPEN_ON_A_DEVICE = """
import json, sys
import edge_vseg.cli.app, edge_vseg.cli.calibrate, edge_vseg.cli.profile, edge_vseg.cli.run, edge_vseg.cli.verify
import edge_vseg.analysis.profiling.profiler, edge_vseg.analysis.verification
import edge_vseg.calibration.device.device_calibration
from edge_vseg import Segmenter, open_source
from edge_vseg.scheduling.policies import Deadline
with Segmenter.open(sys.argv[1], policy=Deadline(milliseconds=50), threads=1) as segmenter:
    with open_source(sys.argv[2]) as frames:
        sources = [segmenter(frame).source for frame in frames]
assert len(sources) == 36
print(json.dumps(sorted(sys.modules)))
"""


def test_a_device_loads_nothing_of_the_workstation(
    sliced_bundle: Path, drive_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that a robot uses, in one interpreter: the commands, and a policy on a video."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    loaded = python(OPEN_ON_A_DEVICE, sliced_bundle, drive_video)
    assert "edge_vseg.scheduling.engine" in loaded
    assert [name for name in loaded if name.startswith(tuple(f"{each}." for each in WORKSTATION))] == []
    assert set(loaded) & set(WORKSTATION) == set()


@pytest.mark.parametrize("name", LINKED)
def test_links(name: str) -> None:
    link = PROJECT / "edge_vseg" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert (PROJECT / name / "__init__.py").is_file()
    module = __import__(f"edge_vseg.{name}", fromlist=["__file__"])
    assert Path(module.__file__).resolve() == PROJECT / name / "__init__.py"


def project_files() -> Iterator[Path]:
    """Everything that people wrote: no caches, environments, build products or hidden folders of tools."""
    made = {"__pycache__", "build", "dist", "site", "out", "node_modules"}
    for folder, folders, names in os.walk(PROJECT):
        kept = [f for f in folders if f not in made and not f.endswith((".egg-info", ".evseg"))]
        folders[:] = [f for f in kept if not f.startswith(".") or f in (".ci", ".github")]
        folders[:] = [f for f in folders if not (Path(folder) / f / "pyvenv.cfg").exists()]
        for name in names:
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink() and name != ".git":  # a file in a git worktree
                yield path


def sources() -> list[Path]:
    return sorted(path for path in project_files() if path.suffix == ".py")


def test_the_scan_sees_the_code() -> None:
    seen = {path.relative_to(PROJECT).as_posix() for path in sources()}
    assert {"edge_vseg/segmenter.py", "export/float_graph.py", "runtimes/port.py", "tests/test_surface.py"} <= seen
    assert not any(name.startswith(".") for name in seen)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("import_module", "importorskip"):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


@pytest.mark.parametrize(
    "code", ["import export", "from runtimes.port import Session", "importlib.import_module('calibration.sample')"]
)
def test_the_search_finds_an_import(code: str) -> None:
    assert [name for name in imported(ast.parse(code)) if name.split(".")[0] in LINKED]


def test_root_folders_are_not_imported() -> None:
    """The code would exist twice, with two of each class and error."""
    found = [
        f"{path.relative_to(PROJECT)}: {name}"
        for path in sources()
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in LINKED
    ]
    assert found == []


PRIVATE = re.compile(
    r"(?<![\w.$}~-])/(?:work|root|tmp)/"  # somebody's folders
    r"|index[-]url|//[^\s/]*(?:pypi|pythonhosted|artifactory|nexus|proxy)[^\s/]*/"  # where packages come from
)


@pytest.mark.parametrize("line", ["/wo" + "rk/main/x.py", "'/ro" + "ot/.cache'", "pip --index" + "-url x"])
def test_the_search_finds_private_lines(line: str) -> None:
    assert PRIVATE.search(line)


def test_no_path_of_a_machine_and_no_registry() -> None:
    found = []
    for path in project_files():
        lines = enumerate(path.read_text(encoding="latin-1").splitlines(), start=1)  # graphs may hold paths too
        found += [f"{path.relative_to(PROJECT)}:{n}: {line.strip()[:120]}" for n, line in lines if PRIVATE.search(line)]
    assert found == []
