"""``report.html``: every variant, every class, and pictures of the worst frames, read back out of the page."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from reference_bundle import SIZE_HW, make_failed, make_manifest, make_variant

from edge_vseg.bundle.manifest import ClassIoU, FailedVariant, FileSpec, Manifest, Parity, Variant
from edge_vseg.export.export_report import write_report
from edge_vseg.export.variant_validation import ValidatedVariant

pytestmark = pytest.mark.usefixtures("real_figures")

FLOAT = make_variant("onnxruntime/float", recipe="float32")
INT8 = make_variant(
    "onnxruntime/int8-arm64",
    status="drop",
    reason="4.17% of the pixels differ <from> float",
    recipe="U8S8 per channel",
    graph_bytes=1_234_567,
    parity=Parity(
        frames=3,
        pixel_agreement=0.9583,
        mean_iou=0.8765,
        iou=(ClassIoU(name="blue", iou=0.9125), ClassIoU(name="green", iou=None), ClassIoU(name="red", iou=0.75)),
        sqnr_db=21.25,
        worst_frame=1,
        worst_agreement=0.75,
        latency_ms=4.0,
        float_latency_ms=10.0,
    ),
)
FAILED = make_failed("tflite/int8", "Det is unknown")


class Page(HTMLParser):
    """Rows of the tables as texts, and pictures by what they are called."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.pictures: list[tuple[str, np.ndarray]] = []
        self.text = ""
        self._in_cell = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        elif tag == "img":
            kind, data = given["src"].split(",", 1)
            assert kind == "data:image/jpeg;base64", "the page needs nothing beside it"
            image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
            self.pictures.append((given["alt"], image))

    def handle_endtag(self, tag) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data.strip()

    def row(self, first: str) -> list[str]:
        (found,) = [row for row in self.rows if row[0] == first]
        return found


def manifest_of(*variants: Variant, failed: tuple[FailedVariant, ...] = ()) -> Manifest:
    files = {path: FileSpec(bytes=1, sha256="0" * 64) for variant in variants for path in variant.files}
    return make_manifest(*variants, failed=failed, files=files, made_on={"cpu": "abacus"})


def written(tmp_path: Path, *validated: ValidatedVariant, warning: str = "") -> Page:
    frames = [np.full((*SIZE_HW, 3), 40 * number, np.uint8) for number in range(1, 4)]
    baseline = [np.zeros(SIZE_HW, np.uint8) for _ in frames]
    path = tmp_path / "report.html"
    write_report(
        path, manifest_of(*(each.variant for each in validated), failed=(FAILED,)), frames, baseline, validated, warning
    )
    return Page(path)


def validated_int8() -> ValidatedVariant:
    """The left quarter of its worst frame is another class."""
    worst = np.zeros(SIZE_HW, np.uint8)
    worst[:, : SIZE_HW[1] // 4] = 2
    return ValidatedVariant(variant=INT8, worst=worst)


def validated_all() -> tuple[ValidatedVariant, ...]:
    same = ValidatedVariant(variant=FLOAT, worst=np.zeros(SIZE_HW, np.uint8))
    return same, validated_int8()


def test_a_row_for_every_variant(tmp_path) -> None:
    page = written(tmp_path, *validated_all())
    assert page.row("onnxruntime/float")[1:4] == ["ok", "100.00%", "1.0000"]
    assert page.row("onnxruntime/int8-arm64")[1:9] == [
        "drop", "95.83%", "0.8765", "75.00%", "21.2 dB", "4.0", "2.50 x", "1.23",
    ]  # fmt: skip
    assert page.row("onnxruntime/int8-arm64")[9] == "U8S8 per channel; 4.17% of the pixels differ <from> float"
    assert page.row("tflite/int8") == ["tflite/int8", "failed", "", "Det is unknown"]


def test_iou_of_every_class(tmp_path) -> None:
    page = written(tmp_path, *validated_all())
    assert page.row("class") == ["class", "onnxruntime/float", "onnxruntime/int8-arm64"]
    assert page.row("blue") == ["blue", "1.000", "0.912"]
    assert page.row("green") == ["green", "1.000", "not seen"]
    assert page.row("red") == ["red", "1.000", "0.750"]


def test_pictures_of_the_worst_frame(tmp_path) -> None:
    """Only of the variant that differs; red where it does, and the darkened frame, number 1, elsewhere."""
    page = written(tmp_path, *validated_all())
    assert [name for name, _ in page.pictures] == ["float", "onnxruntime/int8-arm64", "classes", "difference"]
    pictures = dict(page.pictures)
    assert {picture.shape[:2] for picture in pictures.values()} == {SIZE_HW}
    differing, same = np.s_[4:-4, 2:12], np.s_[4:-4, 24:-4]
    np.testing.assert_allclose(pictures["difference"][differing].mean((0, 1)), (40, 40, 230), atol=6)
    np.testing.assert_allclose(pictures["difference"][same].mean((0, 1)), 80 // 3, atol=3)
    np.testing.assert_allclose(pictures["classes"][differing].mean((0, 1)), (0, 0, 255), atol=6)
    np.testing.assert_allclose(pictures["classes"][same].mean((0, 1)), (255, 0, 0), atol=6)
    np.testing.assert_allclose(pictures["float"][same], pictures["onnxruntime/int8-arm64"][same], atol=3)
    shown = pictures["float"][differing].mean((0, 1)) - pictures["onnxruntime/int8-arm64"][differing].mean((0, 1))
    assert shown[0] > 30, "float is blue there"
    assert shown[2] < -30, "the variant is red there"


def test_nothing_differs(tmp_path) -> None:
    page = written(tmp_path, validated_all()[0])
    assert page.pictures == []
    assert "No variant differs from float." in page.text


def test_variants_that_are_no_part_of_the_bundle_have_no_pictures(tmp_path) -> None:
    """The manifest's variant is the one that counts."""
    other = ValidatedVariant(variant=replace(INT8, id="onnxruntime/int8-jetson"), worst=validated_int8().worst)
    path = tmp_path / "report.html"
    frames, maps = [np.zeros((*SIZE_HW, 3), np.uint8)] * 2, [np.zeros(SIZE_HW, np.uint8)] * 2
    write_report(path, manifest_of(INT8), frames, maps, [validated_int8(), other], "")
    assert "onnxruntime/int8-jetson" not in path.read_text(encoding="utf-8")


def test_a_warning_is_shown(tmp_path) -> None:
    assert "check <--mean>" in written(tmp_path, validated_all()[0], warning="check <--mean>").text
    assert "--mean" not in written(tmp_path, validated_all()[0]).text
