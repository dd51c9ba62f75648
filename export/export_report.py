"""``report.html``: what an export made and how well it agrees with float, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_vseg.analysis.report import Block, Cell, Note, Picture, Pictures, Section, Table, write_page
from edge_vseg.analysis.report.page_blocks import Tone
from edge_vseg.analysis.report.plots import Point, iou_bars, pareto
from edge_vseg.bundle.labels import distinct_names
from edge_vseg.bundle.manifest import FailedVariant, Manifest, SourceSpec, Status, Variant
from edge_vseg.export.speed_report import speed_sections
from edge_vseg.imaging.overlay import colorize, draw_overlay
from edge_vseg.types import Image, LabelMap

if TYPE_CHECKING:
    from edge_vseg.export.variant_validation import ValidatedVariant

_SAME = 0.9999
_TONES: dict[Status, Tone] = {"ok": "good", "drop": "bad", "slower-than-float": "warn", "slower-than-asked": "warn"}
_HEAD = ("variant", "status", "pixels equal", "mean IoU", "worst frame", "SQNR", "ms", "speed-up", "MB", "how")


def write_report(
    path: Path,
    manifest: Manifest,
    frames: Sequence[Image],
    baseline: Sequence[LabelMap],
    validated: Sequence[ValidatedVariant],
    warning: str,
) -> None:
    """Write the report as one self-contained HTML file.

    Args:
        path: Where to.
        manifest: The bundle's manifest.
        frames: Validation frames ``(H, W, 3)`` uint8 BGR.
        baseline: Label maps of the float graph on them.
        validated: The variants and their worst label maps.
        warning: Shown at the top if not empty.
    """
    sections = export_sections(manifest, frames, baseline, validated)
    write_page(path, manifest.name, _subtitle(manifest), sections, warning=warning)


def export_sections(
    manifest: Manifest, frames: Sequence[Image], baseline: Sequence[LabelMap], validated: Sequence[ValidatedVariant]
) -> list[Section]:
    """The sections of the report; see :func:`write_report`."""
    return [
        Section(title="Variants against the float graph", blocks=_variants(manifest)),
        *speed_sections(manifest),
        Section(title="IoU by class against float", blocks=_classes(manifest)),
        Section(title="Worst frames", blocks=_worst_frames(manifest, frames, baseline, validated)),
        Section(title="Provenance", blocks=_provenance(manifest)),
    ]


def _subtitle(manifest: Manifest) -> str:
    height, width = manifest.frame.size_hw
    source = manifest.source
    size = ""
    if source.macs:
        size = f", {source.macs / 1e9:.2f} GMAC, {(source.parameters or 0) / 1e6:.2f} M parameters"
    return f"{source.name}, {width} x {height}{size}; made on {manifest.made_on.get('cpu', 'an unknown machine')}"


def _variants(manifest: Manifest) -> tuple[Block, ...]:
    note = Note(
        text=f"On {len(manifest.calibration.validation_frames)} frames of the sample video that calibration never saw."
        " Speed-up is the float graph's median time over this one's, in the same runtime and the same run."
        + _noise_note(manifest.source)
    )
    timed = [
        Point(name=v.id, cost=v.parity.latency_ms, quality=100 * v.parity.pixel_agreement)
        for v in manifest.variants
        if v.parity is not None and v.parity.latency_ms is not None
    ]
    table = Table.of(_HEAD, [*map(_variant, manifest.variants), *map(_failed, manifest.failed)])
    plots = (pareto(timed, "ms a frame", "pixels as float has them, %"),) if len(timed) > 1 else ()
    return (note, table, *plots)


def _noise_note(source: SourceSpec) -> str:
    if source.noise_agreement is None:
        return ""
    return (
        " When every channel of every pixel changes by at most one grey level, less than the noise of most cameras, the"
        f" float network itself gives the same class in {source.noise_agreement:.2%} of the pixels: the rest are"
        " borders and guesses, on which int8 cannot be asked to agree."
    )


def _variant(variant: Variant) -> tuple[str | Cell, ...]:
    name, status = variant.id, Cell(text=variant.status, tone=_TONES[variant.status])
    parity = variant.parity
    if parity is None:
        return (name, status, Cell(text="", span=7), Cell(text=variant.reason, prose=True))
    how = f"{variant.recipe}; {variant.reason}" if variant.reason else variant.recipe
    return (
        name,
        status,
        f"{parity.pixel_agreement:.2%}",
        f"{parity.mean_iou:.4f}",
        f"{parity.worst_agreement:.2%}",
        "" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB",
        "" if parity.latency_ms is None else f"{parity.latency_ms:.1f}",
        "" if parity.speedup is None else f"{parity.speedup:.2f} x",
        f"{variant.graph_bytes / 1e6:.2f}",
        Cell(text=how, prose=True),
    )


def _failed(failure: FailedVariant) -> tuple[str | Cell, ...]:
    return failure.id, Cell(text="failed", tone="bad"), Cell(text="", span=7), Cell(text=failure.reason, prose=True)


def _classes(manifest: Manifest) -> tuple[Block, ...]:
    compared = [v for v in manifest.variants if v.parity is not None]
    if not compared:
        return (Note(text="No variant could be compared."),)
    keys = distinct_names(manifest.labels)
    values = {
        key: [v.parity.iou[label.id].iou if v.parity else None for v in compared]
        for key, label in zip(keys, manifest.labels, strict=True)
    }
    rows = [
        (
            Cell(text=key, swatch=label.color),
            *(Cell(text="not seen", tone="dim") if v is None else Cell(text=f"{v:.3f}") for v in values[key]),
        )
        for key, label in zip(keys, manifest.labels, strict=True)
    ]
    names = [v.id for v in compared]
    percent = {name: [None if v is None else 100 * v for v in row] for name, row in values.items()}
    return (iou_bars(percent, names), Table.of(("class", *names), rows))


def _worst_frames(
    manifest: Manifest, frames: Sequence[Image], baseline: Sequence[LabelMap], validated: Sequence[ValidatedVariant]
) -> tuple[Block, ...]:
    listed = {variant.id for variant in manifest.variants}
    different = [
        each
        for each in validated
        if each.worst is not None
        and each.variant.id in listed
        and each.variant.parity is not None
        and each.variant.parity.worst_agreement < _SAME
    ]
    if not different:
        return (Note(text="No variant differs from float."),)
    return tuple(_worst(each, manifest, frames, baseline) for each in different)


def _worst(
    validated: ValidatedVariant, manifest: Manifest, frames: Sequence[Image], baseline: Sequence[LabelMap]
) -> Pictures:
    """Pictures of a variant's worst frame: float, variant, and where they differ."""
    parity, labels = validated.variant.parity, validated.worst
    assert parity is not None
    assert labels is not None
    frame, expected = frames[parity.worst_frame], baseline[parity.worst_frame]
    different = np.where((expected != labels)[..., None], np.array([40, 40, 230], np.uint8), frame // 3)
    return Pictures(
        title=f"{validated.variant.id}: {parity.worst_agreement:.2%} of the pixels equal",
        items=(
            Picture.of(draw_overlay(frame, expected, manifest.labels), "float"),
            Picture.of(draw_overlay(frame, labels, manifest.labels), validated.variant.id),
            Picture.of(colorize(labels, manifest.labels), "classes", "its classes"),
            Picture.of(different.astype(np.uint8), "difference", "red where they differ"),
        ),
    )


def _provenance(manifest: Manifest) -> tuple[Block, ...]:
    source, sample, head = manifest.source, manifest.calibration, manifest.head
    network = source.sha256
    if source.agreement is not None:
        network += (
            f"; its canonical graph gives the same class as the network itself in {source.agreement:.2%} of the pixels"
        )
    height, width = head.size_hw
    frames = f"{len(sample.frames)} out of {sample.seen} seen, seed {sample.seed}"
    if sample.sha256:
        frames += f", {sample.sha256}"
    if dropped := ", ".join(f"{count} {reason}" for reason, count in sample.dropped.items() if count):
        frames += f"; dropped: {dropped}"
    cut = f"cut off: {', '.join(head.cut)}; " if head.cut else ""
    facts = {
        "network": network,
        "head": f"{cut}scores at {width} x {height}",
        "calibration frames": frames,
        "versions": ", ".join(f"{name} {version}" for name, version in manifest.made_with.items()),
    }
    return (Table.of(("", ""), [(name, Cell(text=text, prose=True)) for name, text in facts.items()]),)
