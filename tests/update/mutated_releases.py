"""Damage signed releases in every way, offer them to a device, and count what it does.

    python tests/update/mutated_releases.py --cases 20000 --seed 1

A device has release 1. Each case takes release 2, changes one file or two of it or its index, and updates. What is
installed afterwards must be release 1, or release 2 as it was signed, whole; and the same is asked of
``require_trust`` for a bundle that somebody changed in its place. The trial of the bundle in a process of its own is
left out: what reaches it has passed every hash. Prints a JSON object of counts; exits with 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from signed_bundles import new_key, trust, write_signed

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.errors import EdgeVsegError
from edge_vseg.trust import TrustPolicy, require_trust
from edge_vseg.update import UpdateOptions, install_update, updater

HANG_S = 20
MEMORY_BYTES = 2 << 30
"""More ends a case as uncaught: a reader without bounds must not take the machine's memory."""
Mutation = Callable[[Path, random.Random, Path], None]
TEXTS = ('"version":2', '"signatures"', '"payload"', '"location"', '"sha256"', '"bytes"', '"name"', "colours", "null")
VALUES = (
    '"version":99',
    "1e9",
    "NaN",
    "-1",
    '""',
    "[[[[",
    '"../../x"',
    "\\ud800",
    "{}",
    "9" * 400,
    '"payload":1,"payload"',
)


def flip(path: Path, chance: random.Random, _: Path) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random, _: Path) -> None:
    """Leave the end out."""
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def lengthen(path: Path, chance: random.Random, _: Path) -> None:
    """Add bytes."""
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.choice((1, 64, 1 << 17))))


def swap(path: Path, _: random.Random, other: Path) -> None:
    """Take the file of another release."""
    if other.is_file():
        shutil.copy(other, path)


def rewrite(path: Path, chance: random.Random, _: Path) -> None:
    """Put a value where another stands, in JSON."""
    text = path.read_text(encoding="latin-1")
    old = chance.choice([each for each in TEXTS if each in text] or [text[:1]])
    path.write_text(text.replace(old, chance.choice(VALUES), 1), encoding="latin-1")


def scramble(path: Path, chance: random.Random, _: Path) -> None:
    """Other bytes of the same length."""
    path.write_bytes(chance.randbytes(path.stat().st_size))


def remove(path: Path, *_: object) -> None:
    """No file."""
    path.unlink()


def link(path: Path, chance: random.Random, other: Path) -> None:
    """A link, to another release or out of it."""
    path.unlink()
    path.symlink_to(chance.choice((other, Path("/etc/hostname"), path)))


def pipe(path: Path, *_: object) -> None:
    """A pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, *_: object) -> None:
    """A folder."""
    path.unlink()
    path.mkdir()


MUTATIONS: tuple[Mutation, ...] = (flip, cut, lengthen, swap, rewrite, scramble, remove, link, pipe, folder)


class Campaign:
    """Damages releases and counts."""

    def __init__(self, work: Path, seed: int) -> None:
        self._work, self._chance = work, random.Random(seed)
        self.counts = {name: Counter[str]() for name in ("updates", "openings")}
        key = new_key()
        self._keys, self._site = trust(work / "keys", key), work / "site"
        self._site.mkdir()
        for version in (1, 2):
            bundle = self._site / f"colours-{version}.evseg"
            write_signed(bundle, key, version, index=self._site / f"{version}.json")
        self._hashes = [open_bundle(self._site / f"colours-{version}.evseg").sha256 for version in (1, 2)]
        updater.probe_bundle = lambda *_: None  # type: ignore[attr-defined]
        self._options = UpdateOptions(keys=self._keys)
        install_update(work / "begin/robot.evseg", str(self._site / "1.json"), self._options)

    def run(self, cases: int) -> None:
        """Try so many cases."""
        for _ in range(cases):
            offered = self._work / "offered"
            for each in (offered, self._work / "device"):
                shutil.rmtree(each, ignore_errors=True)
            shutil.copytree(self._site, offered, ignore=shutil.ignore_patterns("*-1.evseg"))
            names = self._damage(offered)
            shutil.copytree(self._work / "begin", self._work / "device", symlinks=True)
            self._judge("updates", names, lambda origin=offered: self._update(origin))
            # Manifests that are pipes, devices or folders are a campaign of their own.
            if (offered / "colours-2.evseg/manifest.json").is_file():
                self._judge("openings", names, lambda origin=offered: self._open(origin))

    def _damage(self, offered: Path) -> list[str]:
        paths = sorted(path for path in offered.rglob("*") if path.is_file() and path.name != "1.json")
        names = []
        for path in self._chance.sample(paths, self._chance.choice((1, 1, 1, 2))):
            mutation = self._chance.choice(MUTATIONS)
            relative = (
                path.relative_to(offered).as_posix().replace("colours-2", "colours-1").replace("2.json", "1.json")
            )
            if not path.stat().st_size:
                continue
            mutation(path, self._chance, self._site / relative)
            names.append(f"{mutation.__name__} {path.name}")
        return names

    def _judge(self, kind: str, names: list[str], attempt: Callable[[], str]) -> None:
        counts = self.counts[kind]
        counts["tried"] += 1
        signal.alarm(HANG_S)
        try:
            counts[attempt()] += 1
        except EdgeVsegError:
            counts["refused"] += 1
        except TimeoutError:
            counts["hung"] += 1
            print(f"{kind}: hung: {names}", file=sys.stderr)
        except Exception:
            counts["uncaught"] += 1
            print(f"{kind}: {names}\n{traceback.format_exc()}", file=sys.stderr)
        finally:
            signal.alarm(0)
        if kind == "updates" and self._installed() not in self._hashes:
            counts["wrong"] += 1
            print(f"{kind}: wrong: {names}", file=sys.stderr)

    def _update(self, offered: Path) -> str:
        origin = self._chance.choice(("2.json", "colours-2.evseg"))
        report = install_update(self._work / "device/robot.evseg", str(offered / origin), self._options)
        # An index exchanged for that of release 1 is as good as one that nobody renews: only its expiry ends it.
        old, new = self._hashes
        expected = old if (report.status, report.release.version) == ("current", 1) else new
        return "right" if self._installed() == expected == report.release.sha256 else "wrong"

    def _open(self, offered: Path) -> str:
        bundle = open_bundle(offered / "colours-2.evseg")
        verified = require_trust(bundle, TrustPolicy(keys=self._keys))
        check_files(bundle)
        same = bundle.sha256 in self._hashes and verified is not None and verified.release.sha256 == bundle.sha256
        return "right" if same else "wrong"

    def _installed(self) -> str:
        bundle = open_bundle(self._work / "device/robot.evseg")
        check_files(bundle)
        return bundle.sha256


def hang(*_: object) -> None:
    """Called by the alarm."""
    raise TimeoutError


def main() -> int:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, hang)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as work:
        campaign = Campaign(Path(work), options.seed)
        campaign.run(options.cases)
    names = ("tried", "refused", "right", "wrong", "uncaught", "hung")
    counted = {kind: {name: counts[name] for name in names} for kind, counts in campaign.counts.items()}
    print(json.dumps(counted, indent=1))
    return int(any(counts[name] for counts in campaign.counts.values() for name in ("wrong", "uncaught", "hung")))


if __name__ == "__main__":
    sys.exit(main())
