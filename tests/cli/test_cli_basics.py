"""Help, usage, errors and exit codes of every command."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference_bundle import BIAS, STRIDE, WEIGHT, Recipe, make_failed, write_bundle
from retouch import rehash

from edge_vseg.runtimes.backends.reference import write_reference

Cli = Callable[..., Any]
COMMANDS = ("export", "run", "inspect", "verify", "doctor")


def test_help_lists_the_commands(cli: Cli) -> None:
    shown = cli("--help")
    assert shown.code == 0
    assert all(command in shown.out for command in COMMANDS)
    assert "Exit codes: 0 done, 1 an error" in shown.out


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str, flag: str, cli: Cli) -> None:
    shown = cli(command, flag)
    assert shown.code == 0
    assert f"edge-vseg {command}" in shown.out
    assert "--json" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "export",
            "--output --frames --weights --classes --input-size --mean --scale --color --runtimes --targets --precision"
            " --max-drop --seed --force",
        ),
        ("run", "--output --labels-out --stats --runtime --precision --threads --max-frames --force"),
        ("verify", "--threads"),
    ],
)
def test_promised_options_exist(command: str, options: str, cli: Cli) -> None:
    shown = cli(command, "--help").out
    assert [option for option in options.split() if option not in shown] == []


def test_version(cli: Cli) -> None:
    shown = cli("--version")
    assert (shown.code, shown.out.split()) == (0, ["edge-vseg", importlib.metadata.version("edge-vseg")])


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("run",),
        ("inspect", "a.evseg", "--frobnicate"),
        ("run", "a.evseg", "b.mp4", "--threads", "many"),
        ("run", "a.evseg", "b.mp4", "--threads", "-1"),
        ("run", "a.evseg", "b.mp4", "--max-frames", "0"),
        ("export", "net.onnx", "-o", "a.evseg"),
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: tuple[str, ...], cli: Cli) -> None:
    shown = cli(*arguments)
    assert shown.code == 2
    assert shown.out == ""
    assert "Usage:" in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("command", ["inspect", "verify", "run"])
def test_named_error(command: str, cli: Cli, tmp_path: Path, clip: Path) -> None:
    more = (clip,) if command == "run" else ()
    missing = tmp_path / "gone.evseg"
    shown = cli(command, missing, *more)
    assert shown.code == 1
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith(f"BundleNotFoundError: no bundle at {missing}; make one with")


@pytest.mark.parametrize("command", ["inspect", "verify", "run"])
def test_named_error_as_json(command: str, cli: Cli, tmp_path: Path, clip: Path) -> None:
    more = (clip,) if command == "run" else ()
    shown = cli(command, tmp_path / "gone.evseg", *more, "--json")
    assert shown.code == 1
    tree = shown.json()
    assert list(tree) == ["error"]
    assert tree["error"]["kind"] == "BundleNotFoundError"
    assert "make one with" in tree["error"]["message"]
    assert shown.err == ""


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("as_json", [False, True])
def test_debug_shows_the_traceback(place: str, as_json: bool, tmp_path: Path) -> None:
    words = ["inspect", str(tmp_path / "gone.evseg"), *(["--json"] if as_json else [])]
    words = ["--debug", *words] if place == "before" else [*words, "--debug"]
    shown = subprocess.run([sys.executable, "-m", "edge_vseg.cli", *words], capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert "Traceback (most recent call last)" in shown.stderr
    assert "BundleNotFoundError: no bundle at" in shown.stderr
    if as_json:
        assert json.loads(shown.stdout)["error"]["kind"] == "BundleNotFoundError"
    else:
        assert shown.stdout == ""


def test_brackets_in_names_are_shown_as_they_are(cli: Cli, tmp_path: Path) -> None:
    """Not taken for the markup of the terminal library."""
    path = tmp_path / "[bold]x[/bold]"
    assert str(path) in cli("inspect", path).err


def test_a_reader_that_leaves_is_no_error(reference_bundle: Path) -> None:
    command = f"{sys.executable} -m edge_vseg.cli inspect {reference_bundle} --json | true"
    shown = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert shown.stderr == ""


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_interrupt_outside_a_run(command: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"edge_vseg.cli.{command}.open_bundle", interrupt)
    shown = cli(command, tmp_path)
    assert shown.code == 130
    assert "Traceback" not in shown.err


def test_inspect(cli: Cli, tmp_path: Path) -> None:
    failed = make_failed("tflite/int8", "Einsum [x]", runtime="tflite", precision="int8")
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(failed=(failed,)))
    shown = cli("inspect", bundle)
    assert shown.code == 0
    assert shown.err == ""
    for words in ("colours", "64x48 bgr", "3 classes: blue, green, red", "reference/float", "100.00%", "Einsum [x]"):
        assert words in shown.out


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param({"unsliced": "they agree in only 99.38%"}, "unsliced: they agree in only 99.38%", id="unsliced"),
        pytest.param({"untiled": "a stride of 3"}, "untiled: a stride of 3", id="untiled"),
        pytest.param({"slices": 3, "slice_overhead": 0.164}, "3 slices, 16% longer than the whole", id="slices"),
        pytest.param({"slices": 3, "context": [1, 2]}, "3 slices, context 2 to 2", id="context"),
    ],
)
def test_inspect_says_what_can_be_scheduled(cli: Cli, tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    bundle = write_bundle(tmp_path / "a.evseg", Recipe())
    tree = json.loads((bundle / "manifest.json").read_bytes())
    variant = tree["variants"][0]
    if "slices" in parts:
        one = {"entry": variant["entry"], "inputs": [variant["input"]], "outputs": [variant["output"]]}
        parts = parts | {"slices": [one] * parts["slices"]}
    variant |= parts
    (bundle / "manifest.json").write_text(json.dumps(tree))
    shown = cli("inspect", bundle)
    assert shown.code == 0
    assert f"- reference/float: {said}" in " ".join(shown.out.split())


def test_inspect_json(cli: Cli, reference_bundle: Path) -> None:
    shown = cli("inspect", reference_bundle, "--json")
    assert (shown.code, shown.err) == (0, "")
    tree = shown.json()
    assert tree["path"] == str(reference_bundle)
    assert tree["manifest"] == json.loads((reference_bundle / "manifest.json").read_bytes())


def test_verify(cli: Cli, reference_bundle: Path) -> None:
    shown = cli("verify", reference_bundle)
    assert shown.code == 0
    assert "3 files are intact" in shown.out
    tree = cli("verify", reference_bundle, "--json").json()
    assert tree["ok"] is True
    assert [(v["id"], v["status"], v["agreement"]) for v in tree["variants"]] == [("reference/float", "ok", 1.0)]


def test_verify_finds_a_wrong_answer(cli: Cli, reference_bundle: Path) -> None:
    write_reference(reference_bundle / "reference/float/graph.npz", WEIGHT[::-1].copy(), BIAS, STRIDE)
    rehash(reference_bundle)
    assert cli("verify", reference_bundle).code == 3
    shown = cli("verify", reference_bundle, "--json")
    assert shown.code == 3
    assert shown.json()["ok"] is False
    assert shown.json()["variants"][0]["status"] == "wrong"


def test_verify_with_nothing_to_run(cli: Cli, tmp_path: Path) -> None:
    """A bundle of which nothing runs here has not been verified."""
    bundle = write_bundle(tmp_path / "a.evseg")
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"target": "any"', '"target": "s390x"'))
    shown = cli("verify", bundle)
    assert shown.code == 3
    assert "no variant could be run" in shown.out
    assert cli("verify", bundle, "--json").json()["ok"] is False


def test_verify_finds_a_flipped_bit(cli: Cli, reference_bundle: Path) -> None:
    graph = reference_bundle / "reference/float/graph.npz"
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    shown = cli("verify", reference_bundle)
    assert shown.code == 1
    assert shown.err.startswith("BundleFileError: ")


def test_doctor(cli: Cli) -> None:
    shown = cli("doctor")
    assert (shown.code, shown.err) == (0, "")
    for runtime in ("onnxruntime", "openvino", "tflite"):
        assert runtime in shown.out
    tree = cli("doctor", "--json").json()
    assert {"onnxruntime", "openvino", "tflite"} <= {runtime["name"] for runtime in tree["runtimes"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--color", "grey"), "--color 'grey': expected rgb or bgr"),
        (("--input-size", "360"), "--input-size '360': expected HEIGHTxWIDTH"),
        (("--input-size", "0x480"), "--input-size '0x480': expected HEIGHTxWIDTH"),
        (("--mean", "1,2"), "--mean '1,2': expected 1 or 3 numbers, got 2"),
        (("--scale", "a"), "--scale 'a': expected 1 or 3 numbers"),
        (("--classes", "ade20k"), "unknown class set 'ade20k'"),
        (("--classes", "gone.json"), "classes file gone.json cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_export_options(options: tuple[str, ...], said: str, cli: Cli, tmp_path: Path, clip: Path) -> None:
    pytest.importorskip("torch", reason="exporting needs the extra 'export'")
    target = tmp_path / "a.evseg"
    shown = cli("export", "net.onnx", "-o", target, "--frames", clip, *options)
    assert shown.code == 1
    assert f"OptionError: {said}" in shown.err
    assert not target.exists()


def test_export_looks_at_the_target_first(cli: Cli, tmp_path: Path, clip: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/main.tex").write_text("x")
    shown = cli("export", "net.onnx", "-o", tmp_path / "thesis", "--frames", clip)
    assert shown.code == 1
    assert shown.err.startswith("BundleWriteError: ")
    assert (tmp_path / "thesis/main.tex").read_text() == "x"


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    """On a small board that takes seconds."""
    code = (
        "import sys, signal\n"
        "class Slow:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'edge_vseg.cli.app': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from edge_vseg.cli import main; main()"
    )
    shown = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr) == (130, "", "stopped\n")


def test_output_that_is_closed(reference_bundle: Path) -> None:
    """As of what a daemon starts: ``>&-``."""
    words = [sys.executable, "-m", "edge_vseg.cli", "inspect", str(reference_bundle)]
    shown = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *words], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
