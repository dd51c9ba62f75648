"""Moving cars, bicyclists and pedestrians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_vseg.export.reference.scenes.geometry import BICYCLIST, PAVEMENT_HEIGHT_M, PEDESTRIAN, Matrix
from edge_vseg.export.reference.scenes.noise import generator
from edge_vseg.export.reference.scenes.palette import CARS, RIDERS, WALKERS
from edge_vseg.export.reference.scenes.parts import car_with_shadow
from edge_vseg.export.reference.scenes.people import PHASES
from edge_vseg.export.reference.scenes.scene_options import PassingKind
from edge_vseg.export.reference.scenes.surface import Surface, Texture, rectangle
from edge_vseg.export.reference.scenes.world import World

_LOOP_M = 140.0
"""Traffic repeats after this distance: what falls behind reappears far ahead, with a new identity."""
_BEHIND_M = 20.0
_STAGED_APART_S = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A car or person moving in a straight line.

    Attributes:
        kind: Kind of mover.
        appearance: Index into the street's cars, riders or walkers.
        x_m, z_m: Position at time 0.
        across_mps, along_mps: Speed; one of the two is 0.
        tall_m: Height of a person.
        crossing_m: What crosses reappears on the other side after this distance.
    """

    kind: Literal["car", "rider", "walker"]
    appearance: int
    x_m: float
    z_m: float
    across_mps: float = 0.0
    along_mps: float = 0.0
    tall_m: float = 1.75
    crossing_m: float = 18.0


class Traffic:
    """All traffic of a street.

    Args:
        world: The street.
        density: Traffic density; 1 is typical.
        leader_mps: Speed of the camera in its lane, so that it does not hit the car ahead; 0 for other cameras.
        passing: What passes behind a car that stands ahead of the camera.
    """

    def __init__(self, world: World, density: float, leader_mps: float, passing: PassingKind = "none") -> None:
        self._world = world
        rng = generator(world.seed, 3)
        half, pavement = world.layout.road_m / 2, world.layout.pavement_m
        self.movers = _cars(rng, density, half, leader_mps)
        self.movers += [_rider(rng, half) for _ in range(rng.poisson(2.6 * density))]
        self.movers += [_walker(rng, half, pavement) for _ in range(rng.poisson(7 * density))]
        self.movers += [_crosser(rng, half) for _ in range(rng.poisson(1.3 * density))]
        if passing != "none":
            self.movers += _staged(generator(world.seed, 10), passing, half)

    def surfaces(self, time_s: float, step_s: float, camera_z_m: float) -> list[Surface]:
        """Surfaces of all traffic, at a time and one frame before."""
        surfaces: list[Surface] = []
        for index, mover in enumerate(self.movers):
            z = mover.z_m + mover.along_mps * time_s
            lap = int(np.floor((z - camera_z_m + _BEHIND_M) / _LOOP_M))
            x, way = mover.x_m + mover.across_mps * time_s, 0
            if mover.across_mps:
                way = int(np.floor((x + mover.crossing_m / 2) / mover.crossing_m))
            now = np.array((x - way * mover.crossing_m, 0.0, z - lap * _LOOP_M))
            before = now - np.array((mover.across_mps, 0.0, mover.along_mps)) * step_s
            surfaces += self._draw(mover, (2, index, lap, way), now, before, time_s)
        return surfaces

    def _draw(self, mover: Mover, key: tuple[int, ...], now: Matrix, before: Matrix, time_s: float) -> list[Surface]:
        palette = self._world.palette
        if mover.kind == "car":
            heading = 1.0 if (mover.across_mps or mover.along_mps) >= 0 else -1.0
            car, turned = palette.cars[mover.appearance], bool(mover.across_mps)
            return car_with_shadow(car, palette.shadow, key, now, before, heading, turned=turned)
        ground = PAVEMENT_HEIGHT_M if abs(now[0]) > self._world.layout.road_m / 2 else 0.0
        phase = int(time_s * 1.6 * PHASES + mover.appearance * 3) % PHASES
        wide, label = mover.tall_m * 0.48, PEDESTRIAN
        if mover.kind == "walker":
            texture = palette.walkers[mover.appearance][phase]
        else:
            behind, beside = palette.riders[mover.appearance]
            texture, label = (beside if mover.across_mps else behind)[phase], BICYCLIST
            wide *= texture.levels[0].shape[1] / behind[0].levels[0].shape[1]
        left = (mover.across_mps or mover.along_mps) < 0
        planes = [_sprite(place, ground, -wide if left else wide, mover.tall_m) for place in (now, before)]
        person = Surface(key=(*key, 0), layer="object", label=label, texture=texture, now=planes[0], before=planes[1])
        return [_shadow(palette.shadow, key, now, wide, ground), person]


def _cars(rng: np.random.Generator, density: float, half: float, leader_mps: float) -> list[Mover]:
    oncoming, apart = -float(rng.uniform(6, 11)), _LOOP_M / max(4.0, 4 * density)
    coming = [
        Mover(
            kind="car",
            appearance=int(rng.integers(CARS)),
            x_m=half * 0.3,
            z_m=(number + float(rng.uniform(0.2, 0.6))) * apart - _BEHIND_M,
            along_mps=oncoming,
        )
        for number in range(rng.poisson(3.0 * density))
    ]
    ahead = [
        Mover(
            kind="car",
            appearance=int(rng.integers(CARS)),
            x_m=-half * 0.3,
            z_m=14 + number * 18 + float(rng.uniform(0, 8)),
            along_mps=leader_mps + 0.5 if leader_mps else 7.0,
        )
        for number in range(min(6, rng.poisson(1.5 * density)))
    ]
    return coming + ahead


def _staged(rng: np.random.Generator, passing: Literal["car", "rider", "walker"], half: float) -> list[Mover]:
    """A car that stands ahead of the driving camera, and three that pass beyond it, one after the other."""
    standing = Mover(
        kind="car",
        appearance=int(rng.integers(CARS)),
        x_m=-half * 0.3 + float(rng.uniform(-0.4, 0.8)),
        z_m=float(rng.uniform(8.5, 11.0)),
    )
    speeds = {"car": (5.0, 11.0), "rider": (3.5, 6.0), "walker": (1.2, 2.2)}
    way, z = float(rng.choice((-1, 1))), standing.z_m + float(rng.uniform(4.5, 9.0))
    speed, apart = float(rng.uniform(*speeds[passing])), _STAGED_APART_S * speeds[passing][1]
    kinds = {"car": CARS, "rider": RIDERS, "walker": WALKERS}
    return [standing] + [
        Mover(
            kind=passing,
            appearance=int(rng.integers(kinds[passing])),
            x_m=standing.x_m - way * (number * apart + float(rng.uniform(0.3, 0.7)) * apart),
            z_m=z,
            across_mps=way * speed,
            tall_m=1.7,
            crossing_m=max(30.0, 3 * apart),
        )
        for number in range(3)
    ]


def _rider(rng: np.random.Generator, half: float) -> Mover:
    appearance, z = int(rng.integers(RIDERS)), float(rng.uniform(5, 60))
    way = float(rng.choice((-1, 1)))
    if rng.random() < 0.25:
        return Mover(kind="rider", appearance=appearance, x_m=-way * half, z_m=z + 8, across_mps=way * 3.0, tall_m=1.7)
    speed = float(rng.uniform(2.8, 6.0))
    return Mover(kind="rider", appearance=appearance, x_m=-way * (half - 2.3), z_m=z, along_mps=way * speed, tall_m=1.7)


def _walker(rng: np.random.Generator, half: float, pavement: float) -> Mover:
    return Mover(
        kind="walker",
        appearance=int(rng.integers(WALKERS)),
        x_m=float(rng.choice((-1, 1)) * (half + rng.uniform(0.4, max(0.5, pavement - 0.3)))),
        z_m=float(rng.uniform(-10, 120)),
        along_mps=float(rng.choice((-1, 1)) * rng.uniform(0.9, 1.7)),
        tall_m=float(rng.uniform(1.55, 1.88)),
    )


def _crosser(rng: np.random.Generator, half: float) -> Mover:
    way = float(rng.choice((-1, 1)))
    return Mover(
        kind="walker",
        appearance=int(rng.integers(WALKERS)),
        x_m=-way * half,
        z_m=float(rng.uniform(14, 80)),
        across_mps=way * float(rng.uniform(1.0, 1.5)),
        tall_m=float(rng.uniform(1.55, 1.88)),
    )


def _sprite(place: Matrix, ground: float, wide: float, tall: float) -> Matrix:
    """An upright rectangle at a place; mirrored if ``wide`` is negative."""
    return rectangle((place[0] - wide / 2, ground + tall, place[2]), (wide, 0.0, 0.0), (0.0, -tall, 0.0))


def _shadow(texture: Texture, key: tuple[int, ...], now: Matrix, wide: float, ground: float) -> Surface:
    plane = rectangle((now[0] - wide / 2, ground + 0.005, now[2] + 0.25), (wide, 0.0, 0.0), (0.0, 0.0, -0.5))
    return Surface(key=(*key, 99), layer="shadow", label=None, texture=texture, now=plane, before=plane)
