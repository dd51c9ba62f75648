"""``edge-vseg inspect``."""

from __future__ import annotations

import json

from rich.markup import escape

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import dumps
from edge_vseg.cli import console
from edge_vseg.cli.options import BundleArgument, JsonOption
from edge_vseg.cli.tables import noise_line, part_lines, schedule_lines, variant_reasons, variant_table


def inspect(
    bundle: BundleArgument,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle holds: network, classes, variants, their slices and how well each agrees with float."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    if as_json:
        console.print_json({"path": str(bundle), "sha256": opened.sha256, "manifest": json.loads(dumps(manifest))})
        return
    height, width = manifest.frame.size_hw
    source, head = manifest.source, manifest.head
    console.out.print(f"[bold]{escape(manifest.name)}[/]  {opened.sha256[:16]}", highlight=False)
    macs = f", {source.macs / 1e9:.2f} GMAC" if source.macs else ""
    console.out.print(f"  made from {escape(source.name)}{macs}", highlight=False)
    console.out.print(
        f"  frames {width}x{height} {manifest.frame.color}, {head.kind} at {head.size_hw[1]}x{head.size_hw[0]}"
    )
    if head.cut:
        console.out.print(f"  cut from the head: {escape(', '.join(head.cut))}", highlight=False)
    names = ", ".join(label.name for label in manifest.labels)
    console.out.print(f"  {len(manifest.labels)} classes: {escape(names)}", highlight=False)
    calibration = manifest.calibration
    console.out.print(
        f"  {len(calibration.frames)} calibration and {len(calibration.validation_frames)} validation frames"
        f" chosen from {calibration.seen}, seed {calibration.seed}",
        highlight=False,
    )
    for line in schedule_lines(manifest):
        console.out.print(f"  {line}", highlight=False, soft_wrap=True)
    console.out.print(variant_table(manifest))
    for line in (*noise_line(manifest), *part_lines(manifest), *variant_reasons(manifest)):
        console.out.print(f"- {line}", highlight=False)
