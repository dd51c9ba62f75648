"""Commands that need an extra say so before they begin."""

from __future__ import annotations

import importlib.util

from edge_vseg.errors import BackendMissingError

_EXPORT = ("torch", "onnx", "onnxruntime", "onnxslim", "jinja2", "safetensors")


def require_export(what: str) -> None:
    """Refuse what needs the extra ``export`` where it is not installed.

    Raises:
        BackendMissingError: Naming the packages that are missing.
    """
    missing = [name for name in _EXPORT if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissingError(
            f"{what} needs {', '.join(missing)}: pip install 'edge-vseg[export]' on a workstation"
        )
