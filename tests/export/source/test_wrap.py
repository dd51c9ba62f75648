"""Ready-made files, wrapped as they are, against their own runtimes used by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import frames
from quick_exports import quick_exports

from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.errors import EdgeVsegError, HeadError, ModelFileError, OptionError
from edge_vseg.export import Exported, ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.progress import count_steps
from edge_vseg.segmenter import Segmenter
from edge_vseg.video import open_source

pytestmark = pytest.mark.usefixtures("warm_converter")

ASSETS = Path(__file__).parents[2] / "assets"
MIDDLE = Normalization(mean=(127.5,) * 3, scale=(127.5,) * 3, color="rgb")
UNIT = Normalization(scale=(255.0,) * 3, color="rgb")
BYTES = Normalization(color="bgr")


def sample_of(images: list[np.ndarray]) -> SampleFrames:
    return SampleFrames(calibration=(), validation=images, spec=CalibrationSpec())


def video_frames(path: Path, numbers: tuple[int, ...]) -> list[np.ndarray]:
    with open_source(path) as source:
        return [f.image.copy() for f in source if f.seq in numbers]


def by_tflite(path: Path, value: np.ndarray) -> np.ndarray:
    """The output of a TFLite file for a float input, quantized and dequantized by hand where it wants that."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=2)
    interpreter.allocate_tensors()
    given, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if given["dtype"] == np.int8:
        scale, zero = given["quantization"]
        value = np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(given["index"], value)
    interpreter.invoke()
    result = interpreter.get_tensor(output["index"])
    if output["dtype"] == np.int8:
        scale, zero = output["quantization"]
        result = (result.astype(np.float32) - zero) * scale
    return result


def by_openvino(path: Path, value: np.ndarray) -> np.ndarray:
    import openvino as ov

    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(value)[0])


def labels_by_hand(path: Path, image: np.ndarray, size_hw: tuple[int, int], norm: Normalization) -> np.ndarray:
    """Preprocess, run and postprocess with nothing of edge_vseg."""
    height, width = image.shape[:2]
    shrinks = height >= size_hw[0] and width >= size_hw[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(image, size_hw[::-1], interpolation=how).astype(np.float32)
    ordered = small[..., ::-1] if norm.color == "rgb" else small
    value = np.ascontiguousarray((ordered - np.float32(norm.mean)) / np.float32(norm.scale), np.float32)[None]
    if path.suffix == ".xml":
        planes = by_openvino(path, np.ascontiguousarray(value.transpose(0, 3, 1, 2)))[0].transpose(1, 2, 0)
    else:
        planes = by_tflite(path, value)[0].reshape(*size_hw, -1)
    large = np.dstack([cv2.resize(planes[..., c], (width, height)) for c in range(planes.shape[2])])
    return (large[..., 0] > 0.5 if large.shape[2] == 1 else large.argmax(2)).astype(np.uint8)


FILES = [
    pytest.param("deeplabv3-voc/deeplabv3_257.tflite", "dog.mp4", MIDDLE, (257, 257), "scores", 21, id="deeplab"),
    pytest.param("prisma-person/prisma_fp16.tflite", "thoughtful.mp4", UNIT, (256, 256), "foreground", 2, id="fp16"),
    pytest.param("prisma-person/prisma_int8.tflite", "thoughtful.mp4", UNIT, (256, 256), "foreground", 2, id="int8"),
    pytest.param("selfie-segm-lite/segm_lite_v681.tflite", "thoughtful.mp4", UNIT, (96, 160), "scores", 2, id="selfie"),
    pytest.param(
        "road-segmentation-adas-0001/road-segmentation-adas-0001.xml", "dashcam.mp4", BYTES, (512, 896), "scores", 4,
        id="road",
    ),
]  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(("file", "video", "norm", "size_hw", "kind", "classes"), FILES)
def test_real_files(tmp_path, data_dir, file, video, norm, size_hw, kind, classes):
    path = data_dir / "models" / file
    images = video_frames(data_dir / "videos" / video, (10, 60, 120))
    made = export_bundle(str(path), tmp_path / "net.evseg", sample_of(images), ExportOptions(normalization=norm))
    opened = open_bundle(made.path)
    assert opened.manifest.head.kind == kind
    assert len(opened.manifest.labels) == classes
    assert opened.manifest.frame.size_hw == size_hw
    assert opened.manifest.frame.color == norm.color
    (variant,) = opened.manifest.variants
    assert variant.runtime == ("openvino" if path.suffix == ".xml" else "tflite")
    assert (made.path / variant.entry).read_bytes() == path.read_bytes()
    assert [c.status for c in check_variants(opened, threads=2)] == ["ok"]
    agreement, seen = [], set()
    with Segmenter.open(made.path, runtime=variant.runtime, threads=2) as segmenter:
        for image in images:
            ours, theirs = segmenter(image).labels, labels_by_hand(path, image, size_hw, norm)
            agreement.append(np.mean(ours == theirs))
            seen |= set(np.unique(theirs))
    assert len(seen) > 1, "one class everywhere proves nothing"
    assert np.mean(agreement) >= 0.999


def wrap(source: Path, target: Path, **options: object) -> Exported:
    return export_bundle(str(source), target, sample_of(frames(2)), ExportOptions(**options))


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.xml"])
def test_small_files(tmp_path, name):
    said: list[str] = []
    source = str(ASSETS / name)
    made = export_bundle(source, tmp_path / "net.evseg", sample_of(frames(2)), ExportOptions(), said.append)
    assert len(said) == count_steps(source, ExportOptions())
    (variant,) = made.manifest.variants
    assert variant.recipe == "as it came"
    assert made.manifest.frame.size_hw == (24, 32)
    assert made.manifest.head.size_hw == (12, 16)
    assert len(made.manifest.labels) == 3
    assert made.manifest.calibration.frames == ()
    assert check_files(open_bundle(made.path))


def test_missing(tmp_path):
    with pytest.raises(ModelFileError, match="no model at"):
        wrap(tmp_path / "net.tflite", tmp_path / "net.evseg")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_tflite(tmp_path, share):
    data = (ASSETS / "tiny.tflite").read_bytes()
    path = tmp_path / "net.tflite"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFileError, match="damaged"):
        wrap(path, tmp_path / "net.evseg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.tflite"]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "LFS"), (b"TFL3 but not", "damaged")],
    ids=["empty", "lfs", "text"],
)
@pytest.mark.parametrize("suffix", [".tflite", ".xml"])
def test_no_model_at_all(tmp_path, data, message, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(data)
    path.with_suffix(".bin").write_bytes(b"weights")
    with pytest.raises(ModelFileError, match=message):
        wrap(path, tmp_path / "net.evseg")


@pytest.mark.parametrize("state", ["missing", "empty", "truncated"])
def test_xml_without_its_weights(tmp_path, state):
    path = tmp_path / "net.xml"
    shutil.copyfile(ASSETS / "tiny.xml", path)
    if state != "missing":
        data = (ASSETS / "tiny.bin").read_bytes()
        path.with_suffix(".bin").write_bytes(data[: len(data) // 3] if state == "truncated" else b"")
    with pytest.raises(ModelFileError, match=r"net\.bin|net\.xml is damaged"):
        wrap(path, tmp_path / "net.evseg")
    assert not (tmp_path / "net.evseg").exists()


def test_truncated_xml(tmp_path):
    path = tmp_path / "net.xml"
    path.write_text((ASSETS / "tiny.xml").read_text()[:900])
    shutil.copyfile(ASSETS / "tiny.bin", tmp_path / "net.bin")
    with pytest.raises(ModelFileError, match="damaged"):
        wrap(path, tmp_path / "net.evseg")


def outcomes_of_flips(name: str, folder: Path) -> list[str]:
    """What wrapping gives for 60 files with one bit flipped."""
    whole = (ASSETS / name).read_bytes()
    path = folder / f"net{Path(name).suffix}"
    shutil.copyfile(ASSETS / "tiny.bin", folder / "net.bin")
    outcomes = []
    with quick_exports():
        for bit in np.random.default_rng(5).integers(0, len(whole) * 8, 60):
            data = bytearray(whole)
            data[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(data)
            try:
                wrap(path, folder / "net.evseg")
                outcomes.append("wrapped")
            except EdgeVsegError as exc:
                outcomes.append(type(exc).__name__)
    return outcomes


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.xml"])
def test_flipped_bits(tmp_path, name):
    """A damaged file is wrapped, if the bit does not matter, or refused by name; nothing else comes out.

    In a process of its own: what native code does to its memory over a damaged file must not come out in other tests.
    """
    code = "import sys, pathlib, test_wrap; print(*test_wrap.outcomes_of_flips(sys.argv[1], pathlib.Path(sys.argv[2])))"
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (here, *here.parents[:2])))}
    command = [sys.executable, "-c", code, name, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert {"wrapped", "ModelFileError"} <= set(done.stdout.split()), "nothing was damaged, or everything"


TEXT = [
    pytest.param(lambda data: data.replace(b'names="scores"', b'names="sc\xffres"'), id="name"),
    pytest.param(lambda data: data.replace(b'type="Convolution"', b'type="Convo\xffution"', 1), id="operator"),
]


@pytest.mark.parametrize("damage", TEXT)
def test_text_that_is_not_unicode(tmp_path, damage):
    data = (ASSETS / "tiny.xml").read_bytes()
    path = tmp_path / "net.xml"
    path.write_bytes(damage(data))
    assert path.read_bytes() != data
    shutil.copyfile(ASSETS / "tiny.bin", tmp_path / "net.bin")
    with pytest.raises(ModelFileError, match=r"net\.xml is damaged"):
        wrap(path, tmp_path / "net.evseg")


def test_classes_that_disagree(tmp_path):
    with pytest.raises(HeadError, match=r"names 7 classes, tiny.tflite gives 3"):
        wrap(ASSETS / "tiny.tflite", tmp_path / "net.evseg", labels=numbered_labels(7))


@pytest.mark.parametrize("option", [{"size_hw": (48, 64)}, {"weights": Path("w.pt")}], ids=["size", "weights"])
def test_options_that_do_not_apply(tmp_path, option):
    with pytest.raises(OptionError, match="does not apply to tiny.tflite"):
        wrap(ASSETS / "tiny.tflite", tmp_path / "net.evseg", **option)
