"""Watch the service after a switch."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from edge_vseg.errors import OptionError, RejectedBundleError

LOOK_S = 2.0
ANSWER_S = 5.0
RESTART_S = 600.0
"""A unit of ours counts as started when the first labels are there, which may need a camera."""
MAX_ANSWER = 1 << 20
TOKEN_VARIABLE = "EDGE_VSEG_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How the new bundle is watched.

    Attributes:
        seconds: For how long; 0 for not at all.
        health_url: Address of the service's health, such as ``http://127.0.0.1:8080/health``; empty to try the bundle
            itself again and again.
        restart_unit: systemd unit that is restarted after a switch; empty for none.
        clock: Gives seconds.
        pause: Waits for so many seconds.
    """

    seconds: float = 0.0
    health_url: str = ""
    restart_unit: str = ""
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Raise OptionError if the time is negative, or the address is not HTTP, or is never asked."""
        if self.seconds < 0:
            raise OptionError(f"the time to watch must not be negative, got {self.seconds:g} s")
        if self.health_url and urlsplit(self.health_url).scheme not in ("http", "https"):
            raise OptionError(f"--health {self.health_url!r}: expected an address such as http://127.0.0.1:8080/health")
        if self.health_url and self.seconds == 0:
            raise OptionError(f"--health {self.health_url} is not asked without a time; give --watch too, such as 60s")


def watch_bundle(options: WatchOptions, try_again: Callable[[], None]) -> None:
    """Look until the time has passed; with a service's health, the last look counts.

    A service needs a while to start, and a camera may hiccup: what counts is whether it is well in the end, and that it
    has not given up.

    Args:
        options: For how long, and at what.
        try_again: Tries the bundle itself; raises RejectedBundleError.

    Raises:
        RejectedBundleError: If it is not well.
    """
    end_s = options.clock() + options.seconds
    while True:
        problem = ""
        if options.health_url:
            problem = look_at_health(options.health_url)
        else:
            try_again()
        if options.clock() >= end_s:
            break
        options.pause(min(LOOK_S, max(0.0, end_s - options.clock())))
    if problem:
        raise RejectedBundleError(f"{options.health_url} is not well {options.seconds:g} s after the switch: {problem}")


def look_at_health(url: str) -> str:
    """Why a service is not well; empty if it is. The token of :data:`TOKEN_VARIABLE` is shown to it."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    request = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        # Without proxies: the service is on this machine.
        with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_S) as answer:
            answer.read(MAX_ANSWER)
    except HTTPError as exc:
        return _refusal(exc)
    except OSError as exc:
        return str(exc.strerror or exc)
    except ValueError as exc:
        return str(exc)
    return ""


def restart_unit(unit: str) -> None:
    """Restart a unit of the system's manager, or of the account's if this is not root.

    Raises:
        RejectedBundleError: If it does not come up.
    """
    command = ["systemctl", *([] if os.geteuid() == 0 else ["--user"]), "restart", "--", unit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RESTART_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise RejectedBundleError(f"{' '.join(command)} failed: {exc}") from exc
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:500] or f"exit code {done.returncode}"
        raise RejectedBundleError(f"{' '.join(command)} failed: {said}")


def _refusal(exc: HTTPError) -> str:
    try:
        tree = json.loads(exc.read(MAX_ANSWER))
        told = tree.get("reason") or tree.get("error") or tree.get("state") or ""
    except (OSError, ValueError, AttributeError):
        told = ""
    return f"it answers {exc.code}{f', {told}' if told else ''}"
