"""What comes out of bundles, files and addresses is shown, and never obeyed or told on."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vseg import EdgeVsegError, open_source
from edge_vseg.cli.plain_text import PlainFormatter, shown_command, visible

EVIL = "\x1b[31m\x9b2J[/]\r[/x]\u202e\ud800"
"""Colours, clears the screen, breaks Rich's markup, turns the line round, and cannot be encoded."""
SECRETS = re.compile("hunter2|hunter%32")
ADDRESSES = [
    "rtsp://admin:hunter2@127.0.0.1:9/live",
    "rtsp://127.0.0.1:9/user=admin&password=hunter2&channel=1",
    "rtsp://127.0.0.1:9/user=admin_password=hunter2_channel=1",
    "http://127.0.0.1:9/video.mp4?user=admin&password=hunter2",
    "http://hunter2@127.0.0.1:9/a/b@c?token=hunter2",
    "rtsp://admin:hun/ter?hunter2@127.0.0.1:9/live",
    "http://[::hunter2]/",
    " rtsp://admin:hunter2@127.0.0.1:9/live",
    "front=rtsp://admin:hunter2@127.0.0.1:9/live",
    "rtsp:/admin:hunter2@127.0.0.1:9/live",
    "gst:rtspsrc location=rtsp://127.0.0.1:9/ user-pw=hunter2 ! decodebin",
]


def test_control_characters_become_visible() -> None:
    assert visible(EVIL) == "?[31m?2J[/]?[/x]??"
    assert visible("two\nlines\tand Übergröße 你好 \xa0") == "two\nlines\tand Übergröße 你好 \xa0"


def evil_bundle(root: Path) -> Path:
    """Names that attack a terminal, in every place of the manifest that is printed."""
    index = root / "manifest.json"
    tree = json.loads(index.read_bytes())
    evil = EVIL[:-1]
    tree["name"] = tree["source"]["name"] = evil
    tree["source"]["macs"] = 2**62
    for label in tree["labels"]:
        label["name"] += evil
    tree["head"]["cut"] = [evil, "[/x]"]
    (variant,) = tree["variants"]
    variant["id"] = evil
    variant["reason"] = variant["unsliced"] = variant["untiled"] = evil
    tree["failed"] = [
        {"id": f"failed{evil}", "runtime": "tflite", "precision": "int8", "target": "any", "reason": evil}
    ]
    index.write_text(json.dumps(tree))
    return root


@pytest.mark.parametrize("command", ["inspect", "verify", "run"])
def test_names_out_of_a_bundle(command: str, cli: Callable[..., object], reference_bundle: Path, clip: Path) -> None:
    words = [command, evil_bundle(reference_bundle), *([clip] if command == "run" else [])]
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    shown = outcome.out + outcome.err
    assert not set(shown) & set("\x1b\x9b\r\u202e")
    assert "?[31m?2J[/][/x]?" in shown  # Rich itself takes carriage returns out
    debug = cli("--debug", *words)
    assert not set(debug.out + debug.err) & set("\x1b\x9b\r\u202e")


@pytest.mark.parametrize(
    ("path", "value"),
    [("name", "\ud800"), ("source.macs", 10**400), ("frame.size_hw", [10**9, 10**9]), ("source.macs", float("nan"))],
    ids=["surrogate", "macs", "size", "nan"],
)
def test_values_that_no_bundle_has(
    path: str, value: object, cli: Callable[..., object], reference_bundle: Path
) -> None:
    index = reference_bundle / "manifest.json"
    tree = json.loads(index.read_bytes())
    *parents, key = path.split(".")
    place = tree
    for parent in parents:
        place = place[parent]
    place[key] = value
    index.write_text(json.dumps(tree))
    outcome = cli("inspect", reference_bundle)
    assert outcome.code == 1
    assert outcome.err.startswith("ManifestError: ")


def test_log_lines() -> None:
    record = logging.makeLogRecord({"msg": f"{EVIL} at {ADDRESSES[0]} and\nhttps://x/y", "levelname": "INFO"})
    line = PlainFormatter("%(message)s").format(record)
    assert line == "?[31m?2J[/]?[/x]?? at rtsp://127.0.0.1:9/live and\nhttps://x/y"


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_command_line_in_a_report(address: str) -> None:
    assert not SECRETS.search(shown_command(["profile", "street.evseg", address, "--json", "out.json"]))


def test_an_ordinary_command_line_stays() -> None:
    words = [
        "run",
        "a b.evseg",
        "drive.mcap:/camera/image",
        "--set",
        "motion=dis",
        "/dev/video0",
        "http://host:80/a.mp4",
    ]
    assert shown_command(words) == "edge-vseg run 'a b.evseg' drive.mcap:/camera/image --set motion=dis" + (
        " /dev/video0 http://host:80/a.mp4"
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_error_keeps_the_password(address: str, cli: Callable[..., object], reference_bundle: Path) -> None:
    outcome = cli("--debug", "run", reference_bundle, address)
    assert outcome.code == 1
    assert not SECRETS.search(outcome.out + outcome.err), outcome.out + outcome.err


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_program_that_prints_the_error_and_its_causes(address: str) -> None:
    with pytest.raises(EdgeVsegError) as caught:
        open_source(address)
    assert not SECRETS.search("".join(traceback.format_exception(caught.value)).replace(address, ""))
