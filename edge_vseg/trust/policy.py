"""What a machine asks of the bundles that it opens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from edge_vseg.errors import OptionError

TRUSTED_KEYS_VARIABLE = "EDGE_VSEG_TRUSTED_KEYS"
"""Folder of the trusted keys, for every bundle that a process opens."""
MACHINE_KEYS = Path("/etc/edge-vseg/trusted-keys")
"""If this folder exists, every bundle on this machine needs a signature."""

Answer: TypeAlias = Literal["refuse", "allow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Which bundles may be opened.

    Attributes:
        keys: Folder with the public keys that are trusted, ``*.pem``, and perhaps a list ``revoked``; or one such key.
        unsigned: What happens to a bundle without a signature. ``allow`` is for the time in which a fleet changes over:
            who can change a bundle can take its signature away.
        expired: What happens to a bundle whose signature has expired. ``allow`` reports it: a robot that stands still
            because nobody signed in time helps nobody, and ``edge-vseg update`` refuses such a bundle in any case.

    Example:
        >>> from edge_vseg import OpenOptions, Segmenter
        >>> from edge_vseg.errors import SignatureError
        >>> from edge_vseg.trust import TrustPolicy
        >>> try:
        ...     Segmenter.open("street.evseg", options=OpenOptions(trust=TrustPolicy(keys="trusted-keys")))
        ... except SignatureError as error:
        ...     print(type(error).__name__)
        SignatureError
    """

    keys: Path
    unsigned: Answer = "refuse"
    expired: Answer = "allow"

    def __post_init__(self) -> None:
        """Raise OptionError if an answer is unknown."""
        object.__setattr__(self, "keys", Path(self.keys))
        for name, answer in (("unsigned", self.unsigned), ("expired", self.expired)):
            if answer not in get_args(Answer):
                raise OptionError(f"{name} must be 'refuse' or 'allow', got {answer!r}")


def machine_policy(environment: Mapping[str, str] = os.environ) -> TrustPolicy | None:
    """The policy of this machine: from :data:`TRUSTED_KEYS_VARIABLE`, or else :data:`MACHINE_KEYS`; ``None`` for none.

    A folder that exists but cannot be looked into is a policy too, which then refuses everything.
    """
    named = environment.get(TRUSTED_KEYS_VARIABLE)
    if named:
        return TrustPolicy(keys=Path(named))
    try:
        os.lstat(MACHINE_KEYS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # whether it is there is not for this account to see
        pass
    return TrustPolicy(keys=MACHINE_KEYS)
