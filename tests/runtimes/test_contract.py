"""What the port promises, asked of every runtime with the same network."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_network import ASSETS, Tiny, installed, tensor, write_blocks

from edge_vseg.errors import ProviderError, SessionError
from edge_vseg.runtimes.port import GraphSpec, Runtime, Session, SessionOptions

GRAPHS = [
    pytest.param("onnxruntime", "tiny.onnx", id="onnxruntime"),
    pytest.param("openvino", "tiny.xml", id="openvino-ir"),
    pytest.param("openvino", "tiny.onnx", id="openvino-onnx"),
    pytest.param("tflite", "tiny.tflite", id="tflite"),
]
ONE_THREAD = SessionOptions(threads=1)


@pytest.fixture(
    params=[
        pytest.param(("onnxruntime", "tiny.onnx"), id="onnxruntime"),
        pytest.param(("openvino", "tiny.xml"), id="openvino"),
        pytest.param(("tflite", "tiny.tflite"), id="tflite"),
        pytest.param(("reference", ""), id="reference"),
    ]
)
def opened(request: pytest.FixtureRequest, tiny: Tiny, tmp_path: Path) -> Iterator[Session]:
    """Every runtime's session on a network that takes ``tiny.frame``."""
    name, file = request.param
    path = ASSETS / file if file else write_blocks(tmp_path / "blocks.npz")
    session = installed(name).open(path, tiny.spec, ONE_THREAD)
    yield session
    session.close()


@pytest.mark.parametrize(("name", "file"), GRAPHS)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_scores_are_those_of_plain_loops(name: str, file: str, threads: int, tiny: Tiny) -> None:
    session = installed(name).open(ASSETS / file, tiny.spec, SessionOptions(threads=threads))
    outputs = session.run({"frame": tiny.frame})
    session.close()
    assert list(outputs) == ["scores"]
    assert outputs["scores"].dtype == np.float32
    np.testing.assert_allclose(outputs["scores"], tiny.scores, atol=2e-6)


def test_output_belongs_to_the_caller(opened: Session, tiny: Tiny) -> None:
    first = opened.run({"frame": tiny.frame})["scores"]
    kept = first.copy()
    second = opened.run({"frame": 255 - tiny.frame})["scores"]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, kept)
    first[...] = 7  # the caller may write into it
    np.testing.assert_array_equal(opened.run({"frame": tiny.frame})["scores"], kept)
    opened.close()
    assert (first == 7).all()


def test_input_is_unchanged_and_may_be_non_contiguous(opened: Session, tiny: Tiny) -> None:
    expected = opened.run({"frame": tiny.frame})["scores"]
    strided = np.repeat(tiny.frame, 2, axis=2)[:, :, ::2]
    assert not strided.flags.c_contiguous
    frozen = tiny.frame.copy()
    frozen.flags.writeable = False
    for frame in (strided, frozen):
        np.testing.assert_array_equal(opened.run({"frame": frame})["scores"], expected)
        np.testing.assert_array_equal(frame, tiny.frame)


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        pytest.param({}, "takes one input, 'frame', got nothing", id="none"),
        pytest.param({"image": np.zeros((1, 24, 32, 3), np.uint8)}, "got 'image'", id="other-name"),
        pytest.param(
            {n: np.zeros((1, 24, 32, 3), np.uint8) for n in ("frame", "more")}, "got 'frame', 'more'", id="two"
        ),
        pytest.param({"frame": np.zeros((1, 24, 32, 4), np.uint8)}, r"got \(1, 24, 32, 4\) uint8", id="shape"),
        pytest.param({"frame": np.zeros((24, 32, 3), np.uint8)}, r"got \(24, 32, 3\) uint8", id="rank"),
        pytest.param({"frame": np.zeros((1, 24, 32, 3), np.float32)}, "float32", id="dtype"),
    ],
)
def test_wrong_inputs_are_refused(opened: Session, feed: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(SessionError, match=words):
        opened.run(feed)


def test_close_twice_and_run_after(opened: Session, tiny: Tiny) -> None:
    opened.close()
    opened.close()
    with pytest.raises(SessionError, match="session is closed"):
        opened.run({"frame": tiny.frame})


def test_provider_is_one_that_the_runtime_lists(opened: Session, request: pytest.FixtureRequest) -> None:
    assert opened.provider in installed(request.node.callspec.id).providers()


@pytest.mark.parametrize(("name", "file"), GRAPHS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"input": ("image", (1, 24, 32, 3), "uint8", "NHWC")}, "no input 'image'.*frame", id="input-name"),
        pytest.param({"input": ("frame", (1, 48, 32, 3), "uint8", "NHWC")}, r"1, 48, 32, 3\) uint8", id="input-shape"),
        pytest.param({"input": ("frame", (1, 24, 32, 3), "float32", "NHWC")}, "file has 'frame' .* uint8", id="dtype"),
        pytest.param({"output": ("labels", (1, 3, 12, 16), "float32", "NCHW")}, "no output 'labels'", id="output-name"),
        pytest.param({"output": ("scores", (1, 5, 12, 16), "float32", "NCHW")}, r"\(1, 3, 12, 16\)", id="classes"),
        pytest.param({"output": ("scores", (1, 12, 16), "float32", "NHW")}, r"\(1, 3, 12, 16\)", id="rank"),
    ],
)
def test_graph_that_differs_from_its_spec_is_refused(
    name: str, file: str, change: dict[str, tuple], words: str, tiny: Tiny
) -> None:
    spec = GraphSpec.of(
        **({"input": tiny.spec.input, "output": tiny.spec.output} | {k: tensor(*v) for k, v in change.items()})
    )
    with pytest.raises(SessionError, match=words):
        installed(name).open(ASSETS / file, spec, ONE_THREAD)


def test_all_differences_are_in_one_message(tiny: Tiny) -> None:
    spec = GraphSpec.of(
        input=tensor("image", (1, 24, 32, 3), "uint8", "NHWC"),
        output=tensor("scores", (1, 4, 12, 16), "float32", "NCHW"),
    )
    with pytest.raises(SessionError, match=r"no input 'image'.*\(1, 4, 12, 16\)"):
        installed("onnxruntime").open(ASSETS / "tiny.onnx", spec, ONE_THREAD)


@pytest.mark.parametrize(("name", "file"), [*GRAPHS, pytest.param("reference", "blocks.npz", id="reference")])
@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "halved", "text"])
def test_damaged_file_is_a_session_error(name: str, file: str, damage: str, tiny: Tiny, tmp_path: Path) -> None:
    runtime = installed(name)
    path = tmp_path / file
    if name == "reference":
        write_blocks(path)
    else:
        for part in ASSETS.glob("tiny.*"):
            shutil.copy(part, tmp_path)
    data = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "halved":
            path.write_bytes(data[: len(data) // 2])
        case "text":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(SessionError, match=path.name):
        runtime.open(path, tiny.spec, ONE_THREAD)


@pytest.mark.parametrize(("name", "file"), GRAPHS)
def test_a_name_that_is_no_utf8_opens_or_says_so(name: str, file: str, tiny: Tiny, tmp_path: Path) -> None:
    """As Python has a folder called ``straße`` in a locale of ASCII, and one of another encoding anywhere."""
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system takes no such name")
    for part in ASSETS.glob(f"{Path(file).stem}.*"):
        shutil.copy(part, folder)
    said = ""
    try:
        installed(name).open(folder / file, tiny.spec, ONE_THREAD).close()
    except SessionError as exc:
        said = str(exc)
    if said or name != "openvino":  # newer ones of it take any name
        assert re.search("is no UTF-8 for this process.* set PYTHONUTF8=1", said)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tflite", "reference"])
def test_unknown_provider_lists_the_known(name: str, tiny: Tiny, tmp_path: Path) -> None:
    runtime: Runtime = installed(name)
    with pytest.raises(ProviderError, match=runtime.providers()[0]):
        runtime.open(tmp_path / "unread", tiny.spec, SessionOptions(provider="quantum"))


@pytest.mark.parametrize(("name", "file"), GRAPHS)
def test_each_listed_provider_is_active_or_refused(name: str, file: str, tiny: Tiny) -> None:
    """Never another one in its place; on a machine with CUDA packages and no GPU this must be refused."""
    runtime = installed(name)
    for provider in runtime.providers():
        try:
            session = runtime.open(ASSETS / file, tiny.spec, SessionOptions(provider=provider, threads=1))
        except ProviderError:
            assert provider not in ("cpu", "CPU", "xnnpack", "builtin")
            continue
        assert session.provider == provider or provider == "AUTO"
        np.testing.assert_allclose(session.run({"frame": tiny.frame})["scores"], tiny.scores, atol=0.02)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tflite", "reference"])
def test_version_names_a_distribution(name: str) -> None:
    distribution, _, version = installed(name).version().partition(" ")
    assert distribution
    assert version[0].isdigit()
