"""The comparison of a family says what it cannot compare, and compares the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import frames, segmenter_onnx

from edge_vseg.errors import OptionError
from edge_vseg.export import ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.shrinking.family import Member, score_family


def member(source: Path, sample: SampleFrames, name: str, *precisions: str) -> Member:
    options = ExportOptions(
        normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3), runtimes=("onnxruntime",), slices=False,
        precisions=precisions, max_drop=1.0,
    )  # fmt: skip
    export_bundle(str(source), source.with_name(f"{name}.evseg"), sample, options)
    return Member(name=name, how="cut", bundle=f"{name}.evseg", size_hw=(24, 32), macs=None, parameters=None)


def test_a_member_without_int8_is_left_out_with_a_note(sample: SampleFrames, tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(segmenter_onnx().SerializeToString())
    whole, floats = (member(source, sample, "whole", "int8", "float"), member(source, sample, "floats", "float"))
    scores, notes = score_family(tmp_path, [whole, floats, whole], frames(2), [], 1)
    assert [each.member.name for each in scores] == ["whole", "whole"]
    assert all(0.9 < each.agreement <= 1 for each in scores)
    (note,) = notes
    assert note.startswith("floats is left out of the comparison: ")
    with pytest.raises(OptionError, match="no network of the family has an int8 graph that runs here: floats is left"):
        score_family(tmp_path, [floats], frames(2), [], 1)
