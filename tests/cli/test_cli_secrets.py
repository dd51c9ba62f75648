"""A password in a stream's address leaves by none of the exits: reports, JSON, HTML, logs, threads."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge_vseg.video import open_source

SECRET = "hunter2"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server of files that likes any password; gives its host and port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_what_is_written_of_a_stream(
    cli: Callable[..., Any], reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    numpy = ("--runtime", "reference")
    with served(clip.parent) as host:
        address = f"http://admin:{SECRET}@{host}/{clip.name}?user=admin&password={SECRET}"
        quick = ("--flat-out", "--seconds", 0.2, "--no-operators")
        commands = (
            ("profile", reference_bundle, address, *numpy, *quick, "--json", out / "p.json", "--html", out / "p.html"),
            ("evaluate", reference_bundle, "--video", address, *numpy, "--html", out / "e.html", "--json"),
            ("run", reference_bundle, address, *numpy, "--stats", out / "run.json"),
        )
        for command in commands:
            outcome = cli("--debug", *command)
            assert outcome.code == 0, outcome.err
            assert SECRET not in outcome.out + outcome.err
    written = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}
    assert set(written) == {"p.json", "p.html", "e.html", "run.json"}
    for name, text in written.items():
        assert SECRET not in text, name
        assert host in text, "the rest of the address is there"


def test_the_names_of_threads(clip: Path) -> None:
    with served(clip.parent) as host:
        with open_source(f"http://admin:{SECRET}@{host}/{clip.name}", live=True) as source:
            names = [thread.name for thread in threading.enumerate()]
        assert source.name == f"http://{host}/{clip.name}"
        assert f"read {source.name}" in names
        assert not any(SECRET in name for name in names)
