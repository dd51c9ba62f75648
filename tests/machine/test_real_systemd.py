"""The installed unit under a real service manager, which only root can start here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from unit_parsing import SYSTEMD

pytest.importorskip("aiohttp")
pytestmark = [pytest.mark.serial, pytest.mark.slow]

HERE = Path(__file__).parent
# Quick, from this checkout, and without the two walls that a namespace of a namespace cannot have.
OVERRIDES = f"""\
[Service]
Environment="PYTHONPATH={HERE.parents[1]}"
WatchdogSec=4
TimeoutAbortSec=1
RestartSec=0.5
ProtectKernelTunables=no
ProtectKernelLogs=no
"""


@pytest.mark.skipif(os.geteuid() != 0 or not SYSTEMD.exists() or not shutil.which("unshare"), reason="needs root")
def test_a_process_that_hangs_is_replaced(reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    bundle = reference_bundle.rename(tmp_path / 'street 100% "$HOME".evseg')
    units = tmp_path / "units"
    (units / "street.service.d").mkdir(parents=True)
    (units / "street.service.d/test.conf").write_text(OVERRIDES)
    words = [bundle, clip, "--name", "street", "--user", "root", "--folder", units, "--port", "0"]
    behind = ["--repeat", "--runtime", "reference", "--threads", "1"]
    subprocess.run(
        [sys.executable, "-m", "edge_vseg.cli", "install-service", *map(str, words), "--", *behind], check=True
    )
    done = subprocess.run(
        ["unshare", "-m", "-f", "-p", "--mount-proc", "bash", str(HERE / "private_systemd.sh"), str(units), "street"],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    lines = done.stdout.splitlines()
    if not lines or lines == ["no manager"]:
        pytest.skip(f"no service manager can be started here: {done.stderr[:200]}")
    told = {name: rest.split(" ", 3) for name, _, rest in (line.partition(" ") for line in lines) if name != "word"}
    given = [line.removeprefix("word ") for line in lines if line.startswith("word ")]
    assert told["started"][:2] == ["active", "0"], done.stdout + done.stderr
    assert given[-2:] == [str(bundle), str(clip)]
    assert told["waited"][:2] == ["active", "0"], "it is alive for longer than the watchdog's time"
    assert told["waited"][3].startswith(("ok, labels", "degraded"))
    assert told["restarted"][:2] == ["active", "1"], done.stdout + done.stderr
    assert told["restarted"][2] != told["started"][2]
    assert told["stopped"][0] == "inactive"
