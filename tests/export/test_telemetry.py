"""An export reports to nobody, and leaves logging as its caller set it up."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov

from edge_vseg.export.quantization.openvino_nncf import quantize_openvino

PROBE = """
import os, sys
forks = []
os.register_at_fork(before=lambda: forks.append(1))
import edge_vseg.export.quantization.openvino_nncf
import nncf.telemetry.wrapper as wrapper
assert "openvino_telemetry" not in sys.modules, "telemetry was loaded"
assert type(wrapper.telemetry).__name__ == "MagicMock", type(wrapper.telemetry)
assert not forks, "the reports go out from a forked process"
print("silent")
"""


def test_openvino_and_nncf_do_not_report():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().endswith("silent"), done.stderr[-2000:]


def test_quantizing_leaves_the_callers_log_handlers_alone():
    handler = logging.StreamHandler()
    logging.getLogger("nncf").addHandler(handler)
    try:
        model = ov.Core().read_model(Path(__file__).parents[1] / "assets" / "tiny.xml")
        quantize_openvino(model, [np.zeros((24, 32, 3), np.uint8)])
        assert handler.level == logging.NOTSET
    finally:
        logging.getLogger("nncf").removeHandler(handler)
