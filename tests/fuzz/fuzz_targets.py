"""What is fuzzed: each target takes any bytes, and lets pass a named error or a value that survives a round trip."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec

from edge_vseg.analysis.comparison import Limits, compare_files
from edge_vseg.bundle.labels import plain_labels, read_labels
from edge_vseg.bundle.manifest import Label, dumps, loads
from edge_vseg.cli.plain_text import visible
from edge_vseg.errors import EdgeVsegError
from edge_vseg.scheduling.device_profile import read_device_profile, write_device_profile
from edge_vseg.video.address import public_address, without_credentials
from edge_vseg.video.options import InputOptions
from edge_vseg.video.resolving import ReadOptions, resolve

CORPUS = Path(__file__).parent / "corpus"
_FOLDER = tempfile.TemporaryDirectory(prefix="edge-vseg-fuzz-")
_PLACE = Path(_FOLDER.name)
SECRET = "hunter2"
_DIVIDER = b"\n---\n"
_READ = ReadOptions(strict=False, image_fps=None, codec_motion=False, input=InputOptions())


def manifest(data: bytes) -> None:
    """``manifest.json``."""
    read = loads(data)
    assert loads(dumps(read)) == read
    for variant in read.variants:
        assert variant.entry in read.files
        variant.carried  # noqa: B018


def device_profile(data: bytes) -> None:
    """What ``edge-vseg calibrate`` writes."""
    path = _written("profile.json", data)
    read = read_device_profile(path)
    write_device_profile(path, read)
    assert read_device_profile(path) == read
    assert read.min_deadline_ms >= 0
    assert all(ms >= 0 for ms in read.expected_ms.values())


def labels(data: bytes) -> None:
    """A classes file."""
    read = read_labels(_written("classes.json", data))
    assert 2 <= len(read) <= 255
    assert [label.id for label in read] == list(range(len(read)))
    for label in plain_labels(read):
        assert msgspec.json.decode(msgspec.json.encode(label), type=Label) == label


def address(data: bytes) -> None:
    """What a user gives as a source; nothing is opened, and no credential is shown."""
    text = data.decode("utf-8", errors="surrogateescape")
    word, rest = "".join(re.findall(r"[\w.-]", text)), text.replace("@", "")
    if SECRET in word:
        word, rest = "camera", "live"
    for each in (
        f"rtsp://{word}:{SECRET}@{word}/{rest}",
        f"http://{word}/{rest}?user={word}&password={SECRET}",
        f"rtsp://{word}/user={word}&password={SECRET}&{rest}",
        f"x={word}=rtsp://{SECRET}@{word}",
        f"gst:{word}=rtsp://{word}:{SECRET}@{word}/{rest}",
    ):
        assert SECRET not in without_credentials(each), each
        assert each.startswith(("x=", "gst:")) or SECRET not in public_address(each), each
        _hides_the_secret(each)
    assert isinstance(resolve(text, _READ).name, str)


def _hides_the_secret(text: str) -> None:
    try:
        shown = resolve(text, _READ).name
    except EdgeVsegError as exc:
        shown = str(exc)
    assert SECRET not in shown, (text, shown)


def comparison(data: bytes) -> None:
    """Two files for ``edge-vseg compare``."""
    before, _, after = data.partition(_DIVIDER)
    paths = _written("before.json", before), _written("after.json", after or before)
    compared = compare_files(*paths, Limits(regression=5.0, drop=0.5, missed=0.1))
    json.dumps(asdict(compared), allow_nan=False)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": manifest,
    "device_profile": device_profile,
    "labels": labels,
    "address": address,
    "comparison": comparison,
}


def refuses(target: Callable[[bytes], None], data: bytes) -> bool:
    """Whether a target refuses the bytes by a named error whose message can be printed.

    Raises:
        Exception: Any other error, which is a defect.
    """
    try:
        target(data)
    except EdgeVsegError as exc:
        visible(str(exc)).encode()
        return True
    return False


def _written(name: str, data: bytes) -> Path:
    path = _PLACE / name
    path.write_bytes(data)
    return path
