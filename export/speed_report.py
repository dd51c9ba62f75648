"""What ``report.html`` says about time: which int8 graphs were tried, and what bounds those that were taken."""

from __future__ import annotations

from edge_vseg.analysis.report import Block, Cell, Note, Section, Table
from edge_vseg.analysis.report.int8_plots import FrontPoint, RoofPoint, precision_front, roofline_plot
from edge_vseg.bundle.manifest import Manifest, PrecisionTrial, Roofline, RooflineNode, Variant

_FAR_FROM_ROOF = 0.25
"""Below this share of the roof, neither memory nor arithmetic explains the time."""


def speed_sections(manifest: Manifest) -> list[Section]:
    """The sections on mixed precision and on the roofline; without what was not measured."""
    return [*_mixed_precision(manifest), *_rooflines(manifest)]


def _mixed_precision(manifest: Manifest) -> list[Section]:
    """What was tried with nodes in float, where more than one graph was."""
    searched = [variant for variant in manifest.variants if len(variant.trials) > 1]
    if not searched:
        return []
    rows = [_trial_row(variant, trial) for variant in searched for trial in variant.trials]
    note = Note(
        text="Nodes that int8 harms most, for the time that it saves, were left in float, more and more of them. Of the"
        " graphs that agree well enough and are fast enough (without --min-speedup: 1.8 times as fast as float, if any"
        " is), the one is taken that has the fewest nodes in float among"
        " those whose disagreement times duration is the least, as far as that can be told from noise; where none does,"
        " the one that agrees best. On calibration frames, timed in turns where the bundle was made; bars"
        " are quartiles. Graphs for another machine are not timed: the one with the fewest nodes in float that agrees"
        " well enough is taken, unless times of nodes were recorded there, from which those of graphs are estimated."
    )
    table = Table.of(("variant", "nodes in float", "cells equal", "ms", "quartiles", "speed-up", ""), rows)
    by = "; ".join(f"{variant.id}: {variant.ranked_by}" for variant in searched if variant.ranked_by)
    origin = (Note(text=f"The times of nodes by which they were chosen: {by}."),) if by else ()
    fronts = [block for variant in searched for block in _front(variant)]
    return [Section(title="Mixed precision", blocks=(note, table, *origin, *fronts))]


def _trial_row(variant: Variant, trial: PrecisionTrial) -> tuple[str | Cell, ...]:
    quartiles = "" if trial.quartiles_ms is None else "{:.1f} to {:.1f}".format(*trial.quartiles_ms)
    quartiles = "estimated" if trial.estimated else quartiles
    return (
        variant.id,
        str(trial.float_nodes),
        f"{trial.agreement:.2%}",
        "" if trial.latency_ms is None else f"{trial.latency_ms:.1f}",
        quartiles,
        "" if trial.speedup is None else f"{trial.speedup:.2f} x",
        Cell(text="taken" if trial.taken else "", tone="good"),
    )


def _front(variant: Variant) -> list[Block]:
    points = [
        FrontPoint(
            name=f"{trial.float_nodes} in float",
            ms=trial.latency_ms,
            quartiles_ms=trial.quartiles_ms,
            agreement=trial.agreement,
            taken=trial.taken,
        )
        for trial in variant.trials
        if trial.latency_ms is not None
    ]
    if not points:
        return []
    first = variant.trials[0]
    float_ms = None if first.speedup is None or first.latency_ms is None else first.speedup * first.latency_ms
    title = f"{variant.id}, {'estimated ' if first.estimated else ''}ms a frame"
    return [precision_front(f"mixed-precision-{variant.id.replace('/', '-')}", title, points, float_ms)]


def _rooflines(manifest: Manifest) -> list[Section]:
    known = [(variant, variant.roofline) for variant in manifest.variants if variant.roofline is not None]
    if not known:
        return []
    note = Note(
        text="The least time of a node is what its products take at the machine's peak, or what moving its tensors"
        " takes, whichever is longer; both peaks were measured where the bundle was made, on a matrix product"
        " in ONNX Runtime and on copies of 4 MB, for one thread, times threads. Only nodes that the runtime's profiler"
        " names count."
    )
    summary = Table.of(
        ("variant", "ms in nodes", "least ms", "bound by memory", "peak", "memory"),
        [_roofline_row(variant.id, roofline) for variant, roofline in known],
    )
    blocks: list[Block] = [note, summary, *_possible(manifest)]
    for variant, roofline in known:
        if variant.precision == "int8":
            blocks += [_roof(variant.id, roofline), _slowest(variant.id, roofline)]
    return [Section(title="Roofline", blocks=tuple(blocks))]


def _roofline_row(name: str, roofline: Roofline) -> tuple[str, ...]:
    return (
        name,
        f"{roofline.ms:.2f}",
        f"{roofline.least_ms:.2f}",
        f"{roofline.memory_share:.0%} of the time",
        f"{roofline.gmac_per_s:.0f} GMAC/s",
        f"{roofline.gb_per_s:.0f} GB/s",
    )


def _possible(manifest: Manifest) -> list[Block]:
    """How much faster than float int8 could be at best, for each runtime."""
    of_float = {v.runtime: v.roofline for v in manifest.variants if v.precision == "float" and v.roofline is not None}
    lines: list[Block] = []
    for variant in manifest.variants:
        in_float, roofline = of_float.get(variant.runtime), variant.roofline
        if variant.precision != "int8" or in_float is None or roofline is None:
            continue
        measured = "" if variant.parity is None or variant.parity.speedup is None else f"; {variant.parity.speedup:.2f}"
        lines.append(
            Note(
                text=f"{variant.id}: against the float graph as it runs here ({in_float.ms:.1f} ms in nodes), the roof"
                f" allows {in_float.ms / roofline.least_ms:.1f} times its speed, and against float at its own roof"
                f" {in_float.least_ms / roofline.least_ms:.1f} times{measured and measured + ' was measured'}."
            )
        )
    return lines


def _roof(name: str, roofline: Roofline) -> Block:
    points = [
        RoofPoint(
            kind=node.kind,
            macs_per_byte=node.macs / node.bytes if node.bytes else 0.0,
            gmac_per_s=node.macs / node.ms / 1e6,
            share=node.ms / roofline.ms,
        )
        for node in roofline.nodes
    ]
    title = f"slowest nodes of {name}"
    return roofline_plot(f"roofline-{name.replace('/', '-')}", title, points, roofline.gmac_per_s, roofline.gb_per_s)


def _slowest(name: str, roofline: Roofline) -> Block:
    rows = [
        (
            node.name,
            node.kind,
            f"{node.ms:.2f}",
            f"{node.ms / roofline.ms:.0%}",
            f"{node.macs / 1e6:.1f}",
            f"{node.bytes / 1e6:.2f}",
            f"{node.least_ms:.2f}",
            Cell(text=bound_by(node), prose=True),
        )
        for node in roofline.nodes
    ]
    return Table.of((f"slowest nodes of {name}", "", "ms", "share", "MMAC", "MB", "least ms", "bound by"), rows)


def bound_by(node: RooflineNode) -> str:
    """What a node's time is bound by, in words."""
    reached = node.least_ms / node.ms
    if reached < _FAR_FROM_ROOF:
        return f"its kernel: {reached:.0%} of the roof ({node.bound})"
    return f"{node.bound}, {min(reached, 1.0):.0%} of the roof"
