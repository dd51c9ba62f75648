"""What a whole result is, for each kind that ``write_faults.py`` attacks: a check raises if it is not whole.

Those that can tell say whether it is the ``old`` or the ``new`` one.
"""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.bundle import open_bundle
from edge_vseg.runtimes.selection.cache import read_choice

FRAMES, SIZE_HW = 6, (48, 64)
FIGURES = json.dumps(list(range(40_000))).encode()


def figures(path: Path) -> None:
    """The numbers of the scenario ``file``."""
    assert path.read_bytes() == FIGURES


def whole_bundle(path: Path) -> str:
    """A bundle with all its files and no other."""
    opened = open_bundle(path)
    for name in opened.manifest.files:
        opened.file(name)
    files = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert files == {*opened.manifest.files, "manifest.json"}, files
    for name in ("check/frame.png", "check/labels.png"):
        assert cv2.imread(str(path / name), cv2.IMREAD_UNCHANGED) is not None, name
    return "old" if opened.manifest.name == "older" else "new"


def whole_labels(path: Path) -> str:
    """A folder of labels that the layout ``folder`` reads, of all frames or of the one that was there before."""
    frames = list(open_dataset(f"folder:{path}"))
    for kind in ("labels", "confidence"):
        assert len(list((path / kind).rglob("*.png"))) == len(frames), kind
    assert len(frames) in (1, FRAMES), f"{len(frames)} frames"
    return "old" if len(frames) == 1 else "new"


def whole_video(path: Path) -> None:
    """All frames can be decoded."""
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == FRAMES, f"{frames} frames"


def whole_mcap(path: Path) -> None:
    """A recording with an index."""
    from mcap.reader import make_reader

    with path.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None, "no index"
        assert summary.statistics is not None
        assert sum(1 for _ in reader.iter_messages()) == summary.statistics.message_count > 0


def cached_choice(path: Path) -> None:
    """A choice of ``auto``."""
    assert read_choice(path, "key") is not None


def json_document(path: Path) -> None:
    """Any JSON."""
    json.loads(path.read_bytes())


def html_page(path: Path) -> None:
    """A page to its last tag."""
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def map_files(folder: Path) -> str:
    """Each file of a folder must be whole; all of them are the result."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in paths:
        match path.suffix:
            case ".png":
                assert cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED) is not None, path
            case ".npz":
                with np.load(path) as arrays:
                    assert set(arrays) == {"motion", "occluded"}
    return "new" if len({path.stem for path in paths}) >= FRAMES else "old"


def unit_file(path: Path) -> str:
    """A systemd unit."""
    text = path.read_text()
    assert text.rstrip().endswith("WantedBy=multi-user.target")
    return "new" if "987" in text else "old"


def secrets_file(path: Path) -> str:
    """The secrets beside it."""
    return {"0123456789abcdef": "new", "fedcba9876543210": "old"}[path.read_text().strip().partition("=")[2].strip('"')]


def plot_files(folder: Path) -> str:
    """Pictures that can be read."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in paths:
        assert cv2.imread(str(path)) is not None, path
    return "new" if paths else "old"
