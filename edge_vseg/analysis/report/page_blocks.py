"""What a page is made of."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands in it.
        tone: How it looks.
        prose: Whether it is a sentence, which may break into lines, and not a figure.
        swatch: ``(R, G, B)`` of a small square before the text.
        span: Columns that it takes.
    """

    text: str
    tone: Tone = ""
    prose: bool = False
    swatch: tuple[int, int, int] | None = None
    span: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of figures under a head; the first column is for names."""

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def prose(self, column: int) -> bool:
        """Whether a column is of sentences, by its first cell."""
        return any(column < len(row) and row[column].prose for row in self.rows[:1])

    @classmethod
    def of(cls, head: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> Table:
        """Out of texts and cells."""
        cells = tuple(tuple(each if isinstance(each, Cell) else Cell(text=each) for each in row) for row in rows)
        return cls(head=tuple(head), rows=cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Figures that matter most, large, each with what it is."""

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
    """A drawing.

    Attributes:
        svg: The drawing, which takes the page's text colour and so suits light and dark.
        about: What it shows, for those who cannot see it.
    """

    kind: ClassVar[str] = "plot"
    svg: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image of a video: its data as a ``data:`` address, and what it is."""

    data: str
    about: str
    caption: str

    @classmethod
    def of(cls, image: Image, about: str, caption: str = "") -> Picture:
        """Out of ``(H, W, 3)`` uint8 BGR, as JPEG no wider than :data:`PICTURE_WIDTH`."""
        height, width = image.shape[:2]
        if width > PICTURE_WIDTH:
            image = resize_image(image, (round(height * PICTURE_WIDTH / width), PICTURE_WIDTH))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
        address = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        return cls(data=address, about=about, caption=caption or about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures side by side, or below each other where there is no room."""

    kind: ClassVar[str] = "pictures"
    items: tuple[Picture, ...]
    title: str = ""


Block: TypeAlias = Table | Facts | Note | Plot | Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]
