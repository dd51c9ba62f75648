"""Ways to damage bytes and JSON, each drawn from a random generator."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

NASTY_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 255, 256, 1_000_000_000, 2**31, 2**63 - 1, 2**63, 10**400, 0.5, -0.0, 1e9, 1e308, 5e-324, float("nan"),
    float("inf"), "", "x", "../up", "/etc/passwd", "a\0b", "[/]", "[/x]", "\x1b[31mred", "\ud800", "é" * 300,
    "NaN", None, True, False, [], {}, [[]], [None], {"": 0},
)  # fmt: skip
NASTY_BYTES = (b"\0", b"\xff", b"\xed\xa0\x80", b"NaN", b"1e999", b"[" * 3000, b'{"a":' * 3000, b"\x1b[2J", b"9" * 5000)


def pick(rng: np.random.Generator, options: Any) -> Any:
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, cut out, repeat, overwrite or insert."""
    if not data:
        return pick(rng, NASTY_BYTES)
    at, end = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    match pick(rng, ("flip", "flip", "flip", "cut", "head", "hole", "repeat", "zero", "noise", "insert", "append")):
        case "flip":
            flipped = bytearray(data)
            for _ in range(pick(rng, (1, 1, 2, 8))):
                flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            return bytes(flipped)
        case "cut":
            return data[:at]
        case "head":
            return data[at:]
        case "hole":
            return data[:at] + data[end:]
        case "repeat":
            return data[:end] + data[at:end] + data[end:]
        case "zero":
            return data[:at] + bytes(end - at) + data[end:]
        case "noise":
            return data[:at] + rng.bytes(end - at) + data[end:]
        case "insert":
            return data[:at] + pick(rng, NASTY_BYTES) + data[at:]
        case _:
            return data + rng.bytes(int(rng.integers(1, 64)))


def damaged_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Change the tree and write it again; what is not JSON is damaged as bytes."""
    try:
        tree = json.loads(data)
        places = list(_places(tree))
        if not places:
            return damaged_bytes(data, rng)
        for _ in range(pick(rng, (1, 1, 1, 2, 4))):
            _change(*pick(rng, places), tree, rng)
        text = json.dumps(tree)
    except (ValueError, RecursionError):
        return damaged_bytes(data, rng)
    if rng.random() < 0.1:
        text = _with_duplicate_key(text, rng)
    return text.encode()


def _places(tree: Any) -> Any:
    """All containers with each of their keys or positions."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            yield value, key
            waiting.append(value[key])


def _change(parent: Any, key: Any, tree: Any, rng: np.random.Generator) -> None:
    if (isinstance(parent, list) and key >= len(parent)) or (isinstance(parent, dict) and key not in parent):
        return  # an earlier change took it away
    match pick(rng, ("value", "value", "value", "drop", "rename", "swap", "repeat", "deep", "scale")):
        case "value":
            parent[key] = copy.deepcopy(pick(rng, NASTY_VALUES))
        case "drop":
            del parent[key]
        case "rename" if isinstance(parent, dict):
            parent[pick(rng, ("", "x", f"{key} ", str(key).upper()))] = parent.pop(key)
        case "swap":
            other, at = pick(rng, list(_places(tree)))
            value = copy.deepcopy(parent[key])
            parent[key] = copy.deepcopy(other[at])
            if other is not parent[key]:
                other[at] = value
        case "repeat" if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        case "deep":
            for _ in range(pick(rng, (3, 70, 500))):
                parent[key] = [parent[key]]
        case _ if isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            parent[key] *= pick(rng, (-1, 0, 2, 1000, 10**9))


def _with_duplicate_key(text: str, rng: np.random.Generator) -> str:
    starts = [at for at, mark in enumerate(text) if mark == "{"]
    at = pick(rng, starts) + 1 if starts else 0
    return f'{text[:at]}"name": 1, "name": 2, {text[at:]}'
