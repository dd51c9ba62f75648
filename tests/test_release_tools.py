"""Hashes of what CI installs, and of what a release consists of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parent.parent / "tools"
HOST = "files.pythonhosted.org"
PYPI = f"https://{HOST}/packages/aa"


def wheel(name: str, version: str, *, url: str = PYPI, digest: str = "ab" * 32) -> dict[str, Any]:
    """An entry as pip's --report writes it."""
    source = {"url": f"{url}/{name}-{version}-py3-none-any.whl", "archive_info": {"hashes": {"sha256": digest}}}
    return {"metadata": {"name": name, "version": version}, "download_info": source}


def pin(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(TOOLS / "pin_hashes.py"), "--root", str(folder), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def report_of(folder: Path, *entries: dict[str, Any]) -> Path:
    own = {"metadata": {"name": "edge-vseg", "version": "0.1.0"}, "download_info": {"url": "file:///x", "dir_info": {}}}
    path = folder / "report.json"
    path.write_text(json.dumps({"install": [own, *entries]}))
    return path


def test_hashes_are_pinned_and_agree_with_the_versions(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("# remark\nnumpy==2.4.6\ntyping_extensions==4.16.0\n")
    done = pin(tmp_path, report_of(tmp_path, wheel("typing-extensions", "4.16.0"), wheel("numpy", "2.4.6")))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "hashes.txt").read_text().splitlines()
    assert lines == [
        f"numpy==2.4.6 --hash=sha256:{'ab' * 32}",
        f"typing-extensions==4.16.0 --hash=sha256:{'ab' * 32}",
    ]
    assert pin(tmp_path, "--check").returncode == 0
    (tmp_path / "constraints.txt").write_text("numpy==2.4.7\n")
    done = pin(tmp_path, "--check")
    assert done.returncode == 1
    assert "numpy: 2.4.7 in constraints.txt, 2.4.6 in hashes.txt" in done.stdout
    assert "typing-extensions: nothing in constraints.txt" in done.stdout


@pytest.mark.parametrize(
    "entry",
    [wheel("numpy", "2.4.6", url="file:///mirror"), wheel("numpy", "2.4.6", url="https://mirror.local/x")],
    ids=["a folder", "a mirror"],
)
def test_files_of_a_mirror_are_not_pinned(entry: dict[str, Any], tmp_path: Path) -> None:
    done = pin(tmp_path, report_of(tmp_path, entry))
    assert (done.returncode, "not from PyPI" in done.stdout) == (1, True)
    assert not (tmp_path / "hashes.txt").exists()


def test_a_file_without_a_hash_is_not_pinned(tmp_path: Path) -> None:
    done = pin(tmp_path, report_of(tmp_path, wheel("numpy", "2.4.6", digest="")))
    assert (done.returncode, "has no SHA-256" in done.stdout) == (1, True)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    sys.path.insert(0, str(TOOLS))
    try:
        from release import write_sums
    finally:
        sys.path.remove(str(TOOLS))
    for name in ("a.whl", "b.tar.gz"):
        (tmp_path / name).write_bytes(name.encode())
    write_sums(tmp_path)
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "a.whl").write_bytes(b"other")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1
