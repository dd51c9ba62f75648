"""``--borders``: the label maps that run writes, and a word that commands refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vseg import OpenOptions, Segmenter, open_source

Cli = Callable[..., Any]


def test_label_maps_have_guided_borders(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    words = ("run", reference_bundle, clip, "--runtime", "reference", "--labels-out", tmp_path / "labels")
    assert cli(*words, "--borders", "guided").code == 0
    options = OpenOptions(borders="guided")
    with (
        open_source(clip) as source,
        Segmenter.open(reference_bundle, runtime="reference") as plain,
        Segmenter.open(reference_bundle, runtime="reference", options=options) as guided,
    ):
        frame = next(iter(source))
        written = cv2.imread(str(tmp_path / "labels" / "000000.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, guided(frame).labels)
        assert (written != plain(frame).labels).any()


@pytest.mark.parametrize("command", ["run", "record", "serve", "profile"])
def test_borders_of_another_kind(command: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    more = (tmp_path / "drive.mcap",) if command == "record" else ()
    shown = cli(command, reference_bundle, clip, *more, "--borders", "sharp", "--runtime", "reference")
    assert shown.code == 1
    assert "--borders 'sharp': expected interpolated or guided" in shown.err
