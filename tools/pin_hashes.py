"""Pin the hashes of everything that CI installs.

    pip install --dry-run --ignore-installed -c constraints.txt --report report.json '.[dev]'
    python tools/pin_hashes.py report.json     # writes hashes.txt
    python tools/pin_hashes.py --check         # exit 1 unless hashes.txt has the versions of constraints.txt

With ``hashes.txt``, ``make test`` installs with ``pip --require-hashes``: a file that was exchanged on the index is
refused. Only files from PyPI are pinned: a mirror may build its own wheels, whose hashes fit nowhere else. The hashes
are those of one platform, the one of ``constraints.txt``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PUBLIC_HOSTS = ("files.pythonhosted.org", "download.pytorch.org")


def pinned_lines(report: dict[str, Any]) -> list[str]:
    """Lines ``name==version --hash=sha256:…`` of pip's report.

    Raises:
        ValueError: If a file is not from a public index, or has no hash.
    """
    lines = []
    for each in report["install"]:
        name, version = canonical(each["metadata"]["name"]), each["metadata"]["version"]
        source = each["download_info"]
        if "dir_info" in source:
            continue  # this project
        if urlsplit(source["url"]).hostname not in PUBLIC_HOSTS:
            raise ValueError(f"{name} comes from {urlsplit(source['url']).scheme or 'elsewhere'}, not from PyPI")
        digest = source.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"{name} has no SHA-256 in the report")
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    return sorted(lines)


def differences(constraints: str, hashes: str) -> list[str]:
    """What is pinned in one file and not, or otherwise, in the other."""
    wanted, found = versions(constraints), versions(hashes)
    return [
        f"{name}: {wanted.get(name, 'nothing')} in constraints.txt, {found.get(name, 'nothing')} in hashes.txt"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]


def versions(text: str) -> dict[str, str]:
    """Version by canonical name, of lines ``name==version``."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonical(name): version for name, version in found}


def canonical(name: str) -> str:
    """A project's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write or check ``hashes.txt``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, nargs="?", help="what pip's --report wrote")
    parser.add_argument("--check", action="store_true", help="compare with constraints.txt")
    parser.add_argument("--root", type=Path, default=ROOT, help="where both files are")
    options = parser.parse_args()
    if options.check == (options.report is not None):
        parser.error("give a report, or --check")
    target = options.root / "hashes.txt"
    if options.report is not None:
        try:
            lines = pinned_lines(json.loads(options.report.read_text(encoding="utf-8")))
        except ValueError as exc:
            print(f"nothing is pinned: {exc}")
            return 1
        target.write_text("".join(lines), encoding="utf-8")
        print(f"{len(lines)} files are pinned")
        return 0
    constraints = (options.root / "constraints.txt").read_text(encoding="utf-8")
    wrong = differences(constraints, target.read_text(encoding="utf-8"))
    print("\n".join(wrong) or "hashes.txt has the versions of constraints.txt")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
