from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes import get_runtime, runtime_names

BACKENDS = ("onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "torch", "onnx")


def add_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """Install a distribution with one runtime, as pip would."""
    module = f"plugin_{name}"
    (tmp_path / f"{module}.py").write_text(source)
    info = tmp_path / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edge_vseg.runtimes]\n{name} = {module}:Plugin\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        "import edge_vseg.runtimes",
        "from edge_vseg.runtimes import get_runtime, runtime_names; [get_runtime(n) for n in runtime_names()]",
        "import edge_vseg.runtimes.selection.auto, edge_vseg.runtimes.doctor",
    ],
    ids=["import", "every-runtime", "auto"],
)
def test_no_backend_is_loaded(code: str) -> None:
    script = f"import sys; {code}; print([m for m in {BACKENDS} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_built_in_runtimes() -> None:
    assert runtime_names()[:4] == ("onnxruntime", "openvino", "tflite", "reference")
    for name in runtime_names()[:4]:
        assert get_runtime(name).name == name


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(OptionError, match=r"'onnx'.*onnxruntime, openvino, tflite, reference"):
        get_runtime("onnx")


def test_third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from edge_vseg.runtimes.backends.reference import ReferenceRuntime\n"
        "class Plugin(ReferenceRuntime):\n  name = 'abacus'"
    )
    add_entry_point(tmp_path, monkeypatch, "abacus", source)
    assert runtime_names()[-1] == "abacus"
    assert get_runtime("abacus").name == "abacus"


def test_third_party_cannot_replace_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry_point(tmp_path, monkeypatch, "onnxruntime", "raise SystemError('never imported')")
    assert runtime_names().count("onnxruntime") == 1
    assert type(get_runtime("onnxruntime")).__module__ == "edge_vseg.runtimes.backends.onnx_runtime"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("import a_package_that_is_not_there", "a_package_that_is_not_there", id="import-fails"),
        pytest.param("class Other: pass", "Plugin", id="no-such-object"),
        pytest.param(
            "class Plugin:\n  name = 'x'\n  extra = ''", "without version, providers, open", id="not-a-runtime"
        ),
    ],
)
def test_broken_third_party_is_named(
    source: str, words: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = request.node.callspec.id.replace("-", "_")
    add_entry_point(tmp_path, monkeypatch, name, source)
    with pytest.raises(BackendError, match=f"{name}.*{words}"):
        get_runtime(name)
