"""A bundle for the numpy runtime, and what its network gives, computed without any code of the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from msgspec.structs import replace
from plain_bilinear import upsample

from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, stage_bundle
from edge_vseg.bundle.manifest import (
    CalibrationSpec,
    ClassIoU,
    FailedVariant,
    FrameSpec,
    HeadSpec,
    Label,
    Manifest,
    Parity,
    SourceSpec,
    TensorSpec,
    Variant,
)
from edge_vseg.runtimes.backends.reference import write_reference

SIZE_HW = (48, 64)
STRIDE = 8
# Columns are blue, green, red: the order of the frames.
WEIGHT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
BIAS = np.array([0, 5, -5], np.float32)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs from one test bundle to the next."""

    name: str = "colours"
    weight: np.ndarray = field(default_factory=WEIGHT.copy)
    bias: np.ndarray = field(default_factory=BIAS.copy)
    color: str = "bgr"
    align: str = "half_pixel"
    extra_variants: tuple[Variant, ...] = ()
    failed: tuple[FailedVariant, ...] = ()


def make_variant(variant_id: str = "reference/float", **fields: object) -> Variant:
    entry = f"{variant_id}/graph.npz"
    height, width = SIZE_HW
    parity = Parity(
        frames=1,
        pixel_agreement=1.0,
        mean_iou=1.0,
        iou=tuple(ClassIoU(name=name, iou=1.0) for name in ("blue", "green", "red")),
        sqnr_db=None,
        worst_frame=0,
        worst_agreement=1.0,
        latency_ms=1.0,
        float_latency_ms=1.0,
    )
    given = {
        "runtime": "reference",
        "precision": "float",
        "target": "any",
        "status": "ok",
        "entry": entry,
        "files": (entry,),
        "input": TensorSpec(name="frame", shape=(1, height, width, 3), dtype="uint8", layout="NHWC"),
        "output": TensorSpec(
            name="scores", shape=(1, 3, height // STRIDE, width // STRIDE), dtype="float32", layout="NCHW"
        ),
        "parity": parity,
    }
    return Variant(id=variant_id, **(given | fields))


def make_failed(variant_id: str, reason: str, **fields: str) -> FailedVariant:
    given = {"runtime": "reference", "precision": "float", "target": "any"}
    return FailedVariant(id=variant_id, reason=reason, **(given | fields))


def make_manifest(*variants: Variant, **fields: object) -> Manifest:
    """A manifest that lists no files; fill them in from the staging."""
    given = {
        "schema_version": 1,
        "name": "colours",
        "labels": tuple(
            Label(id=i, name=name, color=color)
            for i, (name, color) in enumerate(
                [("blue", (0, 0, 255)), ("green", (0, 255, 0)), ("red", (255, 0, 0))],
            )
        ),
        "frame": FrameSpec(size_hw=SIZE_HW),
        "head": HeadSpec(kind="scores", size_hw=(SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE)),
        "source": SourceSpec(name="colours", kind="reference", sha256="0" * 64),
        "variants": variants,
        "calibration": CalibrationSpec(),
        "files": {},
    }
    return Manifest(**(given | fields))


def check_frame() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (*SIZE_HW, 3), np.uint8)


def expected_scores(image: np.ndarray, weight: np.ndarray = WEIGHT, bias: np.ndarray = BIAS) -> np.ndarray:
    """Scores of a frame of the bundle's own size and colour order, in float64."""
    height, width = image.shape[:2]
    scores = np.empty((len(weight), height // STRIDE, width // STRIDE))
    for y in range(height // STRIDE):
        for x in range(width // STRIDE):
            block = image[y * STRIDE : (y + 1) * STRIDE, x * STRIDE : (x + 1) * STRIDE].reshape(-1, 3)
            scores[:, y, x] = weight.astype(np.float64) @ block.astype(np.float64).mean(axis=0) + bias
    return scores


def expected_labels(
    image: np.ndarray, size_hw: tuple[int, int] | None = None, align: str = "half_pixel", **network: np.ndarray
) -> np.ndarray:
    return upsample(expected_scores(image, **network), size_hw or image.shape[:2], align).argmax(axis=0)


def write_bundle(target: Path, recipe: Recipe | None = None) -> Path:
    """Stage and commit the bundle, as the exporter does."""
    recipe = recipe or Recipe()
    frame = check_frame()
    labels = expected_labels(
        frame[:, :, ::-1] if recipe.color == "rgb" else frame,
        align=recipe.align,
        weight=recipe.weight,
        bias=recipe.bias,
    )
    with stage_bundle(target) as staging:
        variants = (make_variant(), *recipe.extra_variants)
        for variant in variants:
            path = staging.root / variant.entry
            path.parent.mkdir(parents=True)
            write_reference(path, recipe.weight, recipe.bias, STRIDE)
        (staging.root / "check").mkdir()
        for name, picture in ((CHECK_FRAME, frame), (CHECK_LABELS, labels.astype(np.uint8))):
            _, data = cv2.imencode(".png", picture)
            (staging.root / name).write_bytes(data.tobytes())
        base = make_manifest(name=recipe.name)
        staging.commit(
            replace(
                base,
                variants=variants,
                failed=recipe.failed,
                files=staging.list_files(),
                frame=FrameSpec(size_hw=SIZE_HW, color=recipe.color),
                head=HeadSpec(kind="scores", size_hw=base.head.size_hw, align=recipe.align),
            )
        )
    return target
