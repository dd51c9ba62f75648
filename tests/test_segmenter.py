"""The segmenter on the numpy runtime, against the same network written as loops."""

from __future__ import annotations

import importlib.metadata
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from plain_bilinear import ALIGNS, assert_argmax, upsample
from reference_bundle import SIZE_HW, Recipe, expected_labels, expected_scores, make_failed, make_variant, write_bundle

import edge_vseg
from edge_vseg import Frame, OpenOptions, PipelineOptions, Segmenter
from edge_vseg.bundle.manifest import Parity
from edge_vseg.errors import (
    BackendError,
    BundleFileError,
    BundleNotFoundError,
    FrameError,
    ManifestError,
    OptionError,
    ProviderError,
    SessionError,
)
from edge_vseg.imaging.preprocess import check_image

FAILED = make_failed("tflite/int8", "operator Einsum is not known", runtime="tflite", precision="int8")


def picture(seed: int = 0, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size_hw[0] // 8 + 1, size_hw[1] // 8 + 1, 3), np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[: size_hw[0], : size_hw[1]].copy()


def open_segmenter(bundle: Path, **settings: object) -> Segmenter:
    """Open with the arguments of ``open`` and the fields of its options in one dictionary."""
    direct = {name: settings.pop(name) for name in ("runtime", "threads") if name in settings}
    return Segmenter.open(bundle, **direct, options=OpenOptions(**settings))


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("seed", range(3))
def test_labels_and_logits(align: str, seed: int, tmp_path: Path) -> None:
    image = picture(seed)
    with Segmenter.open(write_bundle(tmp_path / "a.evseg", Recipe(align=align)), runtime="reference") as segmenter:
        result = segmenter(image)
    assert result.logits is not None
    assert result.logits.dtype == np.float32
    np.testing.assert_allclose(result.logits, expected_scores(image), atol=1e-3)
    assert result.labels.shape == SIZE_HW
    assert result.labels.dtype == np.uint8
    assert len(np.unique(result.labels)) == 3
    assert_argmax(result.labels, upsample(expected_scores(image), SIZE_HW, align))
    assert (result.labels == expected_labels(image, align=align)).mean() > 0.999
    assert result.source == "inferred"


def test_probabilities_are_the_softmax_of_the_logits(reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        result = segmenter(picture())
    exponentials = np.exp(result.logits.astype(np.float64))
    expected = exponentials / exponentials.sum(axis=0)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(result.uncertainty, 1 - expected.max(axis=0), atol=1e-6)


def test_labels_have_the_frames_size(reference_bundle: Path) -> None:
    """A frame twice as large in each direction, of flat 2x2 blocks, shrinks to the very small frame."""
    small = picture(4)
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        result = segmenter(large)
    assert_argmax(result.labels, upsample(expected_scores(small), (96, 128), "half_pixel"))


def test_size_may_change_in_mid_stream(reference_bundle: Path) -> None:
    sizes = [(96, 128), (48, 64), (31, 200), (96, 128)]
    frames = [picture(i, size) for i, size in enumerate(sizes)]
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        in_turn = [segmenter(frame).labels for frame in frames]
    for frame, labels in zip(frames, in_turn, strict=True):
        with Segmenter.open(reference_bundle, runtime="reference") as fresh:
            np.testing.assert_array_equal(labels, fresh(frame).labels)
        assert labels.shape == frame.shape[:2]


@pytest.mark.parametrize(("graph", "frames"), [("bgr", "bgr"), ("bgr", "rgb"), ("rgb", "bgr"), ("rgb", "rgb")])
def test_colour_order(graph: str, frames: str, tmp_path: Path) -> None:
    image = picture(1)
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(color=graph))
    with Segmenter.open(bundle, runtime="reference", color=frames) as segmenter:
        labels = segmenter(image).labels
    seen = image if graph == frames else np.ascontiguousarray(image[:, :, ::-1])
    np.testing.assert_array_equal(labels, expected_labels(seen))


def test_frames_are_bgr_by_default(reference_bundle: Path) -> None:
    """Class 0 looks at the first channel of a BGR graph: it is the blue one, as cv2 decodes it."""
    blue = cv2.cvtColor(np.full((*SIZE_HW, 3), (0, 0, 255), np.uint8), cv2.COLOR_RGB2BGR)
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        assert (segmenter(blue).labels == 0).all()
        assert (segmenter(blue[:, :, ::-1]).labels == 2).all()


def test_frames_and_arrays(reference_bundle: Path) -> None:
    image = picture(2)
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        before = time.monotonic_ns()
        bare = [segmenter(image), segmenter(image)]
        after = time.monotonic_ns()
        framed = segmenter(Frame(image=image, seq=41, capture_ns=123, pts_ns=5))
        pushed = segmenter.push(image, capture_ns=before)
    assert [r.seq for r in bare] == [0, 1]
    assert before <= bare[0].capture_ns <= bare[0].done_ns <= bare[1].capture_ns <= bare[1].done_ns <= after
    assert (framed.seq, framed.capture_ns) == (41, 123)
    assert (pushed.seq, pushed.capture_ns) == (42, before)
    assert pushed.age_ms == (pushed.done_ns - before) / 1e6 > 0
    for result in (framed, pushed, bare[1]):
        np.testing.assert_array_equal(result.labels, bare[0].labels)


def test_times_by_step_add_up(reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        result = segmenter(picture())
    assert list(result.latency_ms) == ["decide", "preprocess", "infer", "labels", "total"]
    assert min(result.latency_ms.values()) >= 0
    steps = [ms for name, ms in result.latency_ms.items() if name != "total"]
    assert sum(steps) <= result.latency_ms["total"] <= result.age_ms


def test_results_are_the_callers_own(reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        first = segmenter(picture(1))
        assert first.logits is not None
        labels, logits = first.labels.copy(), first.logits.copy()
        segmenter(picture(2))
    np.testing.assert_array_equal(first.labels, labels)
    np.testing.assert_array_equal(first.logits, logits)


@pytest.mark.parametrize(
    "wrong", [np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3)), np.zeros((48, 64, 4), np.uint8), None, "x.png"]
)
def test_wrong_frames(wrong: object, reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        with pytest.raises(FrameError, match=r"expected a \(H, W, 3\) uint8 array"):
            segmenter(wrong)
        with pytest.raises(FrameError):
            segmenter(Frame(image=wrong, seq=0, capture_ns=0))
        assert segmenter(picture()).seq <= 1, "it goes on after a bad frame"


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (np.zeros((48, 64), np.uint8), "cv2.COLOR_GRAY2BGR"),
        (np.zeros((48, 64, 4), np.uint8), "cv2.COLOR_BGRA2BGR"),
        (np.zeros((3, 48, 64), np.uint8), r"image.transpose\(1, 2, 0\)"),
        (np.zeros((1, 48, 64, 3), np.uint8), r"image\[0\]"),
        (np.zeros((48, 64, 3)), "255 \\* image"),
        (np.zeros((0, 64, 3), np.uint8), "it is empty"),
        (np.zeros((48, 64, 3), np.int64), "convert it"),
        (None, "cv2.imread gives None"),
        ("x.png", "decode the image first"),
    ],
)
def test_wrong_frames_are_told_what_to_do(wrong: object, advice: str) -> None:
    with pytest.raises(FrameError, match=advice):
        check_image(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("color", ["BGR", "RGB", "gray", "", None])
def test_an_unknown_colour_order_is_not_taken_for_another(color: Any, reference_bundle: Path) -> None:
    with pytest.raises(OptionError, match=f"color must be 'bgr' or 'rgb', got {color!r}"):
        Segmenter.open(reference_bundle, runtime="reference", color=color)


@pytest.mark.parametrize("threads", ["2", 2.0, None, True])
def test_threads_are_a_whole_number(threads: Any, reference_bundle: Path) -> None:
    with pytest.raises(OptionError, match="threads must be a whole number"):
        Segmenter.open(reference_bundle, runtime="reference", threads=threads)


@pytest.mark.parametrize("capture_ns", [None, 1.5, "now", True], ids=str)
def test_capture_times_are_whole_numbers(capture_ns: Any, reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        with pytest.raises(FrameError, match="capture_ns must be a whole number"):
            segmenter.push(picture(), capture_ns=capture_ns)
        with pytest.raises(FrameError, match="seq must be a whole number"):
            segmenter.push(picture(), capture_ns=0, seq="7")  # type: ignore[arg-type]


def test_capture_times_of_another_clock_are_refused(reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        for wrong in (time.time_ns(), time.monotonic_ns() + 5 * 10**9):
            with pytest.raises(FrameError, match=r"far ahead of time.monotonic_ns\(\)"):
                segmenter.push(picture(), capture_ns=wrong)
        soon = time.monotonic_ns() + 10**8
        assert segmenter.push(picture(), capture_ns=soon).capture_ns == soon
        assert segmenter.push(picture(), capture_ns=np.int64(5)).seq == 1, "the past is the driver's business"


def test_the_drivers_frame_numbers(reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        given = [
            segmenter.push(picture(), capture_ns=at, seq=seq).seq for at, seq in enumerate((None, 5, None, 3, None))
        ]
    assert given == [0, 5, 6, 3, 4]


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.uint64])
def test_frame_numbers_without_a_sign(kind: type, reference_bundle: Path) -> None:
    """A counter that begins again is another video, and no age of four thousand million."""
    with Segmenter.open(reference_bundle, runtime="reference", policy="fixed") as segmenter:
        results = [segmenter.push(picture(), capture_ns=at, seq=kind(seq)) for at, seq in enumerate((7, 8, 3, 4))]
    assert [(type(result.seq), result.seq) for result in results] == [(int, 7), (int, 8), (int, 3), (int, 4)]
    assert [result.age_frames for result in results] == [0, 1, 0, 1]


def test_short_representations(reference_bundle: Path) -> None:
    segmenter = Segmenter.open(reference_bundle, runtime="reference")
    frame = Frame(image=picture(), seq=3, capture_ns=time.monotonic_ns(), source_name="cam")
    result = segmenter(frame)
    assert repr(frame) == "<Frame 3 of cam, 48x64>"
    total_ms = result.latency_ms["total"]
    assert repr(result) == f"<Result of frame 3, 48x64, inferred, {total_ms:.1f} ms>"
    assert "propagated, 4 frames old" in repr(replace(result, source="propagated", age_frames=4))
    assert repr(segmenter) == "<Segmenter reference/float of reference.evseg, cpu>"
    segmenter.close()
    assert repr(segmenter) == "<Segmenter reference/float of reference.evseg, closed>"
    assert "NoneType" in repr(Frame(image=None, seq=0, capture_ns=0))  # type: ignore[arg-type]


def test_labels_of_a_segmenter(reference_bundle: Path) -> None:
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        assert [(label.id, label.name) for label in segmenter.labels] == [(0, "blue"), (1, "green"), (2, "red")]


def test_version() -> None:
    assert edge_vseg.__version__ == importlib.metadata.version("edge-vseg")
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'; it has: IGNORE_ID"):
        _ = edge_vseg.Segmentor  # type: ignore[attr-defined]


def test_closed(reference_bundle: Path) -> None:
    segmenter = Segmenter.open(reference_bundle, runtime="reference")
    segmenter.close()
    segmenter.close()
    with pytest.raises(SessionError, match="closed"):
        segmenter(picture())
    with pytest.raises(ZeroDivisionError), Segmenter.open(reference_bundle, runtime="reference") as other:
        _ = 1 / 0
    with pytest.raises(SessionError, match="closed"):
        other(picture())


def test_choice_of_variant(tmp_path: Path) -> None:
    int8 = make_variant("reference/int8", precision="int8", status="slower-than-float")
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=(int8,), failed=(FAILED,)))

    def opened(runtime: str = "auto", **options: object) -> str:
        with Segmenter.open(bundle, runtime=runtime, options=OpenOptions(**options)) as segmenter:
            assert segmenter.chosen is None
            assert segmenter.provider == "cpu"
            return segmenter.variant.id

    assert opened(runtime="reference") == "reference/int8"
    assert opened(runtime="reference", precision="float") == "reference/float"
    assert opened(variant="reference/float") == "reference/float"


PARITY = Parity(
    frames=1,
    pixel_agreement=0.653,
    mean_iou=0.5,
    iou=(),
    sqnr_db=None,
    worst_frame=0,
    worst_agreement=0.6,
    latency_ms=None,
    float_latency_ms=None,
)


@pytest.mark.parametrize(
    "how",
    [
        {"runtime": "reference"},
        {"runtime": "reference", "options": OpenOptions(precision="int8")},
        {"options": OpenOptions(variant="reference/int8")},
        {"options": OpenOptions(precision="int8")},
    ],
    ids=["runtime", "runtime and precision", "variant", "auto and precision"],
)
def test_a_variant_that_lost_accuracy_is_not_opened_in_silence(
    how: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    int8 = make_variant("reference/int8", precision="int8", status="drop", reason="34.70% differ", parity=PARITY)
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=(int8,)))
    options = replace(how.get("options", OpenOptions()), cache=tmp_path / "cache.json")
    with Segmenter.open(bundle, **(how | {"options": options})) as segmenter:
        assert segmenter.variant.id == "reference/int8"
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert (
        "reference/int8 lost more accuracy than allowed at export (agreement with float 65.3%)" in record.getMessage()
    )
    assert "34.70% differ" in record.getMessage()


def test_options_of_a_pipeline_are_refused(reference_bundle: Path) -> None:
    with pytest.raises(OptionError, match=r"takes OpenOptions, got PipelineOptions; give OpenOptions"):
        Segmenter.open(reference_bundle, runtime="reference", options=PipelineOptions())  # type: ignore[arg-type]


def test_a_good_variant_is_opened_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    int8 = make_variant("reference/int8", precision="int8", status="slower-than-float", reason="9 ms against 7 ms")
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=(int8,)))
    Segmenter.open(bundle, runtime="reference", options=OpenOptions(precision="float")).close()
    assert not caplog.messages
    Segmenter.open(bundle, runtime="reference").close()
    assert "reference/int8 was slower than float at export (9 ms against 7 ms)" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"runtime": "abacus"}, OptionError, "no runtime 'abacus'; known runtimes: onnxruntime"),
        ({"runtime": "openvino"}, OptionError, "has nothing for openvino; it has: reference/float"),
        ({"runtime": "reference", "precision": "int8"}, OptionError, "has nothing for reference int8"),
        ({"runtime": "tflite"}, BackendError, "its export failed: operator Einsum is not known"),
        ({"variant": "tflite/int8"}, ManifestError, "its export failed: operator Einsum is not known"),
        ({"variant": "reference/int4"}, ManifestError, "no variant 'reference/int4'; it has: reference/float"),
        ({"precision": "float16"}, OptionError, "no variant of precision 'float16'"),
        ({"runtime": "reference", "provider": "cuda"}, ProviderError, "no provider 'cuda'"),
        ({"runtime": "reference", "provider_options": {"a": "b"}}, OptionError, "takes no options, got a"),
        ({"runtime": "reference", "threads": -1}, OptionError, "threads must be 0"),
    ],
    ids=str,
)
def test_impossible_options(options: dict[str, object], error: type[Exception], message: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(failed=(FAILED,)))
    with pytest.raises(error, match=message):
        open_segmenter(bundle, cache=tmp_path / "cache.json", **options)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        Segmenter.open(tmp_path / "a.evseg")


@pytest.mark.parametrize("how", [{"runtime": "reference"}, {"runtime": "auto"}, {"variant": "reference/float"}])
def test_damaged_graph_is_never_run(how: dict[str, str], reference_bundle: Path, tmp_path: Path) -> None:
    graph = reference_bundle / "reference/float/graph.npz"
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    with pytest.raises(BundleFileError, match="SHA-256 differs"):
        open_segmenter(reference_bundle, cache=tmp_path / "cache.json", **how)


def test_damaged_graph_is_not_tried_either(
    reference_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever replaces a graph must not reach a runtime, in a child process or not."""
    monkeypatch.setenv("EDGE_VSEG_PROBE", "first:30")
    graph = reference_bundle / "reference/float/graph.npz"
    graph.write_bytes(b"no graph".ljust(graph.stat().st_size))
    with pytest.raises(BundleFileError, match="SHA-256 differs"):
        open_segmenter(reference_bundle, cache=tmp_path / "cache.json", variant="reference/float")


def test_auto_uses_its_cache(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(failed=(FAILED,)))
    cache = tmp_path / "deep/cache.json"
    origins = []
    for _ in range(2):
        with Segmenter.open(bundle, options=OpenOptions(cache=cache)) as segmenter:
            assert segmenter.variant.id == "reference/float"
            assert segmenter.chosen is not None
            assert "reference/float" in segmenter.chosen.summary
            origins.append(segmenter.chosen.origin)
            np.testing.assert_array_equal(segmenter(picture()).labels, expected_labels(picture()))
    assert origins == ["measured", "cache"]
    write_bundle(bundle, Recipe(bias=np.zeros(3, np.float32)))
    with Segmenter.open(bundle, options=OpenOptions(cache=cache)) as segmenter:
        assert segmenter.chosen is not None
        assert segmenter.chosen.origin == "measured", "another bundle at the same path is another bundle"
