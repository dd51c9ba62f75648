"""Tables that more than one command prints."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from edge_vseg.bundle.manifest import Manifest

_STATUS_COLOR = {
    "ok": "green", "drop": "red", "slower-than-float": "yellow", "slower-than-asked": "yellow", "failed": "red",
}  # fmt: skip


def variant_table(manifest: Manifest) -> Table:
    """The variants of a bundle and their parity with float."""
    # Seven short columns, to fit a terminal of 80 characters.
    table = Table(
        "variant", "status", "= float", "worst", "mIoU", "ms", "speed", box=None, header_style="bold", pad_edge=False
    )
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    for v in manifest.variants:
        p = v.parity
        cells = [""] * 5
        if p is not None:
            cells = [
                f"{p.pixel_agreement:.2%}",
                f"{p.worst_agreement:.2%}",
                f"{p.mean_iou:.4f}",
                "" if p.latency_ms is None else f"{p.latency_ms:.1f}",
                "" if p.speedup is None else f"{p.speedup:.2f}x",
            ]
        table.add_row(escape(v.id), f"[{_STATUS_COLOR[v.status]}]{v.status}[/]", *cells)
    for failure in manifest.failed:
        table.add_row(escape(failure.id), f"[{_STATUS_COLOR['failed']}]failed[/]", *[""] * 5)
    return table


def schedule_lines(manifest: Manifest) -> list[str]:
    """The bundle's own schedule and where it comes from; nothing if it has none."""
    own = manifest.schedule
    if own is None:
        return []
    parameters = ", ".join(f"{name}={value}" for name, value in own.parameters.items())
    more = [
        part for part in (own.variant, f"{own.threads} thread{'s' * (own.threads > 1)}" if own.threads else "") if part
    ]
    if own.borders != "interpolated":
        more.append(f"{own.borders} borders")
    if own.companion is not None:
        more.append(f"companion {own.companion.name}")
    origin = "; ".join(f"{topic}: {text}" for topic, text in own.origin.items())
    lines = [f"own schedule: {own.policy}({parameters}), {', '.join(more) or 'any variant'}"]
    if own.machine:
        lines.append(f"tuned for {own.machine}")
    if origin:
        lines.append(origin)
    return [escape(line) for line in lines]


def noise_line(manifest: Manifest) -> list[str]:
    """What the agreement of int8 is to be measured by, if it was measured."""
    noise = manifest.source.noise_agreement
    if noise is None:
        return []
    return [f"with noise of one grey level in the frame, the float network agrees with itself in {noise:.2%}"]


def part_lines(manifest: Manifest) -> list[str]:
    """One line for each variant that has slices or a tile graph, or for which there is a reason why not."""
    lines = []
    for v in manifest.variants:
        parts = []
        if v.slices:
            overhead = "" if v.slice_overhead is None else f", {v.slice_overhead:.0%} longer than the whole"
            context = "" if v.context is None else f", context {v.context[0] + 1} to {v.context[1]}"
            parts.append(f"{len(v.slices)} slices{overhead}{context}")
        elif v.unsliced:
            parts.append(f"unsliced: {v.unsliced}")
        if v.tile is not None:
            height, width, _ = v.tile.input.hwc
            parts.append(f"tiles {width}x{height}, {v.tile.agreement:.1%} as the whole")
        elif v.untiled:
            parts.append(f"untiled: {v.untiled}")
        if parts:
            lines.append(escape(f"{v.id}: {'; '.join(parts)}"))
    return lines


def variant_reasons(manifest: Manifest) -> list[str]:
    """One line for each variant whose status has a reason."""
    reasons = [(v.id, v.reason) for v in manifest.variants] + [(f.id, f.reason) for f in manifest.failed]
    return [escape(f"{name}: {reason}") for name, reason in reasons if reason]
