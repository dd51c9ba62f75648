"""The blocks of a report page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import cv2

from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.types import Image

Tone: TypeAlias = Literal["", "good", "warn", "bad", "dim"]
PICTURE_WIDTH = 420
"""Maximum width of a picture, in pixels."""
JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Its text.
        tone: Its colour.
        prose: Whether it is text that may wrap, not a number.
        swatch: ``(R, G, B)`` of a small square before the text.
        span: Number of columns.
    """

    text: str
    tone: Tone = ""
    prose: bool = False
    swatch: tuple[int, int, int] | None = None
    span: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a header; the first column has the names."""

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def prose(self, column: int) -> bool:
        """Whether a column is prose, by its first cell."""
        return any(column < len(row) and row[column].prose for row in self.rows[:1])

    @classmethod
    def of(cls, head: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> Table:
        """Make a table from texts and cells."""
        cells = tuple(tuple(each if isinstance(each, Cell) else Cell(text=each) for each in row) for row in rows)
        return cls(head=tuple(head), rows=cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The most important figures in large type: name, value and tone of each."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str, Tone], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Tone = "dim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot.

    Attributes:
        svg: The plot, in the page's text colour, for light and dark pages.
        about: What it shows, as alternative text.
        zoomable: Whether the page offers to widen it.
    """

    kind: ClassVar[str] = "plot"
    svg: str
    about: str
    zoomable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image as a ``data:`` URL, with its alternative text and caption."""

    data: str
    about: str
    caption: str

    @classmethod
    def of(cls, image: Image, about: str, caption: str = "") -> Picture:
        """Make a JPEG no wider than :data:`PICTURE_WIDTH` from ``(H, W, 3)`` uint8 BGR."""
        height, width = image.shape[:2]
        if width > PICTURE_WIDTH:
            image = resize_image(image, (round(height * PICTURE_WIDTH / width), PICTURE_WIDTH))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        address = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        return cls(data=address, about=about, caption=caption or about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures side by side, wrapped on a narrow page."""

    kind: ClassVar[str] = "pictures"
    items: tuple[Picture, ...]
    title: str = ""


Block: TypeAlias = Table | Facts | Note | Plot | Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]
