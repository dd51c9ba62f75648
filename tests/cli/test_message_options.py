"""Messages name options that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edge_vseg.cli.app import app
from edge_vseg.export.reference.training.__main__ import training_app

ROOT = Path(__file__).parents[2]
FOLDERS = ("edge_vseg", "export", "runtimes", "calibration")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def options_of(command: Any) -> set[str]:
    """Of a command, and of those below it."""
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


OPTIONS = {name: options_of(command) for name, command in COMMANDS.items()}
TRAINING = {option for parameter in typer.main.get_command(training_app).params for option in parameter.opts}
KNOWN = set().union(*OPTIONS.values(), TRAINING) | {"--debug", "--version", "--help"}
FOREIGN = {"--address", "--head", "--num-cpus"} | {
    "--force-reinstall",
    "--data",
    "--graph",
    "--enable_op_profiling",
    "--id-type",
    "--ros-args",
    "--no-block",
    "--system-site-packages",
    *("--keras", "--saved-model", "--graphdef", "--inputs", "--outputs"),
    *("--model_dir", "--model_filename", "--params_filename", "--save_file"),
}
"""Of Ray, pip, venv, systemctl, ROS 2, LiteRT's benchmark, the scripts of IDD's authors, tf2onnx, and paddle2onnx."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
COMMAND = re.compile(r"edge-vseg ([a-z]+)((?: (?:[^`;,()]|\{\})*)?)")


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a file, with {} for what is filled in."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def unknown(text: str) -> set[str]:
    """Options of a text that no command has, and those that the command it names has not."""
    missing = set(OPTION.findall(text)) - KNOWN - FOREIGN
    for command, rest in COMMAND.findall(text):
        if command in OPTIONS:
            missing |= set(OPTION.findall(rest)) - OPTIONS[command] - {"--debug", "--help"}
    return missing


@pytest.mark.parametrize("folder", FOLDERS)
def test_options_in_messages_exist(folder: str) -> None:
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            if missing := unknown(text):
                found[path.relative_to(ROOT).as_posix(), text[:80]] = sorted(missing)
    assert found == {}


def test_the_search_finds_what_is_wrong() -> None:
    assert unknown("re-export with --frame-size") == {"--frame-size"}
    assert unknown("run `edge-vseg verify X --deadline-ms 5` again") == {"--deadline-ms"}
    assert unknown("run `edge-vseg run X --deadline-ms 5`, or --policy fixed") == set()
    (text,) = texts(ast.parse("f'a {b} --c'").body[0].value)  # type: ignore[attr-defined]
    assert text == "a {} --c"
