"""Shorthand for the surfaces that a street is put together from."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.export.reference.scenes.geometry import Matrix
from edge_vseg.export.reference.scenes.surface import Layer, Surface, Texture, rectangle
from edge_vseg.export.reference.scenes.vehicles import Car, car_surfaces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Appearance:
    """What a surface shows.

    Attributes:
        label: Class id.
        texture: Its picture.
        layer: When it is drawn.
        shade: Factor on the colours.
    """

    label: int
    texture: Texture
    layer: Layer = "object"
    shade: float = 1.0


class Keys:
    """Names of the surfaces of one side of one stretch of the street."""

    def __init__(self, number: int, side: int) -> None:
        self._stem, self._next = (1, number, side), 0

    def __call__(self) -> tuple[int, ...]:
        """The next name."""
        self._next += 1
        return (*self._stem, self._next)


def still(key: tuple[int, ...], look: Appearance, plane: Matrix) -> Surface:
    """A surface that does not move."""
    return Surface(
        key=key, layer=look.layer, label=look.label, texture=look.texture, shade=look.shade, now=plane, before=plane
    )


def standing(
    key: tuple[int, ...], look: Appearance, foot: tuple[float, float, float], wide: float, tall: float
) -> Surface:
    """An upright picture that faces along the street; ``foot`` is the middle of its lower edge."""
    x, low, z = foot
    return still(key, look, rectangle((x - wide / 2, low + tall, z), (wide, 0.0, 0.0), (0.0, -tall, 0.0)))


def wall(key: tuple[int, ...], look: Appearance, side: int, x: float, z: float, wide: float, tall: float) -> Surface:
    """An upright picture along the street from ``z`` on, made to be seen from the street's middle."""
    start, across = (z, wide) if side < 0 else (z + wide, -wide)
    return still(key, look, rectangle((x, tall, start), (0.0, 0.0, across), (0.0, -tall, 0.0)))


def car_with_shadow(
    car: Car, shadow: Texture, key: tuple[int, ...], now: Matrix, before: Matrix, heading: float
) -> list[Surface]:
    """A car and the dark under it."""
    wide, deep = car.width_m * 1.35, car.length_m * 1.2
    dark = rectangle((now[0] - wide / 2, 0.005, now[2] + deep / 2), (wide, 0.0, 0.0), (0.0, 0.0, -deep))
    under = Surface(key=(*key, 99), layer="shadow", label=None, texture=shadow, now=dark, before=dark)
    return [under, *car_surfaces(car, key, now, before, heading)]
