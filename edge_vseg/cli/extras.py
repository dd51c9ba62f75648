"""Commands that need an extra say so before they begin."""

from __future__ import annotations

import importlib.util

from edge_vseg.errors import BackendMissingError

_EXPORT = ("torch", "onnx", "onnxruntime", "onnxslim", "jinja2", "matplotlib", "safetensors")
_PROFILE = ("ddsketch", "psutil", "jinja2", "matplotlib")
_REPORT = ("jinja2", "matplotlib")


def require_export(what: str) -> None:
    """Refuse what needs the extra ``export`` where it is not installed.

    Raises:
        BackendMissingError: Naming the packages that are missing.
    """
    _require(what, _EXPORT, "'edge-vseg[export]' on a workstation")


def require_profile(what: str) -> None:
    """Refuse what needs the extra ``profile`` where it is not installed.

    Raises:
        BackendMissingError: Naming the packages that are missing.
    """
    _require(what, _PROFILE, "'edge-vseg[profile]'")


def require_report(what: str) -> None:
    """Refuse what needs the extra ``report`` where it is not installed.

    Raises:
        BackendMissingError: Naming the packages that are missing.
    """
    _require(what, _REPORT, "'edge-vseg[report]'")


def _require(what: str, packages: tuple[str, ...], install: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissingError(f"{what} needs {', '.join(missing)}: pip install {install}")
