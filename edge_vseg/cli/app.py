"""Entry point: commands, exit codes and error output."""

from __future__ import annotations

import logging
import sys
from itertools import pairwise
from typing import Annotated, Any

import typer
from rich.markup import escape

from edge_vseg.cli import console
from edge_vseg.cli.calibrate import calibrate
from edge_vseg.cli.compare import compare
from edge_vseg.cli.demo import demo
from edge_vseg.cli.doctor import doctor
from edge_vseg.cli.evaluate import evaluate
from edge_vseg.cli.export import export
from edge_vseg.cli.inspect import inspect
from edge_vseg.cli.profile import profile
from edge_vseg.cli.render import render
from edge_vseg.cli.run import run
from edge_vseg.cli.shrink import shrink
from edge_vseg.cli.verify import verify
from edge_vseg.errors import EdgeVsegError

app = typer.Typer(
    name="edge-vseg",
    help="Semantic segmentation of live video on edge devices.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 an error (one line says what to do), 2 wrong usage, 3 a check failed.",
)
for command in (export, shrink, run, calibrate, evaluate, profile, compare, inspect, verify, doctor, demo, render):
    app.command()(command)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        console.out.print(f"edge-vseg {version('edge-vseg')}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show log messages and the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command; :func:`main` accepts ``--debug`` anywhere."""


def main() -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    logging.basicConfig(
        level=logging.INFO if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not debug:
        # Only errors of other libraries, but our own warnings.
        logging.getLogger().setLevel(logging.ERROR)
        logging.getLogger("edge_vseg").setLevel(logging.WARNING)
    try:
        code = app(args=[a for a in arguments if a != "--debug"], standalone_mode=True)
    except EdgeVsegError as exc:
        code = _report(exc, as_json=_prints_json(arguments), debug=debug)
    except KeyboardInterrupt:
        console.err.print("stopped")
        code = console.EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone
        code = console.EXIT_ERROR
    sys.exit(code)


def _prints_json(arguments: list[str]) -> bool:
    """Whether standard output is one JSON object; the ``--json`` of ``profile`` names a file, or ``-``."""
    words = [word for word in arguments if word != "--debug"]
    if words[:1] == ["profile"]:
        return "--json=-" in words or ("--json", "-") in pairwise(words)
    return "--json" in words


def _report(exc: EdgeVsegError, *, as_json: bool, debug: bool) -> int:
    if as_json:
        tree: dict[str, Any] = {"error": {"kind": type(exc).__name__, "message": str(exc)}}
        console.print_json(tree)
    if debug:
        logging.getLogger("edge_vseg").error("%s", exc, exc_info=exc)
    elif not as_json:
        console.err.print(f"[bold red]{type(exc).__name__}[/]: {escape(str(exc))}", soft_wrap=True, highlight=False)
    return console.EXIT_ERROR
