"""Parse a report page as a browser would; fails if the page needs any other file."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np

VOID = {"meta", "img", "br", "input"}
# SVG's namespaces and references inside of the page; everything else that a browser could fetch is a defect.
INSIDE = re.compile(r"#[\w-]+|data:image/jpeg;base64,[\w+/=]+")
FETCHED = ("src", "href", "xlink:href", "srcset", "poster", "action", "data", "background")


class Page(HTMLParser):
    """Rows of the tables as texts, pictures by what they are called, texts, and tags.

    Raises:
        AssertionError: If it is not a page, or needs another file.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.pictures: dict[str, np.ndarray] = {}
        self.plots: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []
        assert html.startswith("<!doctype html>")
        self.feed(html)
        self.close()
        assert self._open == [], f"not closed: {self._open}"
        assert len(self.ids) == len(set(self.ids)), "an id is used twice"
        for address in re.findall(r"url\(([^)]*)\)|@import", html):
            assert INSIDE.fullmatch(address.strip("'\"")), f"the page fetches {address!r}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), f"<{tag}> in the page"
        for name, value in attrs:
            assert not name.startswith("on"), f"{name}={value!r} is a script"
            assert name not in FETCHED or INSIDE.fullmatch(str(value)), f"{name}={value!r} is fetched"
        self.tags.append(tag)
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")
        elif tag == "img":
            data = base64.b64decode(str(given["src"]).split(",", 1)[1])
            self.pictures[str(given["alt"])] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        elif given.get("role") == "img" and "aria-label" in given:
            self.plots.append(str(given["aria-label"]))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] += data

    def row(self, first: str) -> list[str]:
        (found,) = [row for row in self.rows if row[0] == first]
        return found
