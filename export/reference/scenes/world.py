"""The static street: ground, houses, trees, furniture and parked cars, generated section by section from the seed."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from edge_vseg.export.reference.scenes.geometry import (
    BUILDING,
    CHUNK_M,
    FENCE,
    PAVEMENT,
    PAVEMENT_HEIGHT_M,
    POLE,
    ROAD,
    SIGN,
    TREE,
)
from edge_vseg.export.reference.scenes.noise import generator
from edge_vseg.export.reference.scenes.palette import TILE_M, make_palette, make_street_layout
from edge_vseg.export.reference.scenes.parts import Appearance, Keys, car_with_shadow, standing, still, wall
from edge_vseg.export.reference.scenes.surface import Layer, Surface, Texture, rectangle

AHEAD_M, BEHIND_M = 115.0, 12.0
_MAX_CACHED_SECTIONS = 12
_PARKING_SLOT_M = 6.0
"""Length of kerb for a parked car."""


class World:
    """An endless street in sections of :data:`CHUNK_M` metres."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.layout = make_street_layout(seed)
        self.palette = make_palette(seed)
        self._sections: OrderedDict[int, list[Surface]] = OrderedDict()

    def standing(self, z_m: float) -> list[Surface]:
        """All static surfaces from a little behind ``z_m`` to far ahead."""
        first, last = int((z_m - BEHIND_M) // CHUNK_M), int((z_m + AHEAD_M) // CHUNK_M)
        surfaces = self._ground(z_m)
        for number in range(first, last + 1):
            if number not in self._sections:
                self._sections[number] = [part for side in (-1, 1) for part in _Side(self, number, side).surfaces]
                while len(self._sections) > _MAX_CACHED_SECTIONS:
                    self._sections.popitem(last=False)
            self._sections.move_to_end(number)
            surfaces += self._sections[number]
        return surfaces

    def _ground(self, z_m: float) -> list[Surface]:
        # Tiles start at multiples of their length, so that the texture does not move with the camera.
        start = float(np.floor((z_m - BEHIND_M) / TILE_M) * TILE_M)
        tiles = int(np.ceil((AHEAD_M + BEHIND_M + TILE_M) / TILE_M))
        length, end = tiles * TILE_M, start + tiles * TILE_M
        half, rise, pavement = self.layout.road_m / 2, PAVEMENT_HEIGHT_M, self.layout.pavement_m
        edge, palette = half + pavement, self.palette
        ahead, back = (0.0, 0.0, length), (0.0, 0.0, -length)
        strips = (
            (ROAD, palette.road, rectangle((-half, 0.0, end), (2 * half, 0.0, 0.0), back), 1.0, tiles),
            (PAVEMENT, palette.paving, rectangle((half, rise, end), (pavement, 0.0, 0.0), back), 1.0, tiles),
            (PAVEMENT, palette.paving, rectangle((-half, rise, start), (-pavement, 0.0, 0.0), ahead), 1.0, tiles),
            (TREE, palette.grass, rectangle((edge, rise, end), (40.0, 0.0, 0.0), back), 10.0, length / 4),
            (TREE, palette.grass, rectangle((-edge - 40, rise, end), (40.0, 0.0, 0.0), back), 10.0, length / 4),
            (PAVEMENT, palette.kerb, rectangle((half, rise, end), (0.0, -rise, 0.0), back), 1.0, 1.0),
            (PAVEMENT, palette.kerb, rectangle((-half, rise, end), (0.0, -rise, 0.0), back), 1.0, 1.0),
        )
        return [
            Surface(
                key=(0, index), layer="ground", label=label, texture=texture, now=plane, before=plane, repeat=(u, v)
            )
            for index, (label, texture, plane, u, v) in enumerate(strips)
        ]


class _Side:
    """The static surfaces on one side of a section."""

    def __init__(self, world: World, number: int, side: int) -> None:
        self._layout, self._palette = world.layout, world.palette
        self._rng = generator(world.seed, 2, number, side + 1)
        self._keys, self._side, self._begin = Keys(number, side), side, number * CHUNK_M
        self._half = world.layout.road_m / 2
        self._edge = self._half + world.layout.pavement_m
        self.surfaces: list[Surface] = []
        self._frontage()
        self._trees()
        self._lamp()
        self._signs_and_bollards()
        self._parked()

    def _frontage(self) -> None:
        rng, end = self._rng, self._begin + CHUNK_M
        set_back = 0.0 if rng.random() < 0.5 else float(rng.uniform(1.5, 6))
        z = self._begin
        while z < end - 0.1:
            wide = min(float(rng.uniform(5, 12)), end - z)
            if end - z - wide < 3:
                wide = end - z
            if rng.random() < self._layout.built[(self._side + 1) // 2]:
                self._house(self._side * (self._edge + set_back + float(rng.uniform(0, 0.3))), z, wide)
                if set_back > 1.5 and rng.random() < 0.6:
                    self._boundary(z, wide)
            else:
                self._boundary(z, wide)
                for _ in range(int(rng.integers(1, 4))):
                    self._tree(self._side * (self._edge + rng.uniform(1.5, 9)), z + rng.uniform(0, wide), "facade")
            z += wide

    def _house(self, x: float, z: float, wide: float) -> None:
        tall = self._layout.height_m * float(self._rng.uniform(0.75, 1.25))
        texture = self._any(self._palette.houses)
        front = Appearance(label=BUILDING, texture=texture, layer="facade", shade=0.86 if self._side < 0 else 1.02)
        self.surfaces.append(wall(self._keys(), front, self._side, x, z, wide, tall))
        gable, deep = Appearance(label=BUILDING, texture=texture, layer="facade", shade=0.7), self._side * 9.0
        self.surfaces.append(standing(self._keys(), gable, (x + deep / 2, 0.0, z), abs(deep), tall * 0.88))

    def _boundary(self, z: float, wide: float) -> None:
        rng = self._rng
        if rng.random() < 0.5:
            appearance, tall = (
                Appearance(label=FENCE, texture=self._any(self._palette.fences), layer="facade"),
                (0.9, 1.6),
            )
        else:
            appearance, tall = (
                Appearance(label=TREE, texture=self._any(self._palette.hedges), layer="facade"),
                (0.9, 1.9),
            )
        x = self._side * (self._edge + 0.2)
        self.surfaces.append(wall(self._keys(), appearance, self._side, x, z, wide, float(rng.uniform(*tall))))

    def _trees(self) -> None:
        for _ in range(self._rng.poisson(self._layout.green)):
            by_road = self._rng.random() < 0.4
            x = self._half + 0.6 if by_road else self._edge + self._rng.uniform(0.4, 3)
            self._tree(self._side * x, self._anywhere(), "object")

    def _tree(self, x: float, z: float, layer: Layer) -> None:
        tall = float(self._rng.uniform(5, 11))
        appearance = Appearance(
            label=TREE, texture=self._any(self._palette.trees), layer=layer, shade=float(self._rng.uniform(0.85, 1.1))
        )
        self.surfaces.append(
            standing(self._keys(), appearance, (x, 0.0, z), tall * float(self._rng.uniform(0.6, 0.85)), tall)
        )

    def _lamp(self) -> None:
        z, tall = self._begin + (10 if self._side < 0 else 30), float(self._rng.uniform(6, 8))
        self._post(self._side * (self._half + 0.45), z, tall, 0.16)
        if self._rng.random() < 0.5:
            arm = Appearance(label=POLE, texture=self._palette.arm)
            x = self._side * (self._half + 0.45) - self._side * 0.8
            plane = rectangle((x + self._side * 0.8, tall, z), (-self._side * 1.7, 0.0, 0.0), (0.0, -0.35, 0.0))
            self.surfaces.append(still(self._keys(), arm, plane))

    def _signs_and_bollards(self) -> None:
        rng = self._rng
        for _ in range(rng.poisson(1.6)):
            x, z = self._side * (self._half + 0.5 + rng.uniform(0, 0.6)), self._anywhere()
            tall = float(rng.uniform(2.2, 3.2))
            self._post(x, z, tall, 0.08)
            appearance = Appearance(label=SIGN, texture=self._any(self._palette.signs))
            self.surfaces.append(standing(self._keys(), appearance, (x, tall - 0.6, z - 0.03), 0.75, 0.75))
        for _ in range(rng.poisson(0.8)):
            self._post(self._side * (self._half + 0.3), self._anywhere(), 1.0, 0.12)
        if rng.random() < 0.2:
            appearance = Appearance(label=FENCE, texture=self._any(self._palette.fences))
            x = self._side * (self._half + 0.25)
            self.surfaces.append(wall(self._keys(), appearance, self._side, x, self._begin + 4, 14.0, 1.05))

    def _post(self, x: float, z: float, tall: float, thick: float) -> None:
        appearance = Appearance(label=POLE, texture=self._any(self._palette.posts))
        self.surfaces.append(standing(self._keys(), appearance, (x, 0.0, z), thick, tall))

    def _parked(self) -> None:
        rng = self._rng
        for slot in range(int(CHUNK_M // _PARKING_SLOT_M)):
            if rng.random() < self._layout.parked[(self._side + 1) // 2]:
                car = self._palette.cars[int(rng.integers(len(self._palette.cars)))]
                x = self._side * (self._half - car.width_m / 2 + rng.uniform(-0.1, 0.25))
                place = np.array((x, 0.0, self._begin + _PARKING_SLOT_M * slot + 3 + rng.uniform(-0.4, 0.4)))
                heading = 1.0 if (self._side < 0) == (rng.random() < 0.8) else -1.0
                self.surfaces += car_with_shadow(car, self._palette.shadow, self._keys(), place, place, heading)

    def _anywhere(self) -> float:
        return self._begin + float(self._rng.uniform(0, CHUNK_M))

    def _any(self, textures: list[Texture]) -> Texture:
        return textures[int(self._rng.integers(len(textures)))]
