"""What a network says of itself, told apart from attributes that mean something else to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from edge_vseg.errors import ModelFileError

Said = TypeVar("Said")


def own_words(
    read: Callable[[object, str], Said | None], network: object, factory: object, source: str, given: object
) -> tuple[Said | None, str]:
    """What a module says of itself in an attribute, or else its factory.

    A module may have an attribute of that name for itself, so that one that cannot be understood is passed over. On a
    function it can only be meant for the exporter.

    Args:
        read: Reads the attribute of an object, with a text for the message; ModelFileError if it cannot be understood.
        network: The module.
        factory: What made it: a function or a class.
        source: The factory's name.
        given: What was asked for instead; ``None`` for nothing.

    Returns:
        What is said, ``None`` for nothing, and a note if an attribute is ignored; else an empty one.

    Raises:
        ModelFileError: If that of the factory cannot be understood, and nothing was asked for.
    """
    carriers = [network] if isinstance(factory, type) else [network, factory]  # a class has that of its modules
    note = ""
    for carrier in carriers:
        try:
            said = read(carrier, "its module" if carrier is network else source)
        except ModelFileError as exc:
            if carrier is not network and given is None:
                raise
            note = f"{exc}; it is ignored"
            continue
        if said is not None:
            return said, note
    return None, note
