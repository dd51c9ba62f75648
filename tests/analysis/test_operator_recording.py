"""Files of operators' times: what is refused, and why nothing could be recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hand_made import operator_recording

from edge_vseg.analysis.operator_recording import read_operator_recording, record_operators
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.errors import BackendError, OptionError

ONE_THREAD = RuntimeOptions(threads=1)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_bytes(operator_recording("float", "int8").to_json())
    assert read_operator_recording(path) == operator_recording("float", "int8")
    assert read_operator_recording(path).runtimes == ("onnxruntime",)


def edited(**fields: object) -> bytes:
    return json.dumps(json.loads(operator_recording("float", "int8").to_json()) | fields).encode()


BAD = {
    "empty": (b"", "holds no times of operators"),
    "no JSON": (b"ms: 5", "holds no times of operators"),
    "a latency profile": (b'{"kind": "profile", "schema": 3}', "holds no times of operators.*--record-operators"),
    "a list": (b"[]", "holds no times of operators"),
    "newer": (b'{"kind": "operators", "schema": 99}', "has schema 99, this version reads 1"),
    "no int8": (
        operator_recording("float").to_json(),
        "holds times of onnxruntime/float, of no runtime both.*--record-op",
    ),
    "no float": (operator_recording("int8").to_json(), "holds times of onnxruntime/int8, of no runtime both"),
    "nothing": (edited(variants=[]), "holds times of nothing"),
    "no operators": (
        edited(variants=[{"id": "a", "runtime": "a", "precision": "int8", "operators": []}]),
        "holds no times of operators",
    ),
    "a negative time": (
        operator_recording("float", "int8").to_json().replace(b'"median_ms": 1.0', b'"median_ms": -1.0'),
        "operator 'conv0' takes -1.0 ms",
    ),
    "a strange field": (edited(colour="red"), "colour"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, tmp_path: Path) -> None:
    data, words = BAD[name]
    path = tmp_path / "times.json"
    path.write_bytes(data)
    with pytest.raises(OptionError, match=words) as error:
        read_operator_recording(path)
    assert str(error.value).startswith(f"{path} ")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_operator_recording(tmp_path / "none.json")


def test_a_bundle_without_float(sliced_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"both a float and an int8 graph of .*street\.evseg.*int8,float"):
        record_operators(sliced_bundle, ONE_THREAD)


def test_a_runtime_without_a_profiler(reference_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told, also from the child process that it is asked in."""
    monkeypatch.setenv("EDGE_VSEG_PROBE", "first")
    with pytest.raises(
        BackendError, match="reference/float: edge_vseg cannot profile operators of runtime 'reference'"
    ):
        record_operators(reference_bundle, ONE_THREAD)
