"""The sources of ``edge-vseg serve``: one, or several with names and weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_vseg.cli.options import needs_codec_motion
from edge_vseg.errors import OptionError, VideoError
from edge_vseg.scheduling.policies import Policy
from edge_vseg.video import InputOptions, ReconnectOptions, Source, open_source
from edge_vseg.video.reconnect import MAY_PASS

log = logging.getLogger(__name__)

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


class CameraOpener:
    """Opens a camera or stream: once its address was good, one that is away is waited for.

    A change of the schedule opens it again, perhaps just while it reconnects. It is tried at once first: what it cannot
    give, such as motion of its codec, then shows while the old schedule can still go on. While it is away, nobody knows
    that: a schedule is not changed to motion of the codec then, as a camera that comes back without ends the pipeline.

    Args:
        address: What :func:`~edge_vseg.video.open_source` takes.
        first_opening: Whether the first opening waits, too, or raises.
    """

    def __init__(self, address: str, first_opening: Literal["raise", "wait"]) -> None:
        self._address = address
        self._first_opening = first_opening
        self._was_good = False
        self._uses_codec = False
        self._has_codec = False
        self._with_codec: Source | None = None

    def __call__(self, policy: Policy | None) -> Source:
        """Open it for a policy.

        Raises:
            VideoError: If it cannot be opened and is not waited for.
            OptionError: If it does not give what the policy needs, or is away and was never seen to give it.
        """
        codec = needs_codec_motion(policy)
        if self._with_codec is not None and self._with_codec.counts.captured:
            self._has_codec = True  # it was only waited for when it was opened, and came
        opening = "raise" if self._was_good else self._first_opening
        try:
            source = self._open(policy, opening)
        except MAY_PASS as exc:
            if not self._was_good:
                raise
            why = _without_address(exc)
            if codec and not (self._uses_codec or self._has_codec):
                raise OptionError(
                    f"{why}; whether it gives motion vectors of its codec is known once it is back: change to"
                    " motion=codec then, or use optical flow (motion=dis)"
                ) from None
            log.warning("%s; waiting for it", why)
            source = self._open(policy, "wait")
        else:
            self._has_codec = self._has_codec or (codec and opening == "raise")
        self._was_good, self._uses_codec = True, codec
        self._with_codec = source if codec else None
        return source

    def _open(self, policy: Policy | None, opening: Literal["raise", "wait"]) -> Source:
        options = InputOptions(reconnect=ReconnectOptions(first_opening=opening))
        return open_source(self._address, live=True, codec_motion=needs_codec_motion(policy), input_options=options)


def _without_address(exc: VideoError | OSError) -> str:
    # Not str(exc): an OSError repeats the address, which may hold a password.
    return str(exc) if isinstance(exc, VideoError) else exc.strerror or type(exc).__name__


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
