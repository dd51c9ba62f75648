"""Reading options that more than one command has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_vseg.errors import OptionError
from edge_vseg.motion import CODEC
from edge_vseg.scheduling.policies import Deadline, Policy, make_policy
from edge_vseg.types import Size


def parse_size(option: str, text: str) -> Size:
    """Read ``HxW``.

    Raises:
        OptionError: If it is not two positive numbers.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise OptionError(f"{option} {text!r}: expected HEIGHTxWIDTH, such as 360x480")
    return int(match[1]), int(match[2])


def check_output(path: Path | None, *, force: bool) -> None:
    """Refuse a file that is not to be written, before anything that takes time.

    Raises:
        OptionError: If it exists and may not be replaced, is a folder, or has none to be in.
    """
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise OptionError(f"{path} exists and is left alone; give another name, or --force to replace it")
    if not path.parent.is_dir():
        raise OptionError(f"{path}: there is no folder {path.parent}; create it first")


def read_policy(name: str | None, settings: Sequence[str], deadline_ms: float | None) -> Policy | None:
    """The policy that ``--policy``, ``--set`` and ``--deadline-ms`` ask for; ``None`` if none of them is given.

    Raises:
        OptionError: If they contradict each other, or the policy does not know a setting.
    """
    name = name or ("deadline" if deadline_ms is not None else None)
    if name is None:
        if settings:
            raise OptionError("--set belongs to a policy; name one with --policy")
        return None
    options = dict(_setting(text) for text in settings)
    if deadline_ms is not None:
        if name != "deadline":
            raise OptionError(f"--deadline-ms is for the policy deadline, not for {name!r}; leave one of them out")
        options["milliseconds"] = deadline_ms
    elif name == "deadline" and "milliseconds" not in options:
        raise OptionError("the policy deadline needs --deadline-ms")
    return make_policy(name, **options)


def deadline_of(policy: Policy | None) -> float | None:
    """The deadline of a policy in milliseconds; ``None`` if it has none."""
    return policy.milliseconds if isinstance(policy, Deadline) else None


def wants_codec_motion(policy: Policy | None) -> bool:
    """Whether frames have to bring the motion of their video's codec."""
    return policy is not None and policy.motion == CODEC


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise OptionError(f"--set {text!r}: expected NAME=VALUE, such as period_frames=4")
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value
