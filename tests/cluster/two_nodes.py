"""A Ray cluster of two nodes on this machine, which share nothing but its disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
MARK = "EDGE_VSEG_TEST_CLUSTER"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@dataclass
class TwoNodes:
    """The cluster; ``start`` adds a node of one core."""

    folder: Path
    address: str
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    def start(self, node: str) -> None:
        head = ("--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false")
        where = head if node == "first" else (f"--address={self.address}",)
        path = os.pathsep.join(map(str, (PROJECT, PROJECT / "tests/cluster")))
        variables = {
            MARK: self.mark,
            "PYTHONPATH": path,
            "EDGE_VSEG_TEST_NODE": node,
            "EDGE_VSEG_CLUSTER_CACHE": str(self.folder / f"cache-{node}"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "EDGE_VSEG_PROBE": "never",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--num-cpus=1"]
        command += [f"--temp-dir={self.folder / node}", "--object-store-memory=80000000", "--disable-usage-stats"]
        done = subprocess.run(command, env=os.environ | TOKEN | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def processes(self, node: str | None = None) -> Iterator[tuple[int, str]]:
        """Id and program of its processes."""
        wanted = {f"{MARK}={self.mark}".encode()} | ({f"EDGE_VSEG_TEST_NODE={node}".encode()} if node else set())
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((path / "environ").read_bytes().split(b"\0")):
                    yield int(path.name), (path / "comm").read_text().strip()

    def kill_raylet(self, node: str) -> None:
        (raylet,) = (pid for pid, program in self.processes(node) if program == "raylet")
        os.kill(raylet, signal.SIGKILL)

    def stop(self) -> None:
        for _ in range(20):
            for pid, _ in (left := list(self.processes())):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                break
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def cluster() -> Iterator[TwoNodes]:
    """A cluster without a node."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = TwoNodes(Path(tempfile.mkdtemp(prefix="ev-nodes-", dir="/tmp")), f"127.0.0.1:{port}")
    try:
        yield nodes
    finally:
        nodes.stop()
