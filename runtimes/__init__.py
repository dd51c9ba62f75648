"""Inference runtimes behind one port.

Importing this package loads no backend; a backend is loaded when it lists its providers or opens a graph. A third-party
package adds a runtime by an entry point in the group ``edge_vseg.runtimes``: the entry point's name is the runtime's
name, and its object a callable without arguments that returns a :class:`Runtime`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import cast

from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes.port import GraphSpec, Runtime, Session, SessionOptions
from edge_vseg.runtimes.third_party import ThirdPartyRuntime

__all__ = ["GraphSpec", "Runtime", "Session", "SessionOptions", "get_runtime", "runtime_names"]

ENTRY_POINT_GROUP = "edge_vseg.runtimes"

BUILTIN: dict[str, str] = {
    "onnxruntime": "edge_vseg.runtimes.backends.onnx_runtime:OnnxRuntime",
    "openvino": "edge_vseg.runtimes.backends.openvino_runtime:OpenVinoRuntime",
    "tflite": "edge_vseg.runtimes.backends.tflite:TfliteRuntime",
    "reference": "edge_vseg.runtimes.backends.reference:ReferenceRuntime",
}


def runtime_names() -> tuple[str, ...]:
    """Names of the built-in runtimes, then those of third parties in alphabetical order."""
    return (*BUILTIN, *sorted(_third_party_entries()))


def get_runtime(name: str) -> Runtime:
    """Get a runtime by name; its package need not be installed.

    Raises:
        OptionError: If there is no such runtime; the message lists the known ones.
        BackendError: If a third party's entry point cannot be loaded, or does not return a runtime.
    """
    if name in BUILTIN:
        module, _, attribute = BUILTIN[name].partition(":")
        return cast(Runtime, getattr(importlib.import_module(module), attribute)())
    entry = _third_party_entries().get(name)
    if entry is None:
        raise OptionError(f"there is no runtime {name!r}; known runtimes: {', '.join(runtime_names())}")
    try:
        runtime = entry.load()()
    except Exception as exc:  # third-party code may raise anything
        raise BackendError(
            f"runtime {name!r}: its entry point {entry.value!r} cannot be loaded: {exc}; update or remove its package"
        ) from exc
    missing = [a for a in ("name", "extra", "version", "providers", "open") if not hasattr(runtime, a)]
    if missing:
        raise BackendError(
            f"runtime {name!r}: its entry point {entry.value!r} returns a {type(runtime).__name__} without"
            f" {', '.join(missing)}; it must implement edge_vseg.runtimes.Runtime"
        )
    return ThirdPartyRuntime(name, runtime)


def _third_party_entries() -> dict[str, importlib.metadata.EntryPoint]:
    """Entry points by name; built-in runtimes cannot be replaced."""
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {entry.name: entry for entry in entries if entry.name not in BUILTIN}
