"""Build a release: wheel, source archive, bill of materials, and the hashes of all three.

    python tools/release.py dist

The bill of materials (CycloneDX 1.6, JSON) lists what a device gets: the wheel and the extras for devices, installed
into an environment of their own in the versions of ``constraints.txt``. Needs ``build`` and ``cyclonedx-bom``, which
`make release` brings. Times in archives are that of the last commit, so that the same commit gives the same wheel.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEVICE_EXTRAS = "onnxruntime,openvino,litert,profile,serve,foxglove,ros2,mcap,trust"
"""What the bill of materials covers besides the wheel's own dependencies."""
SUMS = "SHA256SUMS"


def build_archives(folder: Path) -> Path:
    """Build the source archive, and from it the wheel; returns the wheel."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": commit_time()}
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), environment=environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


def commit_time() -> str:
    """Seconds of the last commit since 1970; of 2020 where there is no repository."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "1577836800"


def write_bill(wheel: Path, target: Path, extras: str) -> None:
    """Install the wheel by itself, and write the bill of materials of what came with it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / "bin/python"
        wanted = f"{wheel}[{extras}]" if extras else str(wheel)
        pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet")
        run(*pip, "-c", str(ROOT / "constraints.txt"), wanted)
        options = ("--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library", "--output-reproducible")
        form = ("--spec-version", "1.6", "--output-format", "JSON", "--output-file", str(target))
        run(sys.executable, "-m", "cyclonedx_py", "environment", *options, *form, str(python))


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` for ``sha256sum --check``."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def run(*command: str, environment: dict[str, str] | None = None) -> None:
    """Run a command, and end with its exit code if it fails."""
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        sys.exit(f"{' '.join(command[:4])} ended with {code}")


def main() -> None:
    """Build everything into a new folder, which takes the place of an old one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where it goes; an old folder is replaced")
    parser.add_argument("--extras", default=DEVICE_EXTRAS, help="extras that the bill of materials covers")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    wheel = build_archives(options.folder)
    name = "-".join(wheel.name.split("-")[:2])
    write_bill(wheel, options.folder / f"{name}.cdx.json", options.extras)
    write_sums(options.folder)
    for path in sorted(options.folder.iterdir()):
        print(f"{path.stat().st_size:>10} {path.name}")


if __name__ == "__main__":
    main()
