"""A conversion that dies does not take the export with it.

Converters are looked up by name and run elsewhere by reference, so a function that dies can stand in for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import deadly_functions as deadly
import pytest

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.export import ConversionLimits, ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.partition import openvino_fusion, slicer
from edge_vseg.export.quantization import openvino_qdq, tflite_litert

OPTIONS = ExportOptions(
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    targets=("x86_64-avx2",),
    max_drop=1.0,
    slices=False,
    limits=ConversionLimits(memory_bytes=2_000_000_000),
)
ONNX_RUNTIME = ["onnxruntime/float", "onnxruntime/int8-x86_64-avx2"]
OPENVINO = ["openvino/float", "openvino/int8"]
TFLITE = ["tflite/float", "tflite/int8"]


@pytest.mark.parametrize(
    ("name", "function", "failed", "reason"),
    [
        ("to_tflite", deadly.convert_and_abort, TFLITE, r"died by SIGABRT; its last lines: F0000 .* rank == 4"),
        pytest.param(
            *("to_tflite", deadly.convert_and_trip, TFLITE, r"^KeyError: 'permute_1.u8'"), marks=pytest.mark.release
        ),
        pytest.param(
            *("quantize_tflite", deadly.convert_and_grow, TFLITE[1:], r"was stopped at 2\.\d GB; .* --memory-limit"),
            marks=[pytest.mark.slow, pytest.mark.release],
        ),
        pytest.param(
            *("start_tflite", deadly.segfault, TFLITE, "died by SIGSEGV"),
            marks=[pytest.mark.slow, pytest.mark.release],
        ),
    ],
    ids=["converter", "foreign error", "quantizer", "first run"],
)
def test_other_variants_are_written(
    tmp_path: Path,
    sample: SampleFrames,
    onnx_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    function: Callable[..., None],
    failed: list[str],
    reason: str,
) -> None:
    monkeypatch.setattr(tflite_litert, name, function)
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, OPTIONS)
    assert [failure.id for failure in made.manifest.failed] == failed
    for failure in made.manifest.failed:
        assert re.search(reason, failure.reason), failure.reason
    rest = [each for each in (*ONNX_RUNTIME, *OPENVINO, *TFLITE) if each not in failed]
    assert [variant.id for variant in made.manifest.variants] == rest
    assert all(variant.parity is not None for variant in made.manifest.variants)
    opened = open_bundle(made.path)
    assert check_files(opened) == len(opened.manifest.files)
    assert not list(made.path.glob("tflite/int8/*"))


def test_openvino_dies(tmp_path: Path, sample: SampleFrames, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_qdq, "write_openvino_int8", deadly.convert_and_abort)
    options = replace(OPTIONS, runtimes=("openvino", "onnxruntime"))
    made = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, options)
    assert [failure.id for failure in made.manifest.failed] == ["openvino/int8"]
    assert {variant.id for variant in made.manifest.variants} == {*ONNX_RUNTIME, "openvino/float"}


@pytest.mark.parametrize(
    ("module", "name", "runtimes", "done"),
    [
        pytest.param(openvino_fusion, "fused_file", ("openvino", "onnxruntime"), "planned", id="plan"),
        pytest.param(slicer, "time_parts", ("openvino",), "timed", id="time"),
        pytest.param(slicer, "write_and_compare", ("tflite",), "compared", id="compare", marks=pytest.mark.release),
    ],
)
def test_slices_that_die_leave_the_whole_graph(
    tmp_path: Path, sample: SampleFrames, onnx_file: Path, module: ModuleType, name: str, runtimes: tuple, done: str
) -> None:
    """With what killed them gone, the same work folder gives slices."""
    thresholds = ExportThresholds(slice_overhead=100)
    options = replace(
        OPTIONS, runtimes=runtimes, targets=(), precisions=("float",), slices=True, thresholds=thresholds
    )  # fmt: skip
    work = tmp_path / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, deadly.segfault)
        made = export_bundle(str(onnx_file), tmp_path / "a.evseg", sample, options, work_dir=work)
    variants = {variant.runtime: variant for variant in open_bundle(made.path).manifest.variants}
    assert variants.keys() == set(runtimes)
    first = variants.pop(runtimes[0])
    assert first.slices == ()
    assert first.unsliced.startswith(f"while its slices were {done}, the converter died by SIGSEGV")
    assert not list((made.path / first.id).glob("slice*"))
    assert all(variant.slices for variant in variants.values())
    again = export_bundle(str(onnx_file), tmp_path / "b.evseg", sample, options, work_dir=work)
    assert [(bool(each.slices), each.unsliced) for each in again.manifest.variants] == [(True, "")] * len(runtimes)
