"""How images are normalized: as asked for, as the network says of itself, or not at all, with a warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edge_vseg.errors import ModelFileError, OptionError
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.graph.interface import find_image_input
from edge_vseg.export.source.source_network import SourceNetwork

log = logging.getLogger(__name__)
ATTRIBUTE = "normalization"
_EXPECTED = "expected a mapping of mean, scale (1 or 3 numbers, 0 to 255) and color (rgb or bgr)"
NONE_GIVEN = (
    "no --mean and --scale were given, so it gets bytes from 0 to 255 as they are: nearly every trained network expects"
    " others; give --mean 0 --scale 1 if this one does not"
)
UNIT_SCALE = (
    "mean and scale look like those of pixels from 0 to 1, and here pixels go from 0 to 255: {} would be the same"
)
"""Its labels are useless, and as int8 is compared with a float graph that is as wrong, no figure shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenNormalization:
    """What images are normalized by.

    Attributes:
        value: The normalization.
        told: Where it comes from, if nobody asked for it; else empty.
        warnings: What is likely to be wrong with it.
    """

    value: Normalization
    told: str = ""
    warnings: tuple[str, ...] = ()


def read_normalization(carrier: object, where: str) -> Normalization | None:
    """What a torch module or its factory says of itself in an attribute ``normalization``.

    Args:
        carrier: The module or the factory; a layer of that name does not count.
        where: For the message.

    Raises:
        ModelFileError: If the mapping cannot be understood.
    """
    found = getattr(carrier, ATTRIBUTE, None)
    if found is None or isinstance(found, Normalization):
        return found
    if not isinstance(found, Mapping):
        return None
    try:
        if unknown := set(found) - {"mean", "scale", "color"}:
            raise ValueError(f"unknown {', '.join(sorted(map(str, unknown)))}")
        return Normalization(
            mean=_three(found.get("mean", 0)), scale=_three(found.get("scale", 1)), color=found.get("color", "rgb")
        )
    except (OptionError, TypeError, ValueError) as exc:
        raise ModelFileError(f"{where} has an attribute {ATTRIBUTE} that is not one: {exc}; {_EXPECTED}") from exc


def choose_normalization(given: Normalization | None, network: SourceNetwork) -> ChosenNormalization:
    """What to normalize the images of a network by; a warning is logged, too.

    Args:
        given: What was asked for; ``None`` for what the network says of itself.
        network: The network.
    """
    chosen = _choose(given, network)
    if chosen.told:
        log.info("%s: %s", network.name, chosen.told)
    for warning in chosen.warnings:
        log.warning("%s: %s", network.name, warning)
    return chosen


def as_options(norm: Normalization) -> str:
    """A normalization in the words of the command line."""
    mean, scale = (",".join(f"{value:g}" for value in values) for values in (norm.mean, norm.scale))
    return f"--mean {mean} --scale {scale} --color {norm.color}"


def _choose(given: Normalization | None, network: SourceNetwork) -> ChosenNormalization:
    own = network.normalization
    if given is not None:
        warnings = _unit_scale(given)
        if own is not None and own != given:
            warnings += (f"the network says of itself {as_options(own)}; as asked for, it gets {as_options(given)}",)
        return ChosenNormalization(value=given, warnings=warnings)
    if own is not None:
        told = f"normalized as the network says of itself: {as_options(own)}"
        return ChosenNormalization(value=own, told=told, warnings=_unit_scale(own))
    return ChosenNormalization(value=Normalization(), warnings=(NONE_GIVEN,) if _takes_floats(network) else ())


def _unit_scale(norm: Normalization) -> tuple[str, ...]:
    """A warning for what frameworks that read pixels from 0 to 1 give, such as 0.485 and 0.229."""
    none_at_all = (*norm.mean, *norm.scale) == (0, 0, 0, 1, 1, 1)
    if none_at_all or max(norm.scale) > 1 or max(map(abs, norm.mean)) > 1:
        return ()
    mean, scale = ((255 * a, 255 * b, 255 * c) for a, b, c in (norm.mean, norm.scale))
    return (UNIT_SCALE.format(as_options(Normalization(mean=mean, scale=scale, color=norm.color))),)


def _takes_floats(network: SourceNetwork) -> bool:
    """Whether the network can expect anything but bytes; quick, for a torch module is not traced for it."""
    if network.kind == "torch":
        return True
    kind = onnx.helper.tensor_dtype_to_np_dtype(find_image_input(network.model).dtype)
    return bool(np.issubdtype(kind, np.floating))


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in np.broadcast_to(np.asarray(values, np.float64), (3,)))
    return first, second, third
