"""A hash of a torch module that changes with whatever tracing it would show: far quicker to find than the graph."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import hashlib
import os
import re
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from importlib.util import resolve_name
from pathlib import Path

import numpy as np
import torch

_OWN_PACKAGE = __name__.partition(".")[0]
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_BOOKKEEPING = frozenset(vars(torch.nn.Module()))
"""Attributes of every module: its tensors and modules, which are hashed by name, and its hooks."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.memory_format)
_MAX_DEPTH = 8


def module_fingerprint(network: torch.nn.Module, homes: Iterable[str] = ()) -> str:
    """Hash of the weights, buffers and plain attributes of a module, and of the source code that makes and runs it.

    The code is that of its classes, of the factory, and of whatever of the user's own they import: neither the standard
    library nor an installed package, of which the version counts. Other modules that happen to be loaded have no part
    in it.

    Args:
        network: The module, before it has run.
        homes: Names of the Python modules that the factory lies in.
    """
    digest = hashlib.sha256(f"{torch.__version__} {network}".encode())
    if isinstance(network, torch.jit.ScriptModule):
        digest.update(str(network.inlined_graph).encode())  # its text names modules, and its class is torch's own
    tensors = {**dict(network.named_buffers()), **network.state_dict()}  # the state lacks buffers that are not saved
    for name, tensor in tensors.items():
        digest.update(f"{name} {_text(tensor)}".encode())
    for path, module in network.named_modules():
        for name in sorted(vars(module).keys() - _BOOKKEEPING):
            digest.update(f"{path}.{name}={_text(vars(module)[name])}".encode())
    roots = {*homes, *(type(each).__module__ for each in network.modules() if not _is_torchs(type(each)))}
    roots.update(_homes_of_functions(network))
    for package in sorted({root.partition(".")[0] for root in roots}):
        digest.update(f"{package} {getattr(sys.modules.get(package), '__version__', '')}".encode())
    for name, file in sorted(_source_files(roots).items()):
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()


def _text(value: object, depth: int = 0) -> str:
    """A plain value, a tensor, or a collection of them in words; empty for others, whose text may be an address."""
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, Enum):
        return f"{value.name} {_text(value.value, depth + 1)}"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return _tensor_text(value)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, functools.partial):
        return _text((value.func, value.args, value.keywords), depth + 1)
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(k, depth + 1)}: {_text(v, depth + 1)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(_text(each, depth + 1) for each in value)})"
    if isinstance(value, set | frozenset):
        return f"({', '.join(sorted(_text(each, depth + 1) for each in value))})"
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return _text(vars(value), depth + 1)
    if dataclasses.is_dataclass(value):
        return _text({field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}, depth + 1)
    return ""


def _tensor_text(value: torch.Tensor) -> str:
    kind = f"{value.dtype} {tuple(value.shape)}"
    try:
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    except (RuntimeError, TypeError):  # sparse, or without values
        return kind
    return f"{kind} {hashlib.sha256(data).hexdigest()}"


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.")


def _homes_of_functions(network: torch.nn.Module) -> set[str]:
    """Modules of the functions and classes that are attributes: nothing need import them by name."""
    values = [value for module in network.modules() for value in vars(module).values()]
    functions = [value.func if isinstance(value, functools.partial) else value for value in values]
    made = [each for each in functions if isinstance(each, types.FunctionType | type)]
    return {each.__module__ for each in made if _is_users(_find_file(each.__module__))}


def _source_files(roots: Iterable[str]) -> dict[str, Path]:
    """Files of Python modules, and of whatever of the user's own those import, anywhere in their text; by name."""
    found: dict[str, Path] = {}
    seen = set(roots)
    pending = list(seen)
    while pending:
        name = pending.pop()
        file = _find_file(name) if _may_be_module(name, found) else None
        if file is None or not (name in roots or _is_users(file)):
            continue
        found[name] = file
        if _is_users(file):
            wanted = dict.fromkeys(_imports(name, file)).keys() - seen
            seen |= wanted
            pending += sorted(wanted, reverse=True)  # packages before what is in them
    return found


def _may_be_module(name: str, found: Mapping[str, Path]) -> bool:
    """Not if it is what a file, which is no package, defines: most names that are imported are."""
    package = found.get(name.rpartition(".")[0])
    return package is None or package.name == "__init__.py"


def _find_file(name: str) -> Path | None:
    """Where a Python module is loaded from; of one that is not loaded yet, where it would be among the user's."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        return Path(loaded) if Path(loaded).is_file() else None
    inside = name.replace(".", os.sep)
    candidates = (Path(entry, end) for entry in sys.path for end in (f"{inside}/__init__.py", f"{inside}.py"))
    return next((each for each in candidates if each.is_file()), None)


def _is_users(file: Path | None) -> bool:
    if file is None or set(_INSTALLED) & set(file.parts):
        return False
    if any(file.is_relative_to(folder) for folder in _STANDARD):
        return False
    return not any(file.relative_to(folder).parts[0] in _installed_in(folder) for folder in file.parents)


@functools.cache
def _installed_in(folder: Path) -> frozenset[str]:
    """Packages that an installer put into a folder, as with ``pip install -t``: it leaves a list of its files."""
    records = [path for path in folder.glob("*.dist-info/RECORD") if path.is_file()]
    lines = (line for path in records for line in path.read_text("utf-8", errors="replace").splitlines())
    return frozenset(re.split("[/,]", line, maxsplit=1)[0] for line in lines)


def _imports(name: str, file: Path) -> Iterator[str]:
    """Names of all modules that a file may import, packages before what is in them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # no text, or one that nothing has imported
        return
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # above the outermost package
                continue
            wanted = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for each in wanted:
            parts = each.split(".")
            if parts[0] != _OWN_PACKAGE:
                yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))
