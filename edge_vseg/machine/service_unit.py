"""The systemd unit of a service that reads a camera: how it starts, when it is restarted, and what it may touch.

Settings are those of systemd.service(5), systemd.exec(5) and systemd.resource-control(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from edge_vseg.errors import OptionError
from edge_vseg.machine.unit_file import Setting, command_line, escape_specifiers, quote_word, unit_text

MARK = "Written by edge-vseg install-service"
"""How the first line of a unit begins that may be replaced and removed."""
START_MARGIN_S = 60.0
"""What opening the bundle may take, beside waiting for the camera."""
STOP_S = 20.0
RESTART_S = 5.0

VIDEO_MODULE = "modprobe@videodev.service"
"""The unit of systemd's own that loads the kernel's module of V4L2."""

DeviceAccess: TypeAlias = Literal["cameras", "none", "all"]
"""V4L2 cameras only, no device, or whatever the account may open: what a CSI camera or an accelerator needs."""
NetworkAccess: TypeAlias = Literal["loopback", "all"]
Owner: TypeAlias = Literal["system", "user"]
"""The system's service manager, or that of a person."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_CPUS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_MEMORY = re.compile(r"\d+[KMGT]?|\d{1,2}%|100%|infinity")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOMES = ("/home", "/root", "/run/user")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """A service.

    Attributes:
        name: Of the unit, without ``.service``.
        command: The program and its words.
        reads: Absolute paths that it reads: the bundle, a recording, the Python environment.
        description: One line for people.
        owner: Who runs it.
        account: Whom the system's manager runs it as.
        groups: Further groups of the process, such as ``video``.
        devices: What it may open.
        network: Whom it may talk to.
        environment: Variables of the service that anybody may read.
        secrets: Absolute path of the environment file that nobody else can read; ``None`` without secrets.
        watchdog_s: Seconds without fresh labels until it is restarted.
        patience_s: Seconds that a camera may be away.
        nice: -20 (first) to 19 (last).
        cpus: Such as ``2-3``; empty for all.
        memory_max: Such as ``1G`` or ``75%``: more than that, and it is restarted.
    """

    name: str
    command: Sequence[str]
    reads: Sequence[Path]
    description: str
    owner: Owner = "system"
    account: str = ""
    groups: Sequence[str] = ()
    devices: DeviceAccess = "cameras"
    network: NetworkAccess = "all"
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Path | None = None
    watchdog_s: float = 60.0
    patience_s: float = 300.0
    nice: int = 0
    cpus: str = ""
    memory_max: str = "75%"

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range, or systemd would not understand it."""
        check_name(self.name)
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise OptionError(f"a variable's name has letters, digits and '_', got {name!r}")
        if (self.owner == "system") != bool(self.account):
            raise OptionError("a service of the system needs an account to run as, and one of a person has none")
        for option, seconds in (("watchdog", self.watchdog_s), ("patience", self.patience_s)):
            if not 1 <= seconds < 1e6:
                raise OptionError(f"{option} must be from 1 to 999999 seconds, got {seconds:g}")
        if not -20 <= self.nice <= 19:
            raise OptionError(f"nice must be from -20 to 19, got {self.nice}")
        if self.nice < 0 and self.owner == "user":
            raise OptionError(f"only a service of the system may have nice below 0, got {self.nice}; leave it out")
        if self.cpus and not _CPUS.fullmatch(self.cpus):
            raise OptionError(f"cpus must be numbers and ranges such as 2-3 or 0,2, got {self.cpus!r}")
        if not _MEMORY.fullmatch(self.memory_max):
            raise OptionError(f"memory-max must be such as 1G, 75% or infinity, got {self.memory_max!r}")


def check_name(name: str) -> str:
    """The name of a unit.

    Raises:
        OptionError: If it is not plain.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(f"a service's name has letters, digits, '_', '-' and '.', got {name!r}")
    return name


def service_unit(plan: ServicePlan) -> str:
    """The text of the unit file."""
    unit = [
        ("Description", escape_specifiers(plan.description)),
        ("After", "network.target"),
        *_modules(plan),
        # A robot is left alone: no number of restarts is enough to give up.
        ("StartLimitIntervalSec", "0"),
        *(("RequiresMountsFor", quote_word(str(path))) for path in plan.reads),
    ]
    target = "multi-user.target" if plan.owner == "system" else "default.target"
    sections = {
        "Unit": unit,
        "Service": [*_life(plan), *_resources(plan), *_walls(plan)],
        "Install": [("WantedBy", target)],
    }
    edit = f"systemctl {'--user ' if plan.owner == 'user' else ''}edit {plan.name}"
    return unit_text(f"{MARK}; `{edit}` changes it, or install it again with --force.", sections)


def _modules(plan: ServicePlan) -> list[Setting]:
    """What has to be loaded before it starts.

    systemd looks up the number of ``char-video4linux`` when the unit starts. Where the first camera is plugged in
    later, the kernel has none until then, and every camera would be refused.
    """
    if plan.devices != "cameras" or plan.owner == "user":
        return []
    return [("Wants", VIDEO_MODULE), ("After", VIDEO_MODULE)]


def _life(plan: ServicePlan) -> list[Setting]:
    """How it starts, tells that it is alive, and is restarted."""
    account = [] if plan.owner == "user" else [("User", quote_word(plan.account))]
    if plan.groups:
        account.append(("SupplementaryGroups", " ".join(plan.groups)))
    secrets = [] if plan.secrets is None else [("EnvironmentFile", escape_specifiers(str(plan.secrets)))]
    return [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        *account,
        ("WorkingDirectory", "/"),
        ("CacheDirectory", plan.name),
        # Where the choice of a runtime is kept; and where each thread was when the watchdog ended the process.
        ("Environment", f"XDG_CACHE_HOME=%C/{plan.name}"),
        ("Environment", "PYTHONFAULTHANDLER=1"),
        *(("Environment", quote_word(f"{name}={value}")) for name, value in plan.environment.items()),
        *secrets,
        ("ExecStart", command_line(plan.command)),
        ("TimeoutStartSec", f"{plan.patience_s + START_MARGIN_S:g}"),
        ("TimeoutStopSec", f"{STOP_S:g}"),
        ("WatchdogSec", f"{plan.watchdog_s:g}"),
        ("Restart", "on-failure"),
        ("RestartSec", f"{RESTART_S:g}"),
        # Wrong usage stays wrong.
        ("RestartPreventExitStatus", "2"),
        ("SyslogIdentifier", plan.name),
    ]


def _resources(plan: ServicePlan) -> list[Setting]:
    return [
        ("Nice", str(plan.nice)),
        *([("CPUAffinity", plan.cpus.replace(",", " "))] if plan.cpus else []),
        ("MemoryMax", plan.memory_max),
        # An image of the memory would fill a card.
        ("LimitCORE", "0"),
    ]


def _walls(plan: ServicePlan) -> list[Setting]:
    """What it may not touch. Writable and executable memory stays allowed: runtimes compile their kernels."""
    for_all = [
        ("NoNewPrivileges", "yes"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
        ("RestrictNamespaces", "yes"),
        ("RestrictRealtime", "yes"),
        ("RestrictSUIDSGID", "yes"),
        ("LockPersonality", "yes"),
        ("SystemCallArchitectures", "native"),
        ("UMask", "0077"),
    ]
    if plan.owner == "user":  # a person's manager has no privileges to build the other walls with
        return for_all
    return [
        *for_all,
        ("CapabilityBoundingSet", ""),
        ("SystemCallFilter", "@system-service"),
        ("SystemCallErrorNumber", "EPERM"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "read-only" if _any_below(plan.reads, _HOMES) else "yes"),
        *_temporary(plan),
        ("ProtectKernelTunables", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectKernelLogs", "yes"),
        ("ProtectControlGroups", "yes"),
        ("ProtectHostname", "yes"),
        ("ProtectProc", "invisible"),
        ("RemoveIPC", "yes"),
        ("KeyringMode", "private"),
        *_devices(plan.devices),
        *_network(plan.network),
    ]


def _temporary(plan: ServicePlan) -> list[Setting]:
    # The daemon of a Jetson's cameras listens in /tmp.
    if plan.devices == "all" or _any_below(plan.reads, ("/tmp", "/var/tmp")):
        return [("PrivateTmp", "no"), ("ReadWritePaths", "/tmp")]
    return [("PrivateTmp", "yes")]


def _devices(access: DeviceAccess) -> list[Setting]:
    match access:
        case "all":
            return []
        case "none":
            return [("PrivateDevices", "yes"), ("ProtectClock", "yes")]
        case "cameras":
            return [("DevicePolicy", "closed"), ("DeviceAllow", "char-video4linux rw"), ("ProtectClock", "yes")]


def _network(access: NetworkAccess) -> list[Setting]:
    if access == "all":
        return []
    return [("IPAddressDeny", "any"), ("IPAddressAllow", "localhost")]


def _any_below(paths: Sequence[Path], folders: Sequence[str]) -> bool:
    return any(path.is_relative_to(folder) for path in paths for folder in folders)
