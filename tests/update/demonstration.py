"""Show signing, updates, refusals and ways back, with the commands that a fleet uses, on HTTPS over loopback.

python tests/update/demonstration.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
from reference_bundle import BIAS, STRIDE, WEIGHT, Recipe, write_bundle
from release_server import ReleaseServer
from retouch import rehash

from edge_vseg.cli import main as edge_vseg
from edge_vseg.runtimes.backends.reference import write_reference


def run(*words: object) -> int:
    """Run a command as a shell would, and print it."""
    sys.argv = ["edge-vseg", *map(str, words)]
    print(f"$ {' '.join(sys.argv)}", flush=True)
    try:
        edge_vseg()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
        if code:
            print(f"(exit code {code})")
        print(flush=True)
        return code
    return 0


def release(site: Path, version: int) -> Path:
    """A bundle of that version in the folder that is served."""
    return write_bundle(site / f"colours-{version}.evseg", Recipe(bias=BIAS + np.float32(version)))


def sign(bundle: Path, key: str, version: int, index: Path) -> int:
    """Sign a release and write its index."""
    return run("sign", bundle, "--key", f"{key}.pem", "--version", version, "--expires", "90d", "--index", index)


@contextmanager
def ill_service() -> Iterator[str]:
    """A service that says it is not well."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"state": "stale", "reason": "labels are 9 s old"}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/health"
    server.shutdown()
    server.server_close()


def main() -> int:
    """Run the story in a folder that is removed afterwards; 0 if every step ended as it should."""
    ended: list[tuple[str, int, int]] = []

    def step(title: str, expected: int, code: int) -> None:
        ended.append((title, expected, code))

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        site, keys = Path("site"), Path("robot/keys")
        for each in (site, keys):
            each.mkdir(parents=True)
        Path("passphrase").write_text("correct horse battery staple\n", encoding="utf-8")
        os.environ["EDGE_VSEG_KEY_PASSPHRASE"] = "correct horse battery staple"
        print("# Keys are made offline; the public half goes to the robots.")
        run("keygen", "release")
        run("keygen", "stranger")
        (keys / "release.pub.pem").write_bytes(Path("release.pub.pem").read_bytes())
        with ReleaseServer(site, Path("certificates")) as server, ill_service() as health:

            def update(index: str, *words: object) -> int:
                asked = ("--trusted", keys, "--ca-file", server.ca_file)
                return run("update", "robot/colours.evseg", f"{server.address}/{index}", *asked, *words)

            for version in (1, 2):
                print(f"# Version {version} is signed, served, and installed.")
                step("sign", 0, sign(release(site, version), "release", version, site / f"{version}.json"))
                step("update", 0, update(f"{version}.json"))
            print("# The server offers version 1 again: refused.")
            step("old version", 1, update("1.json"))
            print("# Somebody else signs version 3: refused.")
            sign(release(site, 3), "stranger", 3, site / "3.json")
            step("stranger", 1, update("3.json"))
            print("# A file of version 4 is exchanged on the server: refused.")
            sign(release(site, 4), "release", 4, site / "4.json")
            graph = site / "colours-4.evseg/reference/float/graph.npz"
            graph.write_bytes(graph.read_bytes()[:-1] + b"?")
            step("tampered", 1, update("4.json"))
            print("# Version 5 gives wrong labels on this machine: not installed.")
            wrong = release(site, 5)
            write_reference(wrong / "reference/float/graph.npz", WEIGHT[::-1].copy(), BIAS, STRIDE)
            rehash(wrong)
            sign(wrong, "release", 5, site / "5.json")
            step("wrong labels", 1, update("5.json"))
            print("# Version 6 is installed, the service is not well afterwards: taken back.")
            sign(release(site, 6), "release", 6, site / "6.json")
            step("ill service", 1, update("6.json", "--watch", "1s", "--health", health))
            step("still there", 0, run("verify", "robot/colours.evseg", "--trusted", keys))
            print("# Going back is possible when somebody asks for it.")
            step("asked back", 0, update("1.json", "--allow-rollback"))
            print("# The key is revoked: what it signed is not opened any more.")
            key_id = json.loads((Path("robot/colours.evseg.slots/.state.json")).read_text(encoding="utf-8"))["newest"]
            (keys / "revoked").write_text("\n".join(key_id) + "  # the laptop was stolen\n", encoding="utf-8")
            step("revoked", 1, run("verify", "robot/colours.evseg", "--trusted", keys))
        os.chdir("/")
    print("| step | exit code expected | exit code |\n|---|---|---|")
    for title, expected, code in ended:
        print(f"| {title} | {expected} | {code} |")
    return int(any(expected != code for _, expected, code in ended))


if __name__ == "__main__":
    sys.exit(main())
