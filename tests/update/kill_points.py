"""Kill an update at every file operation in turn, and look at what is left.

Python tells an audit hook before each operation that changes files; the n-th one kills the process. After each kill
the bundle's path must hold the old bundle or the new one, whole, and the next update must bring the new one, keep the
old one in its slot, and leave nothing else behind. Where two entries cannot be exchanged, nothing may be there between
two renames. The trial on this machine changes no files of the update and is left out here, for its second.

    python tests/update/kill_points.py     # prints a JSON object of counts
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from reference_bundle import write_bundle
from signed_bundles import new_key, trust, write_signed

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.errors import BundleError, RejectedBundleError
from edge_vseg.update import UpdateOptions, WatchOptions, install_update, updater

CHANGING = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "os.truncate", "os.link",
    "shutil.rmtree", "ctypes.dlsym",
}  # fmt: skip
FINISHED, WRONG = 0, 3


class Killer:
    """Kills this process before the n-th operation below a folder."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = str(folder)
        self._left = number
        self.names: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            path = os.fspath(path) if isinstance(path, os.PathLike) else path
            changes = isinstance(path, str) and path.startswith(self._folder) and bool(flags & 3)
        else:
            changes = event in CHANGING and (event == "ctypes.dlsym" or str(arguments[0]).startswith(self._folder))
        if not changes:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def probe(bundle: Path, *_: object) -> None:
    """In place of the trial in a process of its own: the same reads, none of its seconds."""
    opened = open_bundle(bundle)
    check_files(opened)
    if opened.manifest.name != "colours":
        raise RejectedBundleError("not well")


def in_child(function: Any) -> int:
    """Run a function in a forked process; its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = WRONG
        try:
            function()
            code = FINISHED
        except RejectedBundleError:
            code = FINISHED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Scenario:
    """An update from one state to the next, from a copy each time."""

    def __init__(
        self, name: str, begin: Path, site: Path, keys: Path, watch: WatchOptions, *, exchange: bool = True
    ) -> None:
        self.name = name
        self._begin, self._site, self._keys, self._watch = begin, site, keys, watch
        self._exchange = exchange
        self.counts: Counter[str] = Counter()

    def run(self, work: Path) -> None:
        allowed = self._hashes()
        number = 0
        while True:
            number += 1
            killer = Killer(work, number)
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(self._begin, work, symlinks=True)
            code = in_child(functools.partial(self._update, work, killer))
            if code == FINISHED:
                break
            self.counts["tried"] += 1
            if code != -signal.SIGKILL:
                self.counts["uncaught"] += 1
                break  # it would fail so for ever
            self._look(work, allowed)
        self.counts["operations"] = number - 1

    @property
    def _old(self) -> set[str]:
        link = self._begin / "robot.evseg"
        return {open_bundle(link).sha256} if link.exists() else set()

    def _kept(self, work: Path) -> set[str]:
        """Hashes of the slots: the old bundle stays, as the way back."""
        return {whole(p) for p in (work / "robot.evseg.slots").iterdir() if not p.name.startswith(".")}

    def _hashes(self) -> set[str]:
        return (self._old or {""}) | {open_bundle(self._site / "new.evseg").sha256}

    def _look(self, work: Path, allowed: set[str]) -> None:
        try:
            found = whole(work / "robot.evseg")
        except BundleError as exc:
            print(f"{self.name}: {exc}", file=sys.stderr)
            self.counts["wrong"] += 1
            return
        gap = not found and not self._exchange
        self.counts["gap" if gap else "old" if found != open_bundle(self._site / "new.evseg").sha256 else "new"] += 1
        if found not in allowed and not gap:
            self.counts["wrong"] += 1
        code = in_child(functools.partial(self._update, work, None))
        left = sorted(p.name for p in work.iterdir()) + sorted(
            p.name for p in (work / "robot.evseg.slots").iterdir() if p.name.startswith(".")
        )
        if code != FINISHED or left != ["robot.evseg", "robot.evseg.slots", ".lock", ".state.json"]:
            print(f"{self.name}: code {code}, left {left}", file=sys.stderr)
            self.counts["stuck"] += 1
        elif whole(work / "robot.evseg") in allowed and self._old <= self._kept(work):
            self.counts["right"] += 1

    def _update(self, work: Path, killer: Killer | None) -> None:
        updater.probe_bundle = probe  # type: ignore[attr-defined]
        if not self._exchange:
            ctypes.CDLL = lambda *_, **__: object()  # type: ignore[assignment, misc]  # a C library without renameat2
        options = UpdateOptions(keys=self._keys, watch=self._watch)
        if killer is not None:
            sys.addaudithook(killer)
        install_update(work / "robot.evseg", str(self._site / "new.evseg"), options)


def whole(path: Path) -> str:
    """Hash of the bundle at a path, all files checked; empty if there is none."""
    if not os.path.lexists(path):
        return ""
    opened = open_bundle(path)
    check_files(opened)
    return opened.sha256


def main(folder: Path) -> int:
    """Run all scenarios and print their counts."""
    key = new_key()
    keys, site = trust(folder / "keys", key), folder / "site"
    site.mkdir()
    write_signed(site / "old.evseg", key, 1)
    write_signed(site / "new.evseg", key, 2)
    begins = {name: folder / f"begin-{name}" for name in ("first", "bundle", "link")}
    for begin in begins.values():
        begin.mkdir()
    write_bundle(begins["bundle"] / "robot.evseg")
    updater.probe_bundle = probe  # type: ignore[attr-defined]
    install_update(begins["link"] / "robot.evseg", str(site / "old.evseg"), UpdateOptions(keys=keys))
    ill = WatchOptions(seconds=0.001, health_url="http://127.0.0.1:9/health", pause=lambda seconds: None)
    scenarios = [Scenario(name, begin, site, keys, WatchOptions()) for name, begin in begins.items()]
    scenarios.append(Scenario("taken back", begins["link"], site, keys, ill))
    scenarios.append(Scenario("no exchange", begins["bundle"], site, keys, WatchOptions(), exchange=False))
    for scenario in scenarios:
        scenario.run(folder / "work")
    print(json.dumps({scenario.name: scenario.counts for scenario in scenarios}, indent=1))
    wrong = sum(each.counts[kind] for each in scenarios for kind in ("wrong", "stuck", "uncaught"))
    return 1 if wrong else 0


if __name__ == "__main__":
    # Flushing to a real disk takes most of the time and kills nothing.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        sys.exit(main(Path(folder)))
