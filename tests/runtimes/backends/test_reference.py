from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_network import tensor

from edge_vseg.errors import OptionError, SessionError
from edge_vseg.runtimes.backends.reference import ReferenceRuntime, write_reference
from edge_vseg.runtimes.port import GraphSpec, SessionOptions

GOOD = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32), "stride": np.int64(2)}


def spec(classes: int, height: int, width: int, stride: int) -> GraphSpec:
    return GraphSpec.of(
        input=tensor("frame", (1, height, width, 3), "uint8", "NHWC"),
        output=tensor("scores", (1, classes, height // stride, width // stride), "float32", "NCHW"),
    )


@settings(deadline=None, max_examples=40)
@given(
    classes=st.integers(2, 5),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    stride=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_are_those_of_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, classes: int, rows: int, columns: int, stride: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(classes, 3)).astype(np.float32)
    bias = rng.normal(size=classes).astype(np.float32)
    frame = rng.integers(0, 256, (1, rows * stride, columns * stride, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("reference") / "blocks.npz"
    write_reference(path, weight, bias, stride)
    graph = spec(classes, rows * stride, columns * stride, stride)
    scores = ReferenceRuntime().open(path, graph, SessionOptions()).run({"frame": frame})["scores"]
    assert scores.shape == graph.output.shape
    assert scores.flags.c_contiguous
    for c in range(classes):
        for y in range(rows):
            for x in range(columns):
                block = frame[0, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
                color = [sum(int(v) for v in block[:, :, k].flat) / stride**2 for k in range(3)]
                expected = sum(float(weight[c, k]) * color[k] for k in range(3)) + float(bias[c])
                assert scores[0, c, y, x] == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"weight": np.ones((2, 4), np.float32)}, r"weight must be \(C, 3\)", id="channels"),
        pytest.param({"weight": np.ones((2, 3))}, "float64", id="float64"),
        pytest.param({"weight": np.ones((0, 3), np.float32)}, "weight", id="no-class"),
        pytest.param({"bias": np.zeros(3, np.float32)}, r"bias must be \(2,\)", id="bias"),
        pytest.param({"bias": np.array([0, np.nan], np.float32)}, "finite", id="nan"),
        pytest.param({"stride": np.int64(0)}, "stride", id="zero-stride"),
        pytest.param({"stride": np.float64(2)}, "stride", id="fractional-stride"),
        pytest.param({"bias": np.array([None, None])}, "pickle", id="pickled-objects"),
        pytest.param({"stride": None}, "stride is not", id="missing-array"),
    ],
)
def test_impossible_file_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    arrays = {k: v for k, v in (GOOD | change).items() if v is not None}
    np.savez(tmp_path / "blocks.npz", **arrays)
    with pytest.raises(SessionError, match=words):
        ReferenceRuntime().open(tmp_path / "blocks.npz", spec(2, 4, 4, 2), SessionOptions())


def test_writer_refuses_what_the_reader_would(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="stride"):
        write_reference(tmp_path / "blocks.npz", GOOD["weight"], GOOD["bias"], 0)
    assert list(tmp_path.iterdir()) == []


def test_stride_must_divide_the_frame(tmp_path: Path) -> None:
    write_reference(tmp_path / "blocks.npz", GOOD["weight"], GOOD["bias"], 3)
    with pytest.raises(SessionError, match="stride 3, which does not divide 4x6"):
        ReferenceRuntime().open(tmp_path / "blocks.npz", spec(2, 4, 6, 2), SessionOptions())


def test_class_count_must_agree(tmp_path: Path) -> None:
    write_reference(tmp_path / "blocks.npz", GOOD["weight"], GOOD["bias"], 2)
    with pytest.raises(SessionError, match=r"\(1, 3, 2, 3\) float32, the file has 'scores' \(1, 2, 2, 3\)"):
        ReferenceRuntime().open(tmp_path / "blocks.npz", spec(3, 4, 6, 2), SessionOptions())


def test_npy_with_an_npz_suffix(tmp_path: Path) -> None:
    with (tmp_path / "blocks.npz").open("wb") as file:
        np.save(file, GOOD["weight"])
    with pytest.raises(SessionError, match="not a graph of the reference runtime"):
        ReferenceRuntime().open(tmp_path / "blocks.npz", spec(2, 4, 4, 2), SessionOptions())


def test_no_options(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="takes no options, got speed"):
        ReferenceRuntime().open(tmp_path / "unread", spec(2, 4, 4, 2), SessionOptions(provider_options={"speed": "1"}))


@settings(deadline=None, max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit_is_a_named_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    write_reference(path, GOOD["weight"], GOOD["bias"], 2)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    with contextlib.suppress(SessionError):
        ReferenceRuntime().open(path, spec(2, 4, 4, 2), SessionOptions())
