"""Entry point: commands, exit codes and error output."""

from __future__ import annotations

import logging
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from edge_vseg.cli import console
from edge_vseg.cli.calibrate import calibrate
from edge_vseg.cli.compare import compare
from edge_vseg.cli.dataset import app as dataset
from edge_vseg.cli.demo import demo
from edge_vseg.cli.doctor import doctor
from edge_vseg.cli.evaluate import evaluate
from edge_vseg.cli.export import export
from edge_vseg.cli.inspect import inspect
from edge_vseg.cli.install_service import install_service, uninstall_service
from edge_vseg.cli.journal import JournalFormatter, stderr_is_journal
from edge_vseg.cli.keygen import keygen
from edge_vseg.cli.plain_text import PlainFormatter
from edge_vseg.cli.profile import profile
from edge_vseg.cli.record import record
from edge_vseg.cli.render import render
from edge_vseg.cli.ros2 import ros2
from edge_vseg.cli.run import run
from edge_vseg.cli.serve import serve
from edge_vseg.cli.shrink import shrink
from edge_vseg.cli.sign import sign
from edge_vseg.cli.tune import tune
from edge_vseg.cli.update import update
from edge_vseg.cli.verify import verify
from edge_vseg.errors import EdgeVsegError
from edge_vseg.files import DISK_ERRORS, cannot_write
from edge_vseg.signals import sigterm_as_interrupt

app = typer.Typer(
    name="edge-vseg",
    help="Semantic segmentation of live video on edge devices.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 an error (one line says what to do), 2 wrong usage, 3 a check failed.",
)
for command in (
    export,
    shrink,
    tune,
    run,
    serve,
    install_service,
    uninstall_service,
    ros2,
    record,
    calibrate,
    evaluate,
    profile,
    compare,
    inspect,
    verify,
    keygen,
    sign,
    update,
    doctor,
    demo,
    render,
):
    app.command()(command)
app.add_typer(dataset, name="dataset")


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
        stream=sys.stderr,
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(
            JournalFormatter() if stderr_is_journal() else PlainFormatter("%(levelname)s %(name)s: %(message)s")
        )
    if not debug:
        # Only errors of other libraries, but our own warnings.
        logging.getLogger().setLevel(logging.ERROR)
        logging.getLogger("edge_vseg").setLevel(logging.WARNING)
    words = [word for word in arguments if word != "--debug"]
    with sigterm_as_interrupt() as termination:
        code = _run(words, debug=debug)
    if termination.arrived and code == console.EXIT_INTERRUPTED:
        code = console.EXIT_TERMINATED
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    """Run a command; gives the exit code."""
    try:
        try:
            app(args=words, standalone_mode=True)
        finally:
            sys.stdout.flush()  # a full disk shows here at the latest
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else console.EXIT_ERROR
    except EdgeVsegError as exc:
        return _report(exc, as_json=_prints_json(words), debug=debug)
    except KeyboardInterrupt:
        console.err.print("stopped")
        return console.EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone
    except OSError as exc:
        if exc.errno not in DISK_ERRORS:
            raise
        if exc.filename is None:  # what has no name here is standard output
            _silence_stdout()
        path = exc.filename2 or exc.filename or "standard output"
        return _report(cannot_write(Path(path), exc), as_json=False, debug=debug)
    return console.EXIT_ERROR


def _silence_stdout() -> None:
    """Drop what could not be written, which Python would try again at the end."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)


def _prints_json(words: list[str]) -> bool:
    """Whether standard output is one JSON object.

    The ``--json`` of ``profile`` and ``--stats`` of ``run`` name a file, or ``-`` for it.
    """
    option = {"profile": "--json", "run": "--stats"}.get(words[0] if words else "", "")
    if option and (f"{option}=-" in words or (option, "-") in pairwise(words)):
        return True
    return "--json" in words and words[0] != "profile"


def _report(exc: EdgeVsegError, *, as_json: bool, debug: bool) -> int:
    if as_json:
        tree: dict[str, Any] = {"error": {"kind": type(exc).__name__, "message": str(exc)}}
        console.print_json(tree)
    if debug:
        logging.getLogger("edge_vseg").error("%s", exc, exc_info=exc)
    elif as_json:
        pass
    elif stderr_is_journal():
        logging.getLogger("edge_vseg").error("%s: %s", type(exc).__name__, exc)
    else:
        console.err.print(f"[bold red]{type(exc).__name__}[/]: {escape(str(exc))}", soft_wrap=True, highlight=False)
    return console.EXIT_ERROR
