"""VariantSessions for tiles give what the whole graph gives there, on every runtime; else the bundle says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from networks import Net, body, frames, staged, upsample
from typer.testing import CliRunner

from edge_vseg import open_bundle
from edge_vseg.analysis.part_agreement import tile_agreement
from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.labels import named_labels, numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec, FailedVariant, TensorSpec, Variant
from edge_vseg.cli.app import app
from edge_vseg.errors import OptionError
from edge_vseg.export import Exported, ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.partition import tile_graphs
from edge_vseg.export.partition.calibration_crops import calibration_crops
from edge_vseg.export.partition.tile_graphs import why_useless
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.export.variant_builder import VariantBuilder
from edge_vseg.export.variant_plan import VariantPlan
from edge_vseg.imaging.tiles import divide
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime

pytestmark = pytest.mark.usefixtures("warm_converter")

SIZE_HW, TILE_HW, STRIDE, HALO = (192, 256), (96, 128), 4, 32
STREET = ExportOptions(
    labels=named_labels("camvid"),
    size_hw=SIZE_HW,
    normalization=NORMALIZATION,
    max_drop=1.0,
    precisions=("int8",),
    runtimes=("openvino",),
    slices=False,
    tiles=TILE_HW,
)
ONNX = ExportOptions(
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    runtimes=("onnxruntime",),
    precisions=("float",),
    max_drop=1.0,
    slices=False,
    tiles=(96, 96),
)


def street(seed: int, count: int) -> list[np.ndarray]:
    return [frame.image for frame in render_street(StreetOptions(size_hw=SIZE_HW, seed=seed), count)]


@pytest.fixture(scope="module", params=["onnxruntime", pytest.param("openvino", marks=pytest.mark.release)])
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def exported(runtime: str, sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small network as int8 on one runtime."""
    if runtime == "onnxruntime":
        return open_bundle(sliced_bundle)
    sample = SampleFrames(calibration=street(1, 6), validation=street(2, 2), spec=CalibrationSpec())
    path = tmp_path_factory.mktemp("tiles") / "small.evseg"
    return open_bundle(export_bundle("edge_vseg.export.reference.zoo:small", path, sample, STREET).path)


def only(exported: Bundle) -> Variant:
    (variant,) = exported.manifest.variants
    return variant


def classes(exported: Bundle, runtime: str, entry: str, source: TensorSpec, output: TensorSpec) -> Callable:
    session = get_runtime(runtime).open(
        exported.root / entry, GraphSpec.of(input=source, output=output), SessionOptions(threads=1)
    )
    return lambda image: session.run({source.name: np.ascontiguousarray(image)[None]})[output.name][0].argmax(0)


def test_a_region_gives_the_classes_of_the_whole(exported: Bundle, runtime: str) -> None:
    """Compared cell by cell in plain loops, on the frames of the manifest's own figure."""
    variant = only(exported)
    tile = variant.tile
    assert variant.untiled == ""
    assert tile is not None
    assert tile.halo == HALO
    assert tile.input.shape == (1, *TILE_HW, 3)
    assert tile.output.shape == (1, 11, TILE_HW[0] // STRIDE, TILE_HW[1] // STRIDE)
    whole = classes(exported, runtime, variant.entry, variant.input, variant.output)
    part = classes(exported, runtime, tile.entry, tile.input, tile.output)
    same, shifted, seen = 0, 0, set()
    total = 0
    grid = divide(SIZE_HW, TILE_HW, (SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE), HALO)
    for frame in street(2, 2):
        expected = whole(frame)
        for tile_ in grid:
            answer = part(frame[tile_.crop[0] : tile_.crop[2], tile_.crop[1] : tile_.crop[3]])
            top, left = tile_.crop[0] // STRIDE, tile_.crop[1] // STRIDE
            for row in range(tile_.core[0], tile_.core[2]):
                for column in range(tile_.core[1], tile_.core[3]):
                    total += 1
                    same += answer[row - top, column - left] == expected[row, column]
                    shifted += answer[row - top, column - left] == expected[(row + 5) % 48, column]
                    seen.add(answer[row - top, column - left])
    assert total == 2 * 48 * 64, "the tiles cover each cell once"
    assert len(seen) > 2, "these frames would prove nothing"
    assert tile.agreement == pytest.approx(same / total, abs=1e-9 if runtime != "openvino" else 2e-3)
    assert same / total > 0.93
    assert shifted / total < same / total - 0.05


def test_the_bundle_lists_the_files_of_regions(exported: Bundle, runtime: str) -> None:
    assert check_files(exported) == len(exported.manifest.files)
    suffixes = {"onnxruntime": ("onnx",), "openvino": ("xml", "bin")}[runtime]
    expected = {f"{name}.{suffix}" for name in ("model", "tile") for suffix in suffixes}
    variant = only(exported)
    for names in (variant.files, (exported.root / variant.id).iterdir()):
        assert {Path(name).name for name in names if not Path(name).name.startswith("slice")} == expected
    assert variant.tile.latency_ms > 0


def test_int8_regions_round_as_the_whole_does(sliced_bundle: Path) -> None:
    variant = only(open_bundle(sliced_bundle))
    weights = []
    for entry in (variant.entry, variant.tile.entry):
        model = onnx.load(sliced_bundle / entry)
        int8 = (t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4)
        weights.append({t.name: onnx.numpy_helper.to_array(t).tobytes() for t in int8})
    assert weights[0]
    assert weights[0] == weights[1]


def export_net(
    tmp_path: Path,
    net: Net,
    output: str,
    options: ExportOptions = ONNX,
    size_hw=(192, 192),
    work_dir: Path | None = None,
) -> Exported:
    path = tmp_path / "net.onnx"
    path.write_bytes(net.model(output, shape=(1, 3, *size_hw)).SerializeToString())
    smooth = SampleFrames(
        calibration=frames(3, size_hw=size_hw), validation=frames(2, start=9, size_hw=size_hw), spec=CalibrationSpec()
    )
    return export_bundle(str(path), tmp_path / "net.evseg", smooth, options, work_dir=work_dir)


@pytest.mark.parametrize(("runtime", "suffix"), [("onnxruntime", "onnx"), ("tflite", "tflite")])
def test_float_regions_of_a_small_field_are_the_whole(tmp_path: Path, runtime: str, suffix: str) -> None:
    """Two 3x3 convolutions see 4 pixels around them: inside the halo nothing is different."""
    net = Net(seed=2)
    made = export_net(tmp_path, net, upsample(net, body(net), 2), replace(ONNX, runtimes=(runtime,)))
    (variant,) = made.manifest.variants
    assert variant.tile.agreement > 0.9999
    assert variant.tile.entry == f"{runtime}/float/tile.{suffix}"
    assert set(variant.files) == {variant.entry, variant.tile.entry}


def test_a_tile_graph_that_could_not_be_built_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More memory or time is no other input of the step; what is judged useless stays so."""
    net, work = Net(seed=2), tmp_path / "work"
    scores = upsample(net, body(net), 2)

    class Stopped(VariantBuilder):
        def build(self, plan: VariantPlan, float_nodes: tuple[str, ...] | None = None) -> FailedVariant:
            return plan.failed("the converter was stopped at 2.0 GB")

    with monkeypatch.context() as stopped:
        stopped.setattr(tile_graphs, "VariantBuilder", Stopped)
        made = export_net(tmp_path, net, scores, work_dir=work)
    assert [variant.untiled for variant in made.manifest.variants] == ["the converter was stopped at 2.0 GB"]
    made = export_net(tmp_path, net, scores, work_dir=work)
    assert [variant.tile is not None for variant in made.manifest.variants] == [True]


def test_without_the_option_nothing_is_made(tmp_path: Path) -> None:
    net = Net(seed=2)
    made = export_net(tmp_path, net, upsample(net, body(net), 2), replace(ONNX, tiles=None))
    (variant,) = made.manifest.variants
    assert (variant.tile, variant.untiled) == (None, "")
    assert not list(made.path.rglob("tile*"))


def label_map(net: Net) -> str:
    best = net.node("ArgMax", upsample(net, body(net), 2), axis=1, keepdims=0)
    return net.node("Gather", net.const([3, 0, 1, 2], np.int64), best, axis=0)


def fixed_sizes(net: Net) -> str:
    flat = net.node("Reshape", body(net), net.const([1, 4, 96 * 96], np.int64))
    return to_frame(net, net.node("Reshape", flat, net.const([1, 4, 96, 96], np.int64)))


def fixed_scores(net: Net) -> str:
    fixed = net.node("Resize", body(net), "", "", net.const([1, 4, 48, 48], np.int64), mode="linear")
    return to_frame(net, net.conv(net.node("Relu", fixed), 4, 4))


def third(net: Net) -> str:
    return to_frame(net, net.conv(net.node("Relu", net.conv("image", 3, 8, strides=[3, 3])), 8, 4))


def unpadded(net: Net) -> str:
    """95 cells of 192 pixels, 47 of 96."""
    return to_frame(net, net.conv("image", 3, 4, strides=[2, 2], pads=[0, 0, 0, 0]))


def to_frame(net: Net, scores: str) -> str:
    """Enlarged to the size that the network was traced at, which does no harm: that is cut."""
    return net.node("Resize", scores, "", "", net.const([1, 4, 192, 192], np.int64), mode="linear")


def looks_at_everything(net: Net) -> str:
    """One class wins in the whole image, by its mean colour."""
    scores = body(net)
    mean = net.node("GlobalAveragePool", net.conv("image", 3, 4, kernel=1))
    return net.node("Add", scores, net.node("Mul", mean, net.const(1e3)))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(label_map, "finished label maps", id="label-map"),
        pytest.param(fixed_sizes, "does not work at 96x96: ", id="fixed-sizes"),
        pytest.param(fixed_scores, "a stride of 2 by 2 pixels, those of the whole frame 4 by 4", id="fixed-scores"),
        pytest.param(third, "every 3 by 3 pixels do not fall on multiples of 32", id="stride-3"),
        pytest.param(unpadded, "of 2.043 by 2.043 pixels, those of the whole frame 2.021 by 2.021", id="unpadded"),
        pytest.param(looks_at_everything, "for tiles of 96x96 agrees with the whole graph in ", id="global"),
    ],
)
def test_networks_without_regions_say_why(tmp_path: Path, build: Callable[[Net], str], said: str) -> None:
    net = Net(seed=2)
    made = export_net(tmp_path, net, build(net), replace(ONNX, labels=numbered_labels(4)))
    (variant,) = open_bundle(made.path).manifest.variants
    assert said in variant.untiled
    assert variant.tile is None
    assert made.manifest.failed == ()
    assert not list(made.path.rglob("tile*"))


def test_what_makes_a_region_useless() -> None:
    assert why_useless(0.95, None, 0.9) == ""
    assert why_useless(0.95, (30.0, 10.0), 0.9) == ""
    assert (
        why_useless(0.89, (30.0, 10.0), 0.9) == "agrees with the whole graph in 89.0% of the cells; at least 90% must"
    )
    assert why_useless(0.95, (30.0, 30.25), 0.9) == "takes 30.25 ms, the whole graph 30.00 ms"


@pytest.mark.parametrize(
    ("size_hw", "tiles", "said"),
    [
        pytest.param((360, 480), (100, 128), "multiples of 32 pixels, got 100x128", id="height"),
        pytest.param((360, 480), (128, 100), "multiples of 32 pixels, got 128x100", id="width"),
        pytest.param(None, (64, 128), "hardly more than their halo", id="halo"),
        pytest.param(None, (0, 0), "hardly more than their halo", id="nothing"),
        pytest.param((360, 480), (384, 96), "no parts of an input of 360x480", id="higher"),
        pytest.param((360, 480), (96, 512), "no parts of an input of 360x480", id="wider"),
        pytest.param((192, 256), (192, 256), "no parts of an input of 192x256", id="all"),
    ],
)
def test_impossible_sizes(size_hw: tuple[int, int] | None, tiles: tuple[int, int], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ExportOptions(size_hw=size_hw, tiles=tiles)
    assert ExportOptions(size_hw=(192, 256), tiles=(192, 128)).tiles == (192, 128)


def test_regions_larger_than_the_networks_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("long work began")

    monkeypatch.setattr("edge_vseg.export.pipeline.quantize_step.Int8Preparation", refuse)
    net = Net(seed=2)
    with pytest.raises(OptionError, match="tiles of 96x224 are no parts of an input of 192x192"):
        export_net(tmp_path, net, body(net), replace(ONNX, tiles=(96, 224)))


def test_ready_made_files_have_no_regions(tmp_path: Path) -> None:
    sample = SampleFrames(calibration=[], validation=frames(1), spec=CalibrationSpec())
    with pytest.raises(OptionError, match=r"--tiles does not apply to net\.tflite"):
        export_bundle(str(tmp_path / "net.tflite"), tmp_path / "net.evseg", sample, ExportOptions(tiles=(96, 96)))


def test_the_command_line(tmp_path: Path) -> None:
    net = Net(seed=2)
    source, folder = tmp_path / "net.onnx", tmp_path / "frames"
    source.write_bytes(net.model(upsample(net, body(net), 2), shape=(1, 3, 128, 160)).SerializeToString())
    folder.mkdir()
    for number, image in enumerate(frames(8, size_hw=(128, 160))):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    words = ["export", str(source), "-o", str(tmp_path / "net.evseg"), "--frames", str(folder), "--no-slices"]
    words += ["--runtimes", "onnxruntime", "--precision", "float", "--scale", "64", "--mean", "127.5"]
    wrong = CliRunner().invoke(app, [*words, "--tiles", "100x128"])
    assert isinstance(wrong.exception, OptionError)
    assert "got 100x128" in str(wrong.exception)
    CliRunner().invoke(app, [*words, "--tiles", "96x128", "--force"], catch_exceptions=False)
    (variant,) = open_bundle(tmp_path / "net.evseg").manifest.variants
    assert variant.tile.input.shape == (1, 96, 128, 3)


def blocks(image: np.ndarray) -> np.ndarray:
    """A classifier at stride 8 that sees no further than its cell."""
    return image.reshape(image.shape[0] // 8, 8, image.shape[1] // 8, 8, 3).mean((1, 3, 4)).astype(np.intp) // 16


@pytest.mark.parametrize(
    ("wrong", "tiles"),
    [
        pytest.param((4, 4), 4, id="inside"),
        pytest.param((3, 4), 2, id="halo-of-the-lower-ones"),
        pytest.param((8, 8), 1, id="halo-of-all-but-the-last"),
        pytest.param((0, 0), 1, id="corner-of-the-frame"),
    ],
)
def test_agreement_is_that_of_the_cells_the_device_takes(wrong: tuple[int, int], tiles: int) -> None:
    """A frame of 128 pixels has tiles of 96 at 0 and 32, down and across, each with 8x8 cells of its own."""

    def part(image: np.ndarray) -> np.ndarray:
        answer = blocks(image)
        answer[wrong] += 1
        return answer

    images = frames(2, size_hw=(128, 128))
    grid = divide((128, 128), (96, 96), (16, 16), 32)
    assert tile_agreement(blocks, blocks, images, grid) == 1
    found = tile_agreement(blocks, part, images, grid)
    counted = sum(t.inner[0] <= wrong[0] < t.inner[2] and t.inner[1] <= wrong[1] < t.inner[3] for t in grid)
    assert counted == tiles
    assert found == pytest.approx(1 - tiles / (4 * 64))


def test_crops_are_the_devices_tiles_and_depend_on_the_seed() -> None:
    image = np.zeros((360, 480, 3), np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[:360, :480] // 8
    grid = divide((360, 480), (192, 256), (45, 60), 32)
    crops = calibration_crops([image] * 20, grid, np.random.default_rng(0))
    begins = {(int(c[0, 0, 0]) * 8, int(c[0, 0, 1]) * 8) for c in crops}
    assert len(crops) == 40
    assert {c.shape for c in crops} == {(192, 256, 3)}
    assert begins == {tile.crop[:2] for tile in grid}
    again = calibration_crops([image] * 20, grid, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(crops, again, strict=True))


@pytest.mark.parametrize(("seed", "shared"), [pytest.param(5, True, id="same"), pytest.param(6, False, id="other")])
def test_a_preparation_takes_over_only_its_own_network(seed: int, shared: bool) -> None:
    def graph(seed: int, size_hw: tuple[int, int]) -> onnx.ModelProto:
        net = Net(seed=seed)
        return staged(net.model(body(net), shape=(1, 3, *size_hw)))

    whole = Int8Preparation(graph(5, (48, 64)), frames(2, size_hw=(48, 64)), 0)
    part = Int8Preparation(graph(seed, (24, 32)), frames(2), 0, like=whole)
    assert (part.ranges is whole.ranges) is shared
    rounded = [
        sorted(
            onnx.numpy_helper.to_array(t).tobytes()
            for t in p.weights(()).graph.initializer
            if len(t.dims) == 4 and not t.name.startswith("frame.")  # the border around the frame has its size
        )
        for p in (whole, part)
    ]
    assert (rounded[0] == rounded[1]) is shared


def test_whatever_fails_the_export_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("the tracer gave up\nat line 3")

    monkeypatch.setattr("edge_vseg.export.pipeline.partition_step.make_tile_graph", fail)
    net = Net(seed=2)
    made = export_net(tmp_path, net, body(net), ONNX)
    (variant,) = open_bundle(made.path).manifest.variants
    assert (variant.tile, variant.untiled) == (None, "RuntimeError: the tracer gave up")
