"""The page of a dataset check: what is wrong, the balance of the classes, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_vseg.analysis.datasets.checking.dataset_check import DatasetCheck, Leak, SplitCheck
from edge_vseg.analysis.report.html import write_page
from edge_vseg.analysis.report.page_blocks import Cell, Facts, Note, Picture, Pictures, Section, Table
from edge_vseg.imaging.overlay import draw_overlay

RARE_SHARE = 0.005
"""A class with less of the pixels is marked: networks learn it late, if they are not told to look."""


def write_check_page(path: Path, check: DatasetCheck) -> None:
    """Write the page.

    Args:
        path: The ``.html`` file.
        check: What was found.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OutputError: If the file cannot be written.
    """
    sections = [Section(title="What to put right", blocks=(_findings(check),))]
    sections += [Section(title=f"Split {each.split}", blocks=_split(each)) for each in check.splits]
    sections.append(Section(title="Classes", blocks=(_classes(check),)))
    if check.leaks:
        sections.append(Section(title="Between splits", blocks=(_leaks(check.leaks),)))
    sections += [_sheet(each) for each in check.splits if each.samples]
    count = len(check.problems)
    warning = "" if not count else f"{count} things to put right before training"
    frames = sum(each.frames for each in check.splits)
    write_page(path, check.address, f"{frames} frames in {len(check.splits)} splits", sections, warning=warning)


def _findings(check: DatasetCheck) -> Table | Note:
    if not check.problems:
        return Note(text="Nothing.", tone="good")
    return Table.of(("",), [(Cell(text=line, prose=True, tone="warn"),) for line in check.problems])


def _split(split: SplitCheck) -> tuple[Facts, Table]:
    sizes = ", ".join(f"{size} ({count})" for size, count in list(split.sizes.items())[:4])
    facts = Facts(
        items=(
            ("frames", str(split.frames), ""),
            ("labelled", str(split.labelled), "" if split.labelled else "bad"),
            ("clips", str(len(split.clips)), ""),
            ("cannot be used", str(split.broken_count), "bad" if split.broken_count else ""),
            ("pixels without a class", f"{split.unlabelled_share:.1%}", ""),
        )
    )
    rows: list[tuple[str, Cell]] = [("sizes", Cell(text=sizes, prose=True))]
    rows += [("cannot be used", Cell(text=line, prose=True, tone="bad")) for line in split.broken]
    rows += [(f"value {value}", Cell(text=f"{count} times in label files")) for value, count in split.stray.items()]
    rows += [("copies", Cell(text=" and ".join(pair), prose=True)) for pair in split.equal]
    return facts, Table.of(("", ""), rows)


def _classes(check: DatasetCheck) -> Table:
    head = ["class"]
    for split in check.splits:
        head += [f"{split.split}: pixels", f"{split.split}: frames"]
    rows = []
    for label in check.labels:
        cells = [Cell(text=label.name, swatch=label.color)]
        for split in check.splits:
            share = split.share(label.name)
            cells.append(Cell(text=f"{share:.2%}", tone="bad" if not share else "warn" if share < RARE_SHARE else ""))
            cells.append(Cell(text=str(split.seen_in.get(label.name, 0))))
        rows.append(cells)
    return Table.of(head, rows)


def _leaks(leaks: Sequence[Leak]) -> Table:
    rows = [
        (
            " and ".join(leak.splits),
            Cell(text=str(leak.equal), tone="bad" if leak.equal else ""),
            Cell(text=str(leak.alike), tone="bad" if leak.alike else ""),
            Cell(text=", ".join(leak.clips[:8]) + (" …" if len(leak.clips) > 8 else ""), prose=True),
        )
        for leak in leaks
    ]
    return Table.of(("splits", "equal images", "alike", "recordings in both"), rows)


def _sheet(split: SplitCheck) -> Section:
    items = tuple(
        Picture.of(draw_overlay(frame.image, frame.labels, split.labels, legend=False), frame.name)
        for frame in split.samples
    )
    return Section(title=f"Contact sheet of {split.split}", blocks=(Pictures(items=items),))
