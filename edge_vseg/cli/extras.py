"""Check that an extra is installed before a command starts."""

from __future__ import annotations

import importlib.util

from edge_vseg.errors import BackendMissingError

_EXPORT = ("torch", "onnx", "onnxruntime", "onnxslim", "jinja2", "matplotlib", "safetensors")
_PROFILE = ("psutil", "jinja2", "matplotlib")
_REPORT = ("jinja2", "matplotlib")
_TUNE = ("optuna", "jinja2", "matplotlib")
_SERVE = ("aiohttp", "prometheus_client")


def require_export(what: str) -> None:
    """Check that the packages of the extra ``export`` are installed.

    Raises:
        BackendMissingError: If one is not; the message names it, and the pip line.
    """
    _require(what, _EXPORT, "'edge-vseg[export]' on a workstation")


def require_profile(what: str) -> None:
    """Check that the packages of the extra ``profile`` are installed.

    Raises:
        BackendMissingError: If one is not; the message names it, and the pip line.
    """
    _require(what, _PROFILE, "'edge-vseg[profile]'")


def require_report(what: str) -> None:
    """Check that the packages of the extra ``report`` are installed.

    Raises:
        BackendMissingError: If one is not; the message names it, and the pip line.
    """
    _require(what, _REPORT, "'edge-vseg[report]'")


def require_serve(what: str) -> None:
    """Check that the packages of the extra ``serve`` are installed.

    Raises:
        BackendMissingError: If one is not; the message names it, and the pip line.
    """
    _require(what, _SERVE, "'edge-vseg[serve]'")


def require_tune(what: str) -> None:
    """Check that the packages of the extra ``tune`` are installed.

    Raises:
        BackendMissingError: If one is not; the message names it, and the pip line.
    """
    _require(what, _TUNE, "'edge-vseg[tune]'")


def _require(what: str, packages: tuple[str, ...], install: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissingError(f"{what} needs {', '.join(missing)}: pip install {install}")
