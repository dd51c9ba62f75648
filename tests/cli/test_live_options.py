"""The options of :class:`LiveOptions` stand in the place of a command's parameter ``live``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli.live_options import LiveOptions, takes_live_options
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import Deadline


def test_options_are_given_on_and_stand_where_the_parameter_stood() -> None:
    app, given = typer.Typer(), []

    @app.command()
    @takes_live_options
    def segment(
        bundle: Path,
        *,
        first: Annotated[int, typer.Option(help="Of the command itself.")] = 1,
        live: LiveOptions,
        last: Annotated[bool, typer.Option("--last")] = False,
    ) -> None:
        """Segment something."""
        given.append((bundle, first, live, last))

    words = ["a.evseg", "--threads", "2", "--set", "a=1", "--set", "b=2", "--last", "--companion", "b.evseg"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    expected = LiveOptions(threads=2, setting=["a=1", "b=2"], companion=Path("b.evseg"))
    assert given == [(Path("a.evseg"), 1, expected, True)]
    shown = CliRunner().invoke(app, ["--help"]).output
    places = [shown.index(option) for option in ("--first", "--runtime", "--max-age", "--last")]
    assert places == sorted(places)
    assert "--live" not in shown
    assert "Segment something." in shown
    refused = CliRunner().invoke(app, ["a.evseg", "--threads", "-1"])
    assert refused.exit_code == 2


def test_what_was_given_is_read_into_the_command_s_own_options(reference_bundle: Path) -> None:
    live = LiveOptions(
        runtime="tflite", precision="int8", borders="guided", follow="red, green", provider="gpu", deadline_ms=20.0
    )
    options, policy = live.read(reference_bundle, RuntimeOptions(variant="kept"))
    assert options == RuntimeOptions(
        runtime="tflite", precision="int8", variant="kept", borders="guided", follow=("red", "green"), provider="gpu"
    )
    assert isinstance(policy, Deadline)
    assert policy.milliseconds == 20.0
    with pytest.raises(OptionError, match=r"--precision 'half': expected auto, int8, float or float16"):
        LiveOptions(precision="half").read(reference_bundle, RuntimeOptions())
