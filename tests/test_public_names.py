"""What ``import edge_vseg`` gives, and what it leaves for later."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edge_vseg

SOURCE = Path(edge_vseg.__file__)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, edge_vseg; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"cv2", "msgspec", "numpy", "onnx", "onnxruntime", "openvino", "torch", "ai_edge_litert"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", edge_vseg.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(edge_vseg, name) is not None
    assert name in dir(edge_vseg)


def test_what_type_checkers_see_is_what_there_is() -> None:
    """The imports for type checkers alone name the modules that the names come from."""
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(declared) == sorted(edge_vseg.__all__)
    homes = {name: f"edge_vseg.{home}" for home, names in edge_vseg._HOMES.items() for name in names}
    assert homes == declared


def test_modules_need_no_import_of_their_own() -> None:
    code = "import edge_vseg; print(edge_vseg.video.open_source is edge_vseg.open_source, hasattr(edge_vseg, 'vdieo'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
