"""systemd's own reading of a unit file, where systemd is installed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

SYSTEMD = Path("/lib/systemd/systemd")


def can_read_units() -> bool:
    return SYSTEMD.exists() and shutil.which("systemd-analyze") is not None


def verify(unit: Path) -> str:
    """What ``systemd-analyze verify`` complains of; empty if nothing."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    return "\n".join(line for line in done.stderr.splitlines() if unit.name in line)


def exposure(unit: Path) -> float:
    """The score of ``systemd-analyze security``: 0 is good."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )
    match = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert match, done.stdout + done.stderr
    return float(match[1])


class SystemdParser:
    """The functions of systemd 252's private library that read a command line and an environment file."""

    LIBRARY = Path("/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so")
    _UNQUOTE_AND_UNESCAPE = (1 << 5) | (1 << 1)

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(self.LIBRARY))
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]

    def words(self, line: str) -> list[bytes]:
        """The words of an ``ExecStart=`` line behind its prefix, specifiers replaced; none is known but ``%%``."""
        rest = ctypes.c_char_p(line.encode())
        found = []
        while True:
            word = ctypes.c_void_p()
            code = self._library.extract_first_word(
                ctypes.byref(rest), ctypes.byref(word), None, self._UNQUOTE_AND_UNESCAPE
            )
            assert code >= 0, f"systemd cannot read {line!r}: {os.strerror(-code)}"
            if code == 0:
                return found
            found.append(self._specified(self._taken(word)))

    def _specified(self, word: bytes) -> bytes:
        table, out = (ctypes.c_char * 24)(), ctypes.c_void_p()
        code = self._library.specifier_printf(
            ctypes.c_char_p(word), ctypes.c_size_t(2**20), table, None, None, ctypes.byref(out)
        )
        assert code >= 0, word
        return self._taken(out)

    def environment(self, path: Path) -> dict[str, str]:
        """The variables of an environment file."""
        out = ctypes.POINTER(ctypes.c_char_p)()
        code = self._library.load_env_file(None, ctypes.c_char_p(os.fsencode(path)), ctypes.byref(out))
        assert code >= 0, os.strerror(-code)
        found, number = {}, 0
        while out and out[number] is not None:
            name, _, value = out[number].decode().partition("=")
            found[name] = value
            number += 1
        return found

    def _taken(self, pointer: ctypes.c_void_p) -> bytes:
        text = ctypes.cast(pointer, ctypes.c_char_p).value or b""
        self._free(pointer)
        return text
