"""The pages tell the truth about the command line, the errors, the manifest and each other."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from edge_vseg import errors
from edge_vseg.analysis.datasets import LAYOUTS
from edge_vseg.bundle import manifest
from edge_vseg.cli.app import app
from edge_vseg.errors import EdgeVsegError
from edge_vseg.export.reference.training.__main__ import training_app as training

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CLI = typer.main.get_command(app)


def _options(command: Any) -> set[str]:
    """Of a command, and of those below it."""
    own = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    return own.union(*map(_options, getattr(command, "commands", {}).values()))


OPTIONS = {name: _options(command) for name, command in CLI.commands.items()}  # type: ignore[attr-defined]
TRAIN = {option for parameter in typer.main.get_command(training).params for option in parameter.opts}
# In tables and sentences these belong to other programs.
FOREIGN = {"--strict", "--"}

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def _ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=_ids)


def _read(page: Path) -> tuple[list[tuple[str, str]], str]:
    """Fenced blocks as (language, text), and the page without them."""
    text = page.read_text(encoding="utf-8")
    return _FENCE.findall(text), _FENCE.sub("", text)


def _commands(page: Path, *, blocks_only: bool = False) -> Iterator[list[str]]:
    """Every ``edge-vseg`` command line of a page, as words after the program's name; sentences may leave parts out."""
    blocks, prose = _read(page)
    # A code span may be broken over two lines of a paragraph.
    spans = re.findall(r"`(edge-vseg [^`]+|[^`]*PYTHONPATH=\. [^`]+)`", prose)
    lines = [] if blocks_only else [" ".join(span.split()) for span in spans]
    for language, body in blocks:
        if language == "bash" or not blocks_only:
            lines += [line for line in body.replace("\\\n", " ").splitlines() if "edge-vseg " in line]
    for line in lines:
        words = shlex.split(line, comments=True)
        if "edge-vseg" in words:
            yield words[words.index("edge-vseg") + 1 :]


def _slug(heading: str) -> str:
    """The anchor that Markdown's toc extension and forges give a plain heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower())


def _anchors(page: Path) -> set[str]:
    return {_slug(h) for h in re.findall(r"^#+ (.+)$", _read(page)[1], re.MULTILINE)}


@each_page
def test_pictures_are_there(page: Path) -> None:
    for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", _read(page)[1]):
        assert (page.parent / target).is_file(), target


def test_there_are_commands_on_the_pages() -> None:
    assert sum(1 for page in PAGES for _ in _commands(page)) > 20


@each_page
def test_command_lines_exist(page: Path) -> None:
    for words in _commands(page):
        if words[0].startswith("-"):
            assert words[0] in {"--debug", "--version", "--help"}, words
            continue
        assert words[0] in OPTIONS, f"no command {words[0]!r}"
        own = words[1 : words.index("--")] if "--" in words else words[1:]
        behind = {w.partition("=")[0] for w in words[1 + len(own) :] if re.match(r"-{1,2}[a-z]", w)}
        assert behind <= OPTIONS["serve"], words
        given = {w.partition("=")[0] for w in own if re.match(r"-{1,2}[a-z]", w)}
        assert given <= OPTIONS[words[0]] | {"--debug"}, f"edge-vseg {words[0]} does not know all of {given}"


@pytest.mark.parametrize(
    "words",
    [words for page in PAGES for words in _commands(page, blocks_only=True)],
    ids=lambda words: " ".join(words)[:60],
)
def test_command_lines_parse(words: list[str]) -> None:
    """With their values and arguments, not only their names; nothing is run."""
    command = CLI.commands[words[0]]  # type: ignore[attr-defined]
    while hasattr(command, "commands"):
        words = words[1:]
        command = command.commands[words[0]]
    context = command.make_context(words[0], list(words[1:]), parent=None)
    assert set(context.params) == {p.name for p in command.params if p.name != "help"}


@each_page
def test_options_in_sentences_exist(page: Path) -> None:
    known = set().union(*OPTIONS.values()) | TRAIN | {"--debug", "--version", "--help"} | FOREIGN
    spans = _CODE.findall(_read(page)[1])
    options = {span.split()[0] for span in spans if span.startswith("--")}
    assert options <= known


def test_every_option_is_described() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    lacking = {o for options in (*OPTIONS.values(), TRAIN) for o in options if o.startswith("--") and o not in text}
    assert not lacking - {"--help"}


def _error_names() -> list[str]:
    return [n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, EdgeVsegError)]


def test_every_error_has_its_section_and_no_other_has() -> None:
    text = _read(ROOT / "docs/errors.md")[1]
    assert re.findall(r"^#{2,3} (\w+)$", text, re.MULTILINE) == _error_names()


def test_errors_page_draws_the_tree_of_the_code() -> None:
    drawn = re.findall(r"(\w+Error)", _read(ROOT / "docs/errors.md")[0][0][1])
    assert drawn == _error_names()


def test_bundle_format_names_every_field_of_the_manifest() -> None:
    spans = set(_CODE.findall(_read(ROOT / "docs/bundle-format.md")[1]))
    specs = [v for v in vars(manifest).values() if isinstance(v, type) and issubclass(v, manifest.Spec)]
    fields = {f.encode_name for spec in specs if spec is not manifest.Spec for f in msgspec.structs.fields(spec)}
    assert len(fields) > 40
    assert not fields - spans


@each_page
def test_links_resolve(page: Path) -> None:
    for target in _LINK.findall(_read(page)[1]):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in _anchors(linked), f"{target}: no such heading"
        if page.is_relative_to(ROOT / "docs"):
            assert linked.is_relative_to(ROOT / "docs"), f"{target} leaves the site"


def test_menu_lists_every_page() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == [p.relative_to(ROOT / "docs").as_posix() for p in PAGES if p.is_relative_to(ROOT / "docs")]


@pytest.mark.parametrize("page", sorted((ROOT / "docs/reference").glob("*.md")), ids=_ids)
def test_reference_is_made_from_modules_that_exist(page: Path) -> None:
    modules = re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert modules
    for module in modules:
        assert importlib.import_module(module).__doc__


def _snippets() -> list[tuple[str, str]]:
    return [(_ids(page), body) for page in PAGES for language, body in _read(page)[0] if language == "python"]


@pytest.mark.parametrize(("page", "body"), _snippets(), ids=[page for page, _ in _snippets()])
def test_python_snippets_compile_and_import_what_exists(page: str, body: str) -> None:
    tree = ast.parse(body, filename=page)
    compile(tree, page, "exec")
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("edge_vseg")]
    assert imports
    for node in imports:
        module = importlib.import_module(node.module or "")
        assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_every_dataset_layout_has_its_row() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/datasets.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(LAYOUTS) <= set(rows)


@each_page
def test_extras_exist(page: Path) -> None:
    extras = importlib.metadata.metadata("edge-vseg").get_all("Provides-Extra") or []
    named = re.findall(r"(?:edge-vseg|'\.)\[([\w,-]+)\]", page.read_text(encoding="utf-8"))
    assert {e for group in named for e in group.split(",")} <= set(extras)


@each_page
def test_files_named_in_code_spans_exist(page: Path) -> None:
    folders = "edge_vseg|export|runtimes|calibration|examples|tests|docs"
    spans = re.findall(rf"(?:`|python )((?:{folders})/[\w/.]+\.(?:py|md))", page.read_text(encoding="utf-8"))
    assert not [s for s in spans if not (ROOT / s).is_file()]


def test_exit_codes_of_the_errors_page_are_those_of_the_code() -> None:
    from edge_vseg.cli import console

    section = (ROOT / "docs/errors.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert codes == {0, *(v for n, v in vars(console).items() if n.startswith("EXIT_"))}


def test_the_checks_above_can_fail() -> None:
    assert "--input-size" not in OPTIONS["run"]
    assert _slug("int8 differs too much from float") == "int8-differs-too-much-from-float"
    with pytest.raises(Exception, match="Missing parameter: source"):
        CLI.commands["run"].make_context("run", ["a.evseg"], parent=None)  # type: ignore[attr-defined]
