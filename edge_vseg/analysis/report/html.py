"""Write a page of blocks as one HTML file that needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_vseg.analysis.report.page_blocks import Section
from edge_vseg.errors import BackendMissingError
from edge_vseg.files import write_whole


def write_page(path: Path, title: str, subtitle: str, sections: Sequence[Section], *, warning: str = "") -> None:
    """Write a page atomically: the file is the old or the new page, never half of one.

    Args:
        path: The ``.html`` file.
        title: Its heading.
        subtitle: One line below the heading.
        sections: The content.
        warning: Shown at the top, if not empty.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OutputError: If the file cannot be written.
    """
    write_whole(path, render_page(title, subtitle, sections, warning=warning).encode())


def render_page(title: str, subtitle: str, sections: Sequence[Section], *, warning: str = "") -> str:
    """The HTML of :func:`write_page`."""
    try:
        import jinja2
    except ImportError as exc:
        raise BackendMissingError("a report needs jinja2: pip install 'edge-vseg[report]'") from exc
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge_vseg.analysis.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return str(template.render(title=title, subtitle=subtitle, sections=sections, warning=warning))
