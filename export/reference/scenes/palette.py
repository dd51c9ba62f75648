"""Dimensions and textures of a street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edge_vseg.export.reference.scenes import facades, furniture, ground, people, vegetation, vehicles
from edge_vseg.export.reference.scenes.noise import generator
from edge_vseg.export.reference.scenes.surface import make_texture

TILE_M = 24.0
"""Length of a ground texture along the street."""

CARS, WALKERS, RIDERS = 9, 7, 4
"""Number of different cars and people in a street."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetLayout:
    """Dimensions and densities of a street.

    Attributes:
        road_m: Width of the road.
        pavement_m: Width of each pavement.
        built: Share of the frontage with houses, left and right.
        height_m: Typical height of a house.
        green: Mean number of trees per section and side.
        parked: Share of the kerb with parked cars, left and right.
    """

    road_m: float
    pavement_m: float
    built: tuple[float, float]
    height_m: float
    green: float
    parked: tuple[float, float]


def make_street_layout(seed: int) -> StreetLayout:
    """The layout for a seed."""
    rng = generator(seed, 0)
    return StreetLayout(
        road_m=float(rng.uniform(7.8, 10.5)),
        pavement_m=float(rng.uniform(1.8, 3.6)),
        built=(float(rng.beta(1.6, 0.8)), float(rng.beta(1.6, 0.8))),
        height_m=float(rng.uniform(6.5, 11.5)),
        green=float(rng.uniform(0.2, 1.6)),
        parked=(float(rng.beta(0.8, 1.1)), float(rng.beta(0.8, 1.1))),
    )


class Palette:
    """Textures that a street reuses."""

    def __init__(self, seed: int, layout: StreetLayout) -> None:
        def rng(*keys: int) -> np.random.Generator:
            return generator(seed, 1, *keys)

        self.road = ground.asphalt(rng(0), layout.road_m, TILE_M)
        self.paving = ground.paving(rng(1), layout.pavement_m, TILE_M)
        self.grass = ground.grass(rng(2))
        self.kerb = make_texture(np.full((8, 8, 3), 128, np.uint8))
        self.shadow = ground.soft_shadow()
        heights = [layout.height_m * (0.8 + 0.1 * (i % 4)) for i in range(9)]
        self.houses = [facades.house(rng(3, i), 5 + 1.6 * (i % 5), height) for i, height in enumerate(heights)]
        self.trees = [vegetation.tree(rng(4, i)) for i in range(7)]
        self.hedges = [vegetation.hedge(rng(5, i)) for i in range(2)]
        self.posts = [furniture.post(rng(6, i)) for i in range(3)]
        self.signs = [furniture.sign(rng(7, i)) for i in range(8)]
        self.fences = [furniture.fence(rng(8, i)) for i in range(3)]
        self.arm = furniture.lamp_arm()
        self.cars = [vehicles.make_car(rng(9, i)) for i in range(CARS)]
        self.walkers = [people.pedestrian(rng(10, i)) for i in range(WALKERS)]
        self.riders = [people.bicyclist(rng(11, i)) for i in range(RIDERS)]


@lru_cache(maxsize=1)
def make_palette(seed: int) -> Palette:
    """The textures for a seed; the last ones are kept, since they take a second and clips of one street are common."""
    return Palette(seed, make_street_layout(seed))
