"""What torch, absl, TensorFlow and TFLite print does not reach a program that exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

API = """
import logging, sys
from pathlib import Path
import numpy as np
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import ExportOptions, SampleFrames, export_bundle

logging.basicConfig(format="%(name)s %(message)s")
images = list(np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), dtype=np.uint8))
sample = SampleFrames(calibration=images[:2], validation=images[2:], spec=CalibrationSpec())
options = ExportOptions(size_hw=(64, 96), slices=False)
made = export_bundle("edge_vseg.export.reference.zoo:small", Path(sys.argv[1]), sample, options)
print(len(made.manifest.variants))
"""


def run(code: str, folder: Path) -> tuple[str, list[str]]:
    """Standard output, and the lines on standard error that are not our own log lines."""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Rich breaks long log lines without a terminal.
    ours = ("edge_vseg.", "WARNING edge_vseg.", "take ", "longer ")
    return done.stdout, [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(ours)]


@pytest.mark.slow
@pytest.mark.release
def test_a_program_that_exports(tmp_path: Path) -> None:
    out, strange = run(API, tmp_path / "net.evseg")
    assert strange == []
    assert out == "6\n"
