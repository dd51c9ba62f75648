"""Cars: two boxes of textured rectangles, correct in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import CAR, Matrix, Pixels
from edge_vseg.export.reference.scenes.surface import Surface, Texture, make_texture, rectangle

_PAINTS = (
    (40, 40, 44), (60, 62, 64), (150, 152, 154), (190, 192, 194), (225, 226, 228), (30, 30, 140), (120, 60, 24),
    (90, 44, 20), (34, 70, 34), (60, 120, 140), (40, 52, 100), (24, 24, 26),
)  # fmt: skip
_GLASS = (52, 48, 42)
_TO_THE_RIGHT = np.array(((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)))
"""Turns what points along z to point along x."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Car:
    """Size and textures of a car.

    Attributes:
        length_m, width_m, height_m: Its size.
        rear, front, side, top, cab_side, rear_window, wind_screen, cab_top: Textures of its faces.
    """

    length_m: float
    width_m: float
    height_m: float
    rear: Texture
    front: Texture
    side: Texture
    top: Texture
    cab_side: Texture
    rear_window: Texture
    wind_screen: Texture
    cab_top: Texture


def make_car(rng: np.random.Generator) -> Car:
    """A car of random size and paint."""
    paint = np.array(_PAINTS[int(rng.integers(len(_PAINTS)))], np.float32) * rng.uniform(0.8, 1.15)
    van = rng.random() < 0.15
    return Car(
        length_m=float(rng.uniform(3.6, 4.6)) + (0.6 if van else 0),
        width_m=float(rng.uniform(1.62, 1.82)),
        height_m=float(rng.uniform(1.38, 1.52)) + (0.5 if van else 0),
        rear=make_texture(_end(rng, paint, (44, 36, 175))),
        front=make_texture(_end(rng, paint, (215, 220, 220))),
        side=make_texture(_side(paint)),
        top=make_texture(_plain(paint * 1.12, 32, 64)),
        cab_side=make_texture(_cab_side(paint)),
        rear_window=make_texture(_window(paint, rng)),
        wind_screen=make_texture(_window(paint, rng)),
        cab_top=make_texture(_plain(paint * 1.2, 32, 32)),
    )


def car_surfaces(
    car: Car, key: tuple[int, ...], now: Matrix, before: Matrix, heading: float, *, turned: bool = False
) -> list[Surface]:
    """The faces of a car.

    Args:
        car: Size and textures.
        key: Identity.
        now: ``(3,)`` centre of its footprint in metres.
        before: The same one frame ago.
        heading: 1 if it drives along z, -1 if it drives towards the camera.
        turned: It drives along x instead, or against it.
    """
    half, low = car.width_m / 2, 0.18
    waist, roof = car.height_m * 0.58, car.height_m
    tail, nose = -heading * car.length_m / 2, heading * car.length_m / 2
    back, front = sorted((tail, nose))
    rear_face, front_face = (car.rear, car.front) if heading > 0 else (car.front, car.rear)
    far_glass, near_glass = (car.wind_screen, car.rear_window) if heading > 0 else (car.rear_window, car.wind_screen)
    slope_back, slope_front = (0.35, 1.25) if heading > 0 else (1.25, 0.35)
    cab_back, cab_front, inset = back + slope_back, front - slope_front, 0.14
    tall, deep = waist - low, front - back
    lean, wide, cab_deep = 0.32, 2 * (half - inset), cab_front - cab_back
    parts = [
        (car.side, (-half, waist, front), (0, 0, -deep), (0, -tall, 0), 0.72),
        (car.side, (half, waist, back), (0, 0, deep), (0, -tall, 0), 0.8),
        (front_face, (half, waist, front), (-2 * half, 0, 0), (0, -tall, 0), 0.9),
        (rear_face, (-half, waist, back), (2 * half, 0, 0), (0, -tall, 0), 0.95),
        (car.top, (-half, waist, front), (2 * half, 0, 0), (0, 0, -deep), 1.1),
        (car.cab_side, (-half + inset / 2, roof, cab_front), (0, 0, -cab_deep), (0, waist - roof, 0), 0.75),
        (car.cab_side, (half - inset / 2, roof, cab_back), (0, 0, cab_deep), (0, waist - roof, 0), 0.85),
        (far_glass, (half - inset, roof, cab_front - lean), (-wide, 0, 0), (0, waist - roof, lean), 0.9),
        (near_glass, (-half + inset, roof, cab_back + lean), (wide, 0, 0), (0, waist - roof, -lean), 0.95),
        (car.cab_top, (-half + inset, roof, cab_front - lean), (wide, 0, 0), (0, 0, 2 * lean - cab_deep), 1.15),
    ]  # fmt: skip
    surfaces = []
    for index, (texture, origin, across, down, shade) in enumerate(parts):
        local = rectangle(origin, across, down)
        if turned:
            local = _TO_THE_RIGHT @ local
        matrices = []
        for place in (now, before):
            world = local.copy()
            world[:, 2] += place
            matrices.append(world)
        surfaces.append(
            Surface(
                key=(*key, index),
                layer="object",
                label=CAR,
                texture=texture,
                now=matrices[0],
                before=matrices[1],
                shade=shade,
                one_sided=True,
                group=tuple(now),
                rank=index,
            )
        )
    return surfaces


def _plain(paint: np.ndarray, height: int, width: int) -> Pixels:
    shine = np.linspace(0.9, 1.1, height)[:, None, None] * np.ones((1, width, 1))
    return np.asarray(np.clip(shine * paint, 0, 255), np.uint8)


def _end(rng: np.random.Generator, paint: np.ndarray, light: tuple[int, int, int]) -> Pixels:
    picture = _plain(paint, 72, 160)
    picture[52:] = (picture[52:] * 0.45).astype(np.uint8)
    picture[66:] = 22
    for left in (4, 128):
        cv2.rectangle(picture, (left, 10), (left + 27, 30), light, -1)
    plate = (60, 205, 215) if light[2] < 200 else (215, 218, 220)
    cv2.rectangle(picture, (58, 34), (102, 46), plate, -1)
    cv2.putText(picture, f"X{int(rng.integers(10, 99))} ABC", (60, 44), cv2.FONT_HERSHEY_PLAIN, 0.6, (20, 20, 20), 1)
    if light[2] >= 200:
        cv2.rectangle(picture, (40, 12), (120, 28), (30, 30, 30), -1)
    for left in (6, 130):
        cv2.rectangle(picture, (left, 60), (left + 24, 72), (14, 14, 14), -1)
    return picture


def _side(paint: np.ndarray) -> Pixels:
    picture = np.dstack((_plain(paint, 64, 320), np.full((64, 320), 255, np.uint8)))
    picture[44:, :, :3] = (picture[44:, :, :3] * 0.7).astype(np.uint8)
    for x in (110, 200):
        cv2.line(picture, (x, 2), (x, 52), (*(paint * 0.6).tolist(), 255), 1)
    picture[60:, :, 3] = 0
    for x in (56, 258):
        cv2.circle(picture, (x, 46), 21, (12, 12, 12, 255), -1)
        cv2.circle(picture, (x, 46), 11, (120, 122, 124, 255), -1)
    return picture


def _cab_side(paint: np.ndarray) -> Pixels:
    picture = np.zeros((48, 160, 4), np.uint8)
    shape = np.array([(0, 47), (24, 0), (128, 0), (159, 47)], np.int32)
    cv2.fillPoly(picture, [shape], (*paint.tolist(), 255))
    cv2.fillPoly(picture, [np.array([(12, 44), (29, 6), (76, 6), (76, 44)], np.int32)], (*_GLASS, 255))
    cv2.fillPoly(picture, [np.array([(82, 44), (82, 6), (124, 6), (148, 44)], np.int32)], (*_GLASS, 255))
    return picture


def _window(paint: np.ndarray, rng: np.random.Generator) -> Pixels:
    picture = _plain(paint, 48, 128)
    glass = np.linspace(rng.uniform(1.3, 2.4), 0.7, 40)[:, None, None] * np.array(_GLASS) * np.ones((1, 112, 1))
    picture[4:44, 8:120] = np.clip(glass, 0, 255).astype(np.uint8)
    for x in (36, 92):
        cv2.ellipse(picture, (x, 40), (10, 14), 0, 180, 360, (28, 28, 30), -1)
    return picture
