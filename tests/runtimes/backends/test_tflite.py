from __future__ import annotations

import ctypes.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from refused_by_xnnpack import depthwise_int8
from tiny_network import ASSETS, Tiny, installed, tensor

from edge_vseg.bundle.manifest import Quantization
from edge_vseg.errors import BackendMissingError, BackendVersionError, OptionError, ProviderError, SessionError
from edge_vseg.runtimes.backends.tflite import choose_package
from edge_vseg.runtimes.packages import Package
from edge_vseg.runtimes.port import GraphSpec, Session, SessionOptions

# The part of TfLiteDelegate that an interpreter reads of a delegate that takes no node; a failing one.
DELEGATE_SOURCE = """
#include <stdlib.h>
#include <string.h>
typedef struct Delegate {
  void* data; int (*prepare)(void* context, struct Delegate* self);
  void* copy_from; void* copy_to; void* free_handle; long flags; void* builder;
} Delegate;
static int take_nothing(void* context, Delegate* self) { return 0; }
void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(keys[i], "device") == 0) { report("no such device: "); report(values[i]); return NULL; }
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->prepare = take_nothing;
  return delegate;
}
void tflite_plugin_destroy_delegate(void* delegate) { free(delegate); }
"""

LITERT = Package(name="ai-edge-litert", version="2.3.0")
OLD_LITERT = Package(name="ai-edge-litert", version="1.0.1")
TFLITE = Package(name="tflite-runtime", version="2.14.0")
NUMPY_1 = Package(name="numpy", version="1.26.4")
NUMPY_2 = Package(name="numpy", version="2.4.6")


def open_tiny(tiny: Tiny, **options: object) -> Session:
    return installed("tflite").open(ASSETS / "tiny.tflite", tiny.spec, SessionOptions(**options))


@pytest.fixture(scope="module")
def delegate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler to build a delegate with")
    made_for = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    if platform.machine() not in made_for:
        pytest.skip(f"the C compiler makes programs for {made_for.strip()}, and Python is one for {platform.machine()}")
    folder = tmp_path_factory.mktemp("delegate")
    (folder / "lazy.c").write_text(DELEGATE_SOURCE)
    library = folder / "liblazy.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "lazy.c"], check=True)
    return library


@pytest.mark.parametrize(
    ("found", "numpy", "module"),
    [
        pytest.param({"ai_edge_litert": LITERT}, NUMPY_2, "ai_edge_litert", id="litert-numpy2"),
        pytest.param({"ai_edge_litert": OLD_LITERT}, NUMPY_1, "ai_edge_litert", id="old-litert-numpy1"),
        pytest.param({"tflite_runtime": TFLITE}, NUMPY_1, "tflite_runtime", id="tflite-numpy1"),
        pytest.param({"tflite_runtime": TFLITE, "ai_edge_litert": LITERT}, NUMPY_2, "ai_edge_litert", id="both"),
    ],
)
def test_compatible_package_is_chosen(found: dict[str, Package], numpy: Package, module: str) -> None:
    assert choose_package(found, numpy) == (module, found[module])


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({"tflite_runtime": TFLITE}, id="tflite"),
        pytest.param({"ai_edge_litert": OLD_LITERT}, id="old-litert"),
    ],
)
def test_package_that_breaks_under_numpy_2_is_refused_by_name(found: dict[str, Package]) -> None:
    with pytest.raises(BackendVersionError) as caught:
        choose_package(found, NUMPY_2)
    for words in (*map(str, found.values()), "numpy 2.4.6", "'edge-vseg[litert]'", "'edge-vseg[tflite-runtime]'"):
        assert words in str(caught.value)


def test_no_package_names_both() -> None:
    with pytest.raises(BackendMissingError, match=r"edge-vseg\[litert\].*edge-vseg\[tflite-runtime\]"):
        choose_package({}, NUMPY_2)


def test_refusal_comes_before_the_import(tmp_path: Path) -> None:
    """With tflite-runtime 2.14 and numpy 2, the package itself is never imported."""
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text("raise SystemError('imported')")
    info = tmp_path / "tflite_runtime-2.14.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n")
    code = (
        "import sys, numpy; numpy.__version__ = '2.0.0'; sys.modules['ai_edge_litert'] = None\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from edge_vseg.errors import BackendVersionError\n"
        "from edge_vseg.runtimes import get_runtime\n"
        "for ask in (get_runtime('tflite').version, get_runtime('tflite').providers):\n"
        "    try: ask()\n"
        "    except BackendVersionError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("tflite-runtime 2.14.0 does not work with numpy 2.0.0") == 2
    assert done.stderr == ""


@pytest.mark.parametrize(("asked", "active"), [("", "xnnpack"), ("xnnpack", "xnnpack"), ("builtin", "builtin")])
def test_xnnpack_on_and_off(tiny: Tiny, asked: str, active: str) -> None:
    session = open_tiny(tiny, provider=asked, threads=1)
    assert session.provider == active
    np.testing.assert_allclose(session.run({"frame": tiny.frame})["scores"], tiny.scores, atol=2e-6)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("frame", "scores"),
        ("serving_default_frame", "serving_default_output_0_output"),
        ("frame", "serving_default_output_0_output"),
    ],
    ids=["signature", "tensor", "mixed"],
)
def test_names_of_signature_and_of_tensors(tiny: Tiny, given: str, found: str) -> None:
    spec = GraphSpec.of(
        input=msgspec.structs.replace(tiny.spec.input, name=given),
        output=msgspec.structs.replace(tiny.spec.output, name=found),
    )
    session = installed("tflite").open(ASSETS / "tiny.tflite", spec, SessionOptions(threads=1))
    np.testing.assert_allclose(session.run({given: tiny.frame})[found], tiny.scores, atol=2e-6)


def test_opening_prints_nothing_on_standard_error() -> None:
    installed("tflite")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from tiny_network import ASSETS, tiny_spec\n"
        "from edge_vseg.runtimes import SessionOptions, get_runtime\n"
        "print(get_runtime('tflite').open(ASSETS / 'tiny.tflite', tiny_spec(), SessionOptions(threads=1)).provider)\n"
        "print('still there', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("xnnpack\n", "still there\n")


def test_built_in_provider_takes_no_options(tiny: Tiny) -> None:
    with pytest.raises(OptionError, match=r"'xnnpack' takes no options, got cache"):
        open_tiny(tiny, provider="xnnpack", provider_options={"cache": "1"})


@pytest.mark.parametrize("library", ["/nowhere/libnothing.so", "libedgetpu_of_nobody.so.1"])
def test_missing_delegate_is_refused(tiny: Tiny, library: str) -> None:
    with pytest.raises(ProviderError, match=rf"{library} cannot be loaded"):
        open_tiny(tiny, provider=library)


def test_library_that_is_no_delegate_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "libtext.so").write_text("not a library")
    with pytest.raises(ProviderError, match=r"libtext\.so cannot be loaded"):
        open_tiny(tiny, provider=str(tmp_path / "libtext.so"))


def test_library_without_the_plugin_functions_is_refused(tiny: Tiny) -> None:
    library = ctypes.util.find_library("m")
    if library is None:
        pytest.skip("no C library to load")
    with pytest.raises(ProviderError, match=r"cannot be loaded.*tflite_plugin_create_delegate"):
        open_tiny(tiny, provider=library)


def test_delegate_that_reports_an_error_is_refused(tiny: Tiny, delegate: Path) -> None:
    with pytest.raises(ProviderError, match="no such device: usb:7"):
        open_tiny(tiny, provider=str(delegate), provider_options={"device": "usb:7"})


def test_delegate_that_takes_no_operator_is_refused(tiny: Tiny, delegate: Path) -> None:
    with pytest.raises(ProviderError, match=r"liblazy\.so takes no operator of tiny\.tflite"):
        open_tiny(tiny, provider=str(delegate))


def int8_spec(scale: float = 0.003921568859368563) -> GraphSpec:
    return GraphSpec.of(
        input=tensor(
            "input_3", (1, 256, 256, 3), "int8", "NHWC", quantization=Quantization(scale=scale, zero_point=-128)
        ),
        output=tensor(
            "Identity", (1, 256, 256, 1), "int8", "NHWC", quantization=Quantization(scale=0.00390625, zero_point=-128)
        ),
    )


@pytest.mark.data
def test_quantized_tensors_pass_as_stored(models_dir: Path) -> None:
    path = models_dir / "prisma-person" / "prisma_int8.tflite"
    session = installed("tflite").open(path, int8_spec(), SessionOptions(threads=1))
    stored = session.run({"input_3": np.zeros((1, 256, 256, 3), np.int8)})["Identity"]
    assert stored.dtype == np.int8
    assert stored.shape == (1, 256, 256, 1)


@pytest.mark.data
def test_quantization_that_differs_from_the_manifest_is_refused(models_dir: Path) -> None:
    path = models_dir / "prisma-person" / "prisma_int8.tflite"
    with pytest.raises(SessionError, match=r"scale 0\.004 and zero point -128.*file has scale 0\.00392"):
        installed("tflite").open(path, int8_spec(scale=0.004), SessionOptions(threads=1))


def depthwise_spec(output_scale: float) -> GraphSpec:
    quantized = [Quantization(scale=float(np.float32(scale)), zero_point=0) for scale in (0.5, output_scale)]
    return GraphSpec.of(
        input=tensor("image", (1, 4, 4, 2), "int8", "NHWC", quantization=quantized[0]),
        output=tensor("result", (1, 4, 4, 2), "int8", "NHWC", quantization=quantized[1]),
    )


def test_file_that_xnnpack_refuses_runs_without_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scale = 1e-6
    path = tmp_path / "depthwise.tflite"
    path.write_bytes(depthwise_int8(scale))
    session = installed("tflite").open(path, depthwise_spec(scale), SessionOptions(threads=1))
    assert session.provider == "builtin"
    assert "XNNPACK cannot run depthwise.tflite" in caplog.text
    image = np.arange(-16, 16, dtype=np.int8).reshape(1, 4, 4, 2)
    # Half a unit is 500000 steps of the output: everything but zero saturates.
    np.testing.assert_array_equal(session.run({"image": image})["result"], np.clip(image.astype(int) * 500, -128, 127))


def test_xnnpack_that_is_asked_for_and_refuses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "depthwise.tflite"
    path.write_bytes(depthwise_int8(1e-6))
    with pytest.raises(ProviderError, match=r"XNNPACK cannot run depthwise\.tflite.*leave the provider empty"):
        installed("tflite").open(path, depthwise_spec(1e-6), SessionOptions(threads=1, provider="xnnpack"))


def test_same_file_with_a_usual_scale_runs_with_xnnpack(tmp_path: Path) -> None:
    path = tmp_path / "depthwise.tflite"
    path.write_bytes(depthwise_int8(0.5))
    assert installed("tflite").open(path, depthwise_spec(0.5), SessionOptions(threads=1)).provider == "xnnpack"
