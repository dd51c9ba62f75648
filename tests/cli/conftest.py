"""Running the command line inside this process, as a shell would see it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from installed_units import ACCOUNT

from edge_vseg.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The one JSON object that standard output consists of."""
        tree = json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert isinstance(tree, dict)
        return tree


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Outcome]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    levels = {name: logging.getLogger(name).level for name in ("root", "edge_vseg")}

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edge-vseg", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capfd.readouterr()
        code = stopped.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    yield run
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def unit_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``install-service`` writes, in an environment without variables that it looks at."""
    for name in (
        "EDGE_VSEG_TOKEN", "EDGE_VSEG_SOURCE", "PYTHONPATH", "EDGE_VSEG_PROBE", "EDGE_VSEG_TRUSTED_KEYS",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    made = tmp_path / "units"
    made.mkdir()
    return made


@pytest.fixture
def install(cli: Callable[..., Outcome], reference_bundle: Path, unit_folder: Path) -> Callable[..., Outcome]:
    """Runs ``install-service`` with a source and options, into that folder."""

    def run(source: object, *words: object, user: str = ACCOUNT) -> Outcome:
        return cli("install-service", reference_bundle, source, "--folder", unit_folder, "--user", user, *words)

    return run
