"""Versions of the tools that make a bundle."""

from __future__ import annotations

import functools
import importlib.metadata

_TOOLS = (
    "edge-vseg", "torch", "onnx", "onnxruntime", "onnxslim", "openvino", "litert-torch", "ai-edge-quantizer",
)  # fmt: skip


@functools.cache
def tool_versions() -> dict[str, str]:
    """Version of each installed tool by its package name."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
