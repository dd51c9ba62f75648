"""An export reports to nobody."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import os, sys
forks = []
os.register_at_fork(before=lambda: forks.append(1))
import edge_vseg.export.quantization.openvino_qdq
assert "openvino_telemetry" not in sys.modules, "telemetry was loaded"
assert not forks, "the reports go out from a forked process"
print("silent")
"""


def test_openvino_does_not_report() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().endswith("silent"), done.stderr[-2000:]
