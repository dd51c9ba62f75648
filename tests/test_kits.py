"""What lies under examples/docker and examples/service fits the package, the command line and the machine's tools."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer

from edge_vseg.cli.app import app
from edge_vseg.scheduling.device_profile import profile_folder

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "examples/docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
RULES = ROOT / "examples/service/99-edge-vseg-camera.rules"
WORKSTATION = {"torch", "onnx", "onnxscript", "litert-torch", "ai-edge-quantizer", "matplotlib", "jinja2"}
SERVE = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]

each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.suffix[1:])


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions as (name, rest), continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last_stage(dockerfile: Path) -> list[tuple[str, str]]:
    found = instructions(dockerfile)
    start = max(n for n, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required(extras: list[str]) -> set[str]:
    """Names of all packages that the package and its extras ask for, extras of extras included."""
    table = project()["optional-dependencies"]
    found, wanted = set(project()["dependencies"]), list(extras)
    while wanted:
        for requirement in table[wanted.pop()]:
            match = re.match(r"edge-vseg\[([\w,-]+)\]", requirement)
            wanted += match[1].split(",") if match else []
            found |= set() if match else {requirement}
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in found}  # type: ignore[index]


def test_there_is_one_for_each_machine() -> None:
    assert [path.suffix for path in DOCKERFILES] == [".jetson", ".raspberry-pi", ".x86-64"]


@each_dockerfile
def test_only_the_device_half_is_installed(dockerfile: Path) -> None:
    groups = re.findall(r"\.whl\)\[([\w,-]+)\]", dockerfile.read_text(encoding="utf-8"))
    assert len(groups) == 1
    extras = groups[0].split(",")
    assert set(extras) <= set(project()["optional-dependencies"])
    assert "serve" in extras
    assert not required(extras) & WORKSTATION


def test_the_check_above_can_fail() -> None:
    assert required(["all"]) & WORKSTATION


@each_dockerfile
def test_a_base_that_the_package_runs_on(dockerfile: Path) -> None:
    bases = [rest.split()[0] for name, rest in instructions(dockerfile) if name == "FROM"]
    assert len(set(bases)) == 1, "the environment refers to the interpreter of the image that it was made in"
    match = re.fullmatch(r"python:3\.(\d+)-slim-bookworm", bases[0])
    if match is None:
        assert bases[0].startswith("nvcr.io/nvidia/l4t-jetpack:r36."), "Ubuntu 22.04 has Python 3.10"
    assert int(match[1] if match else 10) >= int(project()["requires-python"].removeprefix(">=3."))


@each_dockerfile
def test_nobody_is_root_and_somebody_looks(dockerfile: Path) -> None:
    stage = last_stage(dockerfile)
    names = [name for name, _ in stage]
    users = [rest for name, rest in stage if name == "USER"]
    assert users == ["edge-vseg"]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert any("useradd" in rest and rest.rstrip().endswith("edge-vseg") for name, rest in stage if name == "RUN")
    check = next(rest for name, rest in stage if name == "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["python", "/opt/health.py"]


@each_dockerfile
def test_what_is_copied_is_there(dockerfile: Path) -> None:
    for name, rest in instructions(dockerfile):
        if name == "COPY" and not rest.startswith("--from"):
            assert (ROOT / rest.split()[0]).exists(), rest
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"examples", "edge_vseg", "export", "runtimes", "calibration", "pyproject.toml"} & set(ignored)


@each_dockerfile
def test_the_command_and_the_line_to_run_it_are_right(dockerfile: Path) -> None:
    entry = {name: json.loads(rest) for name, rest in last_stage(dockerfile) if name in ("ENTRYPOINT", "CMD")}
    assert entry["ENTRYPOINT"][:2] == ["edge-vseg", "serve"]
    text = dockerfile.read_text(encoding="utf-8")
    run = re.search(r"#   (docker run (?:.*\\\n#)*.*)\n", text)
    assert run, "one line to run it"
    words = shlex.split(run[1].replace("\\\n#", " "))
    assert "--device" in words
    given = words[words.index("edge_vseg") + 1 :]
    mounted = Path(words[words.index("-v") + 1].split(":")[1])
    for arguments in (entry["CMD"], given):
        context = SERVE.make_context("serve", [*entry["ENTRYPOINT"][2:], *arguments])
        assert profile_folder(context.params["bundle"]).parent == mounted, "the device profile lies beside the bundle"
        assert context.params["source"] == "/dev/video0"
    assert f"-f {dockerfile.relative_to(ROOT)} " in text


class Server:
    """Answers /health, with a token, as it is told."""

    def __init__(self) -> None:
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.headers["Authorization"] == "Bearer 0123456789abcdef"
                self.send_response((outer.status if known else 401) if self.path == "/health" else 404)
                self.end_headers()
                self.wfile.write(b'{"state": "told"}')

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def is_healthy(port: int, token: str = "0123456789abcdef") -> bool:
    environment = {**os.environ, "EDGE_VSEG_PORT": str(port), "EDGE_VSEG_TOKEN": token}
    done = subprocess.run(
        [sys.executable, str(DOCKER / "health.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), "Docker reserves the others"
    return done.returncode == 0


def test_the_health_check(server: Server) -> None:
    assert is_healthy(server.port)
    assert not is_healthy(server.port, token="another")
    server.status = 503
    assert not is_healthy(server.port)
    server.close()
    assert not is_healthy(server.port)


def test_names_of_cameras_are_known_while_they_are_away() -> None:
    names = re.findall(r'SYMLINK\+="([^"]+)"', RULES.read_text(encoding="utf-8"))
    assert len(names) == 2
    assert all(Path("/dev", name).match("/dev/video*") for name in names)


def complaints_of_udev(folder: Path) -> str:
    """What udev says about the rules of a folder, which a namespace of our own shows it as the machine's."""
    script = 'mount --bind "$0" /etc/udev/rules.d && udevadm test --action=add /sys/class/net/lo 2>&1'
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    if "Reading rules file: /etc/udev/rules.d/" not in done.stdout:
        pytest.skip("udev cannot be asked here")
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("/etc/udev/rules.d/"))


@pytest.mark.skipif(not shutil.which("udevadm") or not shutil.which("unshare"), reason="there is no udev here")
def test_udev_reads_the_rules(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    assert complaints_of_udev(tmp_path) == ""
    (tmp_path / RULES.name).write_text(RULES.read_text().replace("SYMLINK", "SIMLINK"))
    assert "Invalid key" in complaints_of_udev(tmp_path), "the check can fail"
