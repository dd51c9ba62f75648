"""Where the files of a service are, who it runs as, and how systemd is told of it."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.errors import OptionError, OutputError
from edge_vseg.files import DISK_ERRORS, StagedFile, cannot_write, remove_leftovers, write_whole
from edge_vseg.machine.service_unit import MARK, DeviceAccess, Owner, check_name

_PRIVATE = 0o600
_COMMAND_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlace:
    """The files of a service, and its commands.

    Attributes:
        name: Of the service.
        owner: Whose service manager it is for.
        unit: The unit file.
        secrets: The file of variables that nobody else may read.
        is_here: Whether they are where systemd looks.
    """

    name: str
    owner: Owner
    unit: Path
    secrets: Path
    is_here: bool

    @classmethod
    def at(cls, name: str, owner: Owner, folder: Path | None = None) -> ServicePlace:
        """The place of a service: where systemd looks, or a folder for both files.

        Raises:
            OptionError: If the name is not plain, or there is no such folder.
        """
        check_name(name)
        if folder is not None and not folder.is_dir():
            raise OptionError(f"--folder {folder}: there is no such folder; create it first")
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        units = Path("/etc/systemd/system") if owner == "system" else config / "systemd/user"
        private = (Path("/etc") if owner == "system" else config) / "edge-vseg"
        if folder is not None:
            units = private = folder.absolute()
        return cls(
            name=name,
            owner=owner,
            unit=units / f"{name}.service",
            secrets=private / f"{name}.env",
            is_here=folder is None,
        )

    def commands(self) -> list[list[str]]:
        """What enables and starts it; systemd links a unit that lies elsewhere.

        A start waits for the camera, and nobody needs to wait for that; one that runs already takes the new unit.
        """
        unit = f"{self.name}.service"
        return [
            self._systemctl("daemon-reload"),
            self._systemctl("enable", unit if self.is_here else str(self.unit)),
            self._systemctl("restart", "--no-block", unit),
        ]

    def log_command(self) -> str:
        """What shows its log."""
        return f"journalctl {'--user ' if self.owner == 'user' else ''}-u {self.name}"

    def check_systemctl(self, *, now: bool) -> None:
        """Check that systemd can be told, before anything is written.

        Raises:
            OptionError: If it is asked for and cannot be.
        """
        if not now:
            return
        if not self.is_here:
            raise OptionError("--now starts what is where systemd looks; leave it out with --folder")
        if not _systemd_runs():
            raise OptionError("systemd does not run here, so --now cannot start the service; leave it out")

    def run_commands(self) -> None:
        """Enable and start it.

        Raises:
            OptionError: If systemctl says no.
        """
        for command in self.commands():
            _run(command)

    def remove(self) -> list[Path]:
        """Stop it, and remove its files; returns them.

        Raises:
            OptionError: If there is none, it was not written by us, or it cannot be removed.
        """
        if not self.unit.is_file():
            raise OptionError(f"there is no service {self.name}: {self.unit} does not exist")
        if not _is_ours(self.unit):
            raise OptionError(f"{self.unit} was not written by install-service; remove it by hand")
        if not os.access(self.unit.parent, os.W_OK):
            raise OptionError(f"cannot remove {self.unit}: Permission denied; run it with sudo")
        told = self.is_here and _systemd_runs()
        if told:
            _run(self._systemctl("disable", "--now", f"{self.name}.service"))
        removed = []
        try:
            for path in (self.unit, self.secrets):
                remove_leftovers(path)
                if path.exists():
                    path.unlink()
                    removed.append(path)
        except OSError as exc:
            raise _cannot("remove", exc) from exc
        if self.is_here:
            with contextlib.suppress(OSError):
                self.secrets.parent.rmdir()  # other services may have theirs there
        if told:
            _run(self._systemctl("daemon-reload"))
        return removed

    def _systemctl(self, *words: str) -> list[str]:
        if self.owner == "user":
            return ["systemctl", "--user", *words]
        return ["systemctl", *words] if os.geteuid() == 0 else ["sudo", "systemctl", *words]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledService:
    """The files of a service, before they are written.

    Attributes:
        place: Where they go.
        text: Of the unit.
        secrets_text: Of the variables; empty without any.
        commands: What starts it.
    """

    place: ServicePlace
    text: str
    secrets_text: str
    commands: list[list[str]]

    def write(self, *, replace: bool) -> None:
        """Write both files, or none; only a process killed between the last two steps leaves new secrets alone.

        Raises:
            OptionError: If the unit exists and must not be replaced, or a file cannot be written.
        """
        place = self.place
        if place.unit.exists() and not replace:
            raise OptionError(f"{place.unit} exists and is not replaced; give another --name, or --force")
        if place.unit.exists() and not _is_ours(place.unit):
            raise OptionError(f"{place.unit} was not written by install-service; give another --name")
        before = place.secrets.read_bytes() if place.secrets.exists() and os.access(place.secrets, os.R_OK) else None
        try:
            place.unit.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                # Both are on the disk before either gets its name.
                unit = stack.enter_context(StagedFile(place.unit))
                unit.write(self.text.encode())
                unit.finish()
                if self.secrets_text:
                    # The file is private, the folder is not: the machine's trusted keys lie in it, too.
                    place.secrets.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(place.secrets, self.secrets_text.encode(), mode=_PRIVATE)
                try:
                    unit.commit()
                except OSError:
                    self._put_back(before)
                    raise
            if not self.secrets_text:
                place.secrets.unlink(missing_ok=True)  # those of the service that was replaced
        except OSError as exc:
            raise _cannot("write", exc) from exc

    def _put_back(self, before: bytes | None) -> None:
        if not self.secrets_text:
            return
        with contextlib.suppress(OSError):
            if before is None:
                self.place.secrets.unlink(missing_ok=True)
            else:
                write_whole(self.place.secrets, before, mode=_PRIVATE)


def find_account(name: str | None) -> str:
    """Whom a service of the machine runs as: the account that is asked for, or the one behind ``sudo``.

    Raises:
        OptionError: If there is none but root, or no such account.
    """
    chosen = name or os.environ.get("SUDO_USER") or pwd.getpwuid(os.geteuid()).pw_name
    if name is None and chosen == "root":
        raise OptionError("a camera needs no root: name the account to run as with --user, such as --user pi")
    try:
        pwd.getpwnam(chosen)
    except KeyError as exc:
        raise OptionError(f"there is no account {chosen!r} on this machine; make it, or give another") from exc
    return chosen


def groups_for(devices: DeviceAccess) -> tuple[str, ...]:
    """Groups that own the devices; one that this machine does not have would keep the service from starting."""
    wanted = {"none": (), "cameras": ("video",), "all": ("video", "render")}[devices]
    here = {group.gr_name for group in grp.getgrall()}
    return tuple(group for group in wanted if group in here)


def _is_ours(unit: Path) -> bool:
    try:
        return unit.read_text(encoding="utf-8", errors="replace").startswith(f"# {MARK}")
    except OSError:
        return False


def _systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMMAND_S)
    except subprocess.TimeoutExpired as exc:
        raise OptionError(f"`{' '.join(command)}` did not end within {_COMMAND_S:g} s; run it by hand") from exc
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise OptionError(f"`{' '.join(command)}` failed: {said}")


def _cannot(do: str, exc: OSError) -> OptionError:
    if exc.errno in DISK_ERRORS - {errno.EACCES, errno.EPERM}:
        return OptionError(str(exc if isinstance(exc, OutputError) else cannot_write(Path(exc.filename), exc)))
    return OptionError(f"cannot {do} {exc.filename}: {exc.strerror}; run it with sudo, or give --user-unit")
