"""The sources of ``edge-vseg serve``: one, or several with names and weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_vseg.errors import OptionError

_NAME = r"[A-Za-z][A-Za-z0-9_-]*"
ONLY = "camera"
"""What a camera that is the only one is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource:
    """A source of the command line.

    Attributes:
        name: Its name, given or made up.
        address: What :func:`~edge_vseg.video.open_source` takes.
        weight: What an outdated pixel of it counts, compared with those of the others.
    """

    name: str
    address: str
    weight: float = 1.0


def name_sources(first: str | None, others: Sequence[str], weights: Sequence[str]) -> list[NamedSource]:
    """Give every source its name.

    Args:
        first: The address given without an option; never has a name.
        others: Addresses, as ``NAME=ADDRESS`` or without a name.
        weights: ``NAME=WEIGHT``.

    Raises:
        OptionError: If there is no source, a name is given twice, or a weight belongs to nobody or is not positive.
    """
    given: list[tuple[str | None, str]] = [(None, first)] if first is not None else []
    for each in others:
        match = re.fullmatch(rf"({_NAME})=(.+)", each)
        given.append((match[1], match[2]) if match else (None, each))
    if not given:
        raise OptionError("no source: give a camera, stream or video, or several with --source NAME=ADDRESS each")
    names = [name or (ONLY if len(given) == 1 else f"{ONLY}{place}") for place, (name, _) in enumerate(given, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(f"two sources are called {twice[0]!r}; give each --source a name of its own, as NAME=ADDRESS")
    by_name = _read_weights(weights, names)
    return [
        NamedSource(name=name, address=address, weight=by_name.get(name, 1.0))
        for name, (_, address) in zip(names, given, strict=True)
    ]


def _read_weights(weights: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    read: dict[str, float] = {}
    for each in weights:
        name, _, text = each.partition("=")
        try:
            read[name] = float(text)
        except ValueError:
            raise OptionError(f"expected NAME=WEIGHT, such as front=2, got {each!r}") from None
        if name not in names:
            raise OptionError(f"a weight is given for {name!r}, but the sources are {', '.join(names)}")
        if not 0 < read[name] < float("inf"):
            raise OptionError(f"the weight of {name} must be positive and finite, got {text}")
    return read
