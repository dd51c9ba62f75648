"""The classes that a network says of itself that it has."""

from __future__ import annotations

from edge_vseg.bundle.labels import check_distinct, parse_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import ModelFileError, OptionError

ATTRIBUTE = "labels"


def read_own_labels(carrier: object, where: str) -> tuple[Label, ...] | None:
    """What a torch module or its factory says of itself in an attribute ``labels``.

    Args:
        carrier: The module or the factory: a list as in a file for ``--classes``, or :class:`Label`s.
        where: For the message.

    Raises:
        ModelFileError: If the list cannot be understood.
    """
    found = getattr(carrier, ATTRIBUTE, None)
    if not isinstance(found, list | tuple):
        return None
    wrong = f"{where} has an attribute {ATTRIBUTE} that is not one"
    try:
        if found and all(isinstance(each, Label) for each in found):
            check_distinct(found, wrong)
            return tuple(found)
        return parse_labels(list(found), wrong)
    except OptionError as exc:
        raise ModelFileError(str(exc)) from exc
