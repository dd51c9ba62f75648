"""Ray, quietly: connect to a cluster or start one here, and end as if it had not been."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_vseg.cluster.jobs import MAX_RUNS
from edge_vseg.cluster.workers import LOCAL
from edge_vseg.errors import BackendMissingError, ClusterError

AUTO = "auto"
_ANSWER_S = 5.0
_LONGEST_BASE = 24
"""Characters of a temporary folder; Ray's sockets have names of 61 more, and the system allows 107."""
_OBJECT_STORE_BYTES = 256 << 20
"""Of a Ray on this machine alone, to which no inputs travel."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a change to come
    "RAY_NUM_REDIS_GET_RETRIES": "5",  # seconds for which it tries to be let in
    "RAY_task_oom_retries": str(MAX_RUNS - 1),  # else a job that is too large for every node never ends
}
_TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4


@contextlib.contextmanager
def ray_session(address: str, processes: int) -> Iterator[ModuleType]:
    """Give the module ``ray``, connected.

    Args:
        address: ``local``, ``auto`` or ``host:port``.
        processes: With ``local``: cores that it gives out; 1 for all of this machine.

    Raises:
        BackendMissingError: If ``ray`` is not installed.
        ClusterError: If there is no cluster at the address, or this process cannot be part of it.
    """
    if importlib.util.find_spec("ray") is None:
        raise BackendMissingError("a cluster needs ray: pip install 'edge-vseg[cluster]'")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        raise ClusterError("this process is connected to Ray already; call ray.shutdown() first")
    with contextlib.ExitStack() as undo:
        _check_answers(address)
        undo.callback(_read_token_again)
        undo.enter_context(_environment(_quiet_environment(address), _TOKEN_VARIABLES))
        import ray

        _read_token_again()
        options: dict[str, Any] = {}
        if address == LOCAL:
            folder = undo.enter_context(_short_temporary_folder())
            options = {
                "num_cpus": processes if processes > 1 else len(os.sched_getaffinity(0)),
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_temp_dir": str(folder),
            }
        undo.callback(_shut_down, ray)
        try:
            # Workers of a Ray that starts here find modules where this process does.
            path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} if address == LOCAL else {}
            with _same_signal_handlers(), _environment(path):
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as exc:  # ConnectionError, RuntimeError, ValueError and kinds of its own
            raise _cannot_connect(address, exc) from exc
        yield ray


def _check_answers(address: str) -> None:
    """Check that something at an address speaks as Ray does: Ray itself would try for 40 seconds.

    Raises:
        ClusterError: If nothing does.
    """
    if address in (LOCAL, AUTO):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ClusterError(f"{address!r} is no address of a cluster: expected HOST:PORT, auto or local")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return
            connection.sendall(_HTTP2_PREFACE)
            frame = connection.recv(9)
    except OSError as exc:
        raise _no_cluster(address, str(exc.strerror or exc)) from exc
    if len(frame) < 4 or frame[3] != _SETTINGS_FRAME:
        raise _no_cluster(address, "what answers there is not Ray")


def _no_cluster(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"no Ray cluster answers at {address} ({why}); start one with `ray start --head` and give the address that it"
        " prints, or local for the cores of this machine"
    )


def _cannot_connect(address: str, exc: Exception) -> ClusterError:
    text = " ".join(str(exc).split())
    if "ersion mismatch" in text:
        return ClusterError(f"the cluster at {address} has another Ray or Python than this process: {text}")
    if type(exc).__name__ == "AuthenticationError":
        return ClusterError(f"the cluster at {address} asks for a token that this user has not: {text}")
    if address == AUTO:
        return _no_cluster(address, text)
    return ClusterError(
        f"this process cannot join the Ray cluster at {address}: {text}; make this machine a node of it with"
        f" `ray start --address={address}`, and give both the same token (`ray get-auth-token`)"
    )


def _quiet_environment(address: str) -> dict[str, str]:
    variables = {name: value for name, value in _QUIET.items() if name not in os.environ}
    own_token = any(name in os.environ for name in _TOKEN_VARIABLES) or Path.home().joinpath(".ray/auth_token").exists()
    if address == LOCAL and not own_token:
        # Ray would write a token into the home folder, and mention it.
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return variables


@contextlib.contextmanager
def _environment(variables: Mapping[str, str], kept: Sequence[str] = ()) -> Iterator[None]:
    """Set variables, and put these and those to be kept back in the end."""
    before = {name: os.environ.get(name) for name in (*variables, *kept)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _read_token_again() -> None:
    """Have Ray read how it is let in again: it keeps what the first cluster of a process wanted."""
    with contextlib.suppress(ImportError, AttributeError):  # before Ray 2.51 there were no tokens
        inner = importlib.import_module("ray._raylet")
        inner.Config.initialize("")
        inner.AuthenticationTokenLoader.instance().reset_cache()


def _shut_down(ray: ModuleType) -> None:
    with _same_signal_handlers():
        ray.shutdown()


@contextlib.contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Undo what Ray does to SIGTERM: the program has its own way to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[Path]:
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="ev-ray-", dir=base if len(base) <= _LONGEST_BASE else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
