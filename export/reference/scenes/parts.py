"""Build the surfaces of static objects, and of cars with their shadows."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.export.reference.scenes.geometry import Matrix
from edge_vseg.export.reference.scenes.surface import Layer, Surface, Texture, rectangle
from edge_vseg.export.reference.scenes.vehicles import Car, car_surfaces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Appearance:
    """Class, texture and shading of a surface.

    Attributes:
        label: Class id.
        texture: Texture.
        layer: Drawing layer.
        shade: Brightness factor.
    """

    label: int
    texture: Texture
    layer: Layer = "object"
    shade: float = 1.0


class Keys:
    """Surface keys for one side of a street section."""

    def __init__(self, number: int, side: int) -> None:
        self._stem, self._next = (1, number, side), 0

    def __call__(self) -> tuple[int, ...]:
        """The next key."""
        self._next += 1
        return (*self._stem, self._next)


def still(key: tuple[int, ...], appearance: Appearance, plane: Matrix) -> Surface:
    """A static surface."""
    return Surface(
        key=key,
        layer=appearance.layer,
        label=appearance.label,
        texture=appearance.texture,
        shade=appearance.shade,
        now=plane,
        before=plane,
    )


def standing(
    key: tuple[int, ...], appearance: Appearance, foot: tuple[float, float, float], wide: float, tall: float
) -> Surface:
    """An upright surface facing along the street; ``foot`` is the middle of its lower edge."""
    x, low, z = foot
    return still(key, appearance, rectangle((x - wide / 2, low + tall, z), (wide, 0.0, 0.0), (0.0, -tall, 0.0)))


def wall(
    key: tuple[int, ...], appearance: Appearance, side: int, x: float, z: float, wide: float, tall: float
) -> Surface:
    """An upright surface along the street from ``z`` on, facing the road."""
    start, across = (z, wide) if side < 0 else (z + wide, -wide)
    return still(key, appearance, rectangle((x, tall, start), (0.0, 0.0, across), (0.0, -tall, 0.0)))


def car_with_shadow(
    car: Car,
    shadow: Texture,
    key: tuple[int, ...],
    now: Matrix,
    before: Matrix,
    heading: float,
    *,
    turned: bool = False,
) -> list[Surface]:
    """A car with its shadow; ``turned``, it drives from side to side."""
    wide, deep = car.width_m * 1.35, car.length_m * 1.2
    if turned:
        wide, deep = deep, wide
    dark = rectangle((now[0] - wide / 2, 0.005, now[2] + deep / 2), (wide, 0.0, 0.0), (0.0, 0.0, -deep))
    under = Surface(key=(*key, 99), layer="shadow", label=None, texture=shadow, now=dark, before=dark)
    return [under, *car_surfaces(car, key, now, before, heading, turned=turned)]
