"""Nothing in a bundle is executed: no library, no pickle, no extension, no provider that the bundle names."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from reference_bundle import BIAS, WEIGHT, make_manifest, make_variant
from retouch import rehash

from edge_vseg import OpenOptions, Segmenter, open_bundle
from edge_vseg.bundle import stage_bundle
from edge_vseg.bundle.manifest import FrameSpec, HeadSpec, TensorSpec
from edge_vseg.errors import BackendError, EdgeVsegError, ManifestError, OptionError, SessionError

ASSETS = Path(__file__).resolve().parents[1] / "assets"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, (str(self.path),))


def tiny_bundle(folder: Path, runtime: str, change: Callable[[Path], None], *suffixes: str) -> Path:
    """A bundle around the tiny graph of a runtime, changed before its hash is taken."""
    files = tuple(f"{runtime}/float/tiny{suffix}" for suffix in suffixes)
    variant = make_variant(
        f"{runtime}/float",
        runtime=runtime,
        entry=files[0],
        files=files,
        input=TensorSpec(name="frame", shape=(1, 24, 32, 3), dtype="uint8", layout="NHWC"),
        output=TensorSpec(name="scores", shape=(1, 3, 12, 16), dtype="float32", layout="NCHW"),
    )
    with stage_bundle(folder / "tiny.evseg") as staging:
        for file in files:
            (staging.root / file).parent.mkdir(parents=True, exist_ok=True)
            (staging.root / file).write_bytes((ASSETS / Path(file).name).read_bytes())
        change(staging.root / files[0])
        base = make_manifest(frame=FrameSpec(size_hw=(24, 32)), head=HeadSpec(kind="scores", size_hw=(12, 16)))
        staging.commit(replace(base, variants=(variant,), files=staging.list_files()))
    return folder / "tiny.evseg"


def custom_onnx_operator(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    node.op_type, node.domain = "RunThis", "com.example.library"
    model.opset_import.append(onnx.helper.make_opsetid("com.example.library", 1))
    path.write_bytes(model.SerializeToString())


def custom_openvino_operator(path: Path) -> None:
    text = path.read_text()
    assert 'type="Convolution" version="opset1"' in text
    path.write_text(text.replace('type="Convolution" version="opset1"', 'type="Convolution" version="extension"'))


def custom_tflite_operator(path: Path) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    for code in model.operatorCodes:
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"FlexRunThis"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


@pytest.mark.parametrize(
    ("runtime", "package", "change", "suffixes"),
    [
        pytest.param("onnxruntime", "onnxruntime", custom_onnx_operator, (".onnx",), id="ONNX custom operator"),
        pytest.param("openvino", "openvino", custom_openvino_operator, (".xml", ".bin"), id="OpenVINO extension"),
        pytest.param("tflite", "ai_edge_litert", custom_tflite_operator, (".tflite",), id="TFLite custom operator"),
    ],
)
def test_operators_of_libraries_are_refused(
    runtime: str, package: str, change: Callable[[Path], None], suffixes: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip(package)
    plain = tiny_bundle(tmp_path / "plain", runtime, lambda path: None, *suffixes)
    Segmenter.open(plain, runtime=runtime).close()
    with pytest.raises(SessionError):
        Segmenter.open(tiny_bundle(tmp_path / "odd", runtime, change, *suffixes), runtime=runtime)


@pytest.mark.parametrize("member", ["weight", "bias", "stride"])
def test_a_pickle_in_a_graph_is_not_loaded(member: str, reference_bundle: Path, tmp_path: Path) -> None:
    graph, sign = reference_bundle / "reference/float/graph.npz", tmp_path / "executed"
    arrays = {"weight": WEIGHT, "bias": BIAS, "stride": np.int64(8)}
    odd = np.empty((), object)
    odd[()] = Bomb(sign)
    np.savez(graph, **(arrays | {member: odd}))
    with zipfile.ZipFile(graph) as archive:
        assert b"mkdir" in archive.read(f"{member}.npy"), "the bomb is in the file"
    rehash(reference_bundle)
    with pytest.raises(SessionError, match="not a graph"):
        Segmenter.open(reference_bundle, runtime="reference")
    assert not sign.exists()


def test_a_pickle_under_the_name_of_a_graph_is_not_loaded(reference_bundle: Path, tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    (reference_bundle / "reference/float/graph.npz").write_bytes(pickle.dumps(Bomb(sign)))
    rehash(reference_bundle)
    with pytest.raises(SessionError):
        Segmenter.open(reference_bundle, runtime="reference")
    assert not sign.exists()
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists(), "the bomb works"


@pytest.mark.parametrize(
    "name",
    ["provider", "provider_options", "delegate", "library", "custom_ops", "extensions", "session_options", "env"],
)
@pytest.mark.parametrize("place", ["manifest", "variant", "frame", "head"])
def test_the_manifest_has_no_place_for_libraries(name: str, place: str, reference_bundle: Path) -> None:
    path = reference_bundle / "manifest.json"
    tree = json.loads(path.read_bytes())
    {"manifest": tree, "variant": tree["variants"][0], "frame": tree["frame"], "head": tree["head"]}[place][name] = (
        "/usr/lib/libcustom.so"
    )
    path.write_text(json.dumps(tree))
    with pytest.raises(ManifestError, match=name):
        open_bundle(reference_bundle)


@pytest.mark.parametrize("name", ["os:mkdir", "../evil", "edge_vseg.cli.app:main", "evil.so", "", "onnxruntime\x00"])
def test_a_runtime_is_one_that_is_installed(name: str, reference_bundle: Path) -> None:
    """A name out of a manifest is looked up, never imported."""
    path = reference_bundle / "manifest.json"
    tree = json.loads(path.read_bytes())
    tree["variants"][0]["runtime"] = name
    path.write_text(json.dumps(tree))
    for runtime in ("auto", name):
        with pytest.raises((OptionError, BackendError, ManifestError)):
            Segmenter.open(reference_bundle, runtime=runtime)


def test_providers_come_from_the_caller_alone(tmp_path: Path) -> None:
    """Every way to name a library, a device or a setting of a runtime is an argument of the caller."""
    of_the_caller = {field.name for field in fields(OpenOptions) if field.name.startswith("provider")}
    assert of_the_caller == {"provider", "provider_options"}
    assert OpenOptions().provider == ""
    assert OpenOptions().provider_options == {}
    pytest.importorskip("ai_edge_litert")
    bundle = tiny_bundle(tmp_path, "tflite", lambda path: None, ".tflite")
    with pytest.raises(EdgeVsegError, match=r"no-such-delegate\.so"):
        Segmenter.open(bundle, runtime="tflite", options=OpenOptions(provider="/no-such-delegate.so"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tflite"])
def test_a_library_in_place_of_a_graph_is_not_loaded(runtime: str, tmp_path: Path) -> None:
    suffixes = {"onnxruntime": (".onnx",), "openvino": (".xml", ".bin"), "tflite": (".tflite",)}[runtime]
    pytest.importorskip({"tflite": "ai_edge_litert"}.get(runtime, runtime))
    (library,) = list(Path(np.__file__).parent.glob("_core/_multiarray_umath*.so"))[:1]

    def change(path: Path) -> None:
        path.write_bytes(library.read_bytes())

    with pytest.raises(SessionError):
        Segmenter.open(tiny_bundle(tmp_path, runtime, change, *suffixes), runtime=runtime)
