"""Animated sprites of pedestrians and bicyclists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import Pixels
from edge_vseg.export.reference.scenes.surface import Texture, make_texture

BgrColor: TypeAlias = tuple[int, ...]
"""BGR."""

PHASES = 8
_CLOTH = (
    (40, 40, 46),
    (70, 50, 40),
    (36, 36, 120),
    (110, 70, 40),
    (120, 120, 118),
    (60, 90, 60),
    (170, 170, 172),
    (34, 60, 110),
    (90, 40, 90),
)
_SKIN = ((130, 160, 200), (90, 120, 170), (60, 80, 120))


@dataclass(frozen=True, slots=True, kw_only=True)
class _RiderColors:
    """Colours of a bicyclist."""

    coat: BgrColor
    trousers: BgrColor
    frame: BgrColor
    skin: BgrColor
    helmet: BgrColor


def pedestrian(rng: np.random.Generator) -> tuple[Texture, ...]:
    """A walking person, a texture for each phase of the step."""
    coat, trousers = (_pick(rng, _CLOTH) for _ in range(2))
    skin, hair = _pick(rng, _SKIN), _pick(rng, ((20, 26, 34), (40, 70, 100), (90, 120, 150)))
    stride, build = rng.uniform(13, 24), rng.uniform(0.9, 1.2)
    bag = rng.random() < 0.35
    textures = []
    for phase in range(PHASES):
        swing = np.sin(2 * np.pi * phase / PHASES)
        picture = np.zeros((200, 96, 4), np.uint8)
        hip, neck = (48, 104), (48, 44)
        for side, shade in ((-1, 0.7), (1, 1.0)):
            foot = (int(48 + side * swing * stride), 192)
            knee = (int(48 + side * swing * stride * 0.55 + 3), 148)
            _limb(picture, (hip, knee, foot), int(13 * build), trousers, shade)
            cv2.ellipse(picture, (foot[0] + 4, 194), (9, 5), 0, 0, 360, (22, 22, 24, 255), -1)
            if side < 0:
                _limb(
                    picture,
                    ((46, 58), (int(48 + swing * 9), 84), (int(48 + swing * 15), 106)),
                    int(9 * build),
                    coat,
                    0.7,
                )
        cv2.ellipse(picture, (48, 76), (int(17 * build), 36), 0, 0, 360, (*coat, 255), -1)
        cv2.ellipse(picture, (44, 74), (int(9 * build), 30), 0, 0, 360, (*_shade(coat, 1.2), 255), -1)
        _limb(picture, ((50, 56), (int(50 - swing * 9), 84), (int(50 - swing * 15), 108)), int(9 * build), coat, 0.9)
        cv2.circle(picture, (int(50 - swing * 15), 110), 5, (*skin, 255), -1)
        if bag:
            cv2.rectangle(picture, (22, 88), (36, 116), (40, 60, 90, 255), -1)
        cv2.line(picture, neck, (48, 32), (*skin, 255), 9)
        cv2.ellipse(picture, (48, 24), (12, 15), 0, 0, 360, (*skin, 255), -1)
        cv2.ellipse(picture, (46, 19), (13, 12), 0, 150, 380, (*hair, 255), -1)
        textures.append(make_texture(picture))
    return tuple(textures)


def bicyclist(rng: np.random.Generator) -> tuple[tuple[Texture, ...], tuple[Texture, ...]]:
    """A rider from behind and from the side, a texture for each phase of pedalling."""
    colors = _RiderColors(
        coat=_pick(rng, _CLOTH),
        trousers=_pick(rng, _CLOTH),
        frame=_pick(rng, _CLOTH),
        skin=_pick(rng, _SKIN),
        helmet=_pick(rng, ((40, 40, 44), (40, 60, 200), (200, 200, 205), (60, 180, 200))),
    )
    behind, beside = [], []
    for phase in range(PHASES):
        turn = 2 * np.pi * phase / PHASES
        behind.append(make_texture(_from_behind(turn, colors)))
        beside.append(make_texture(_from_beside(turn, colors)))
    return tuple(behind), tuple(beside)


def _from_behind(turn: float, colors: _RiderColors) -> Pixels:
    picture = np.zeros((200, 96, 4), np.uint8)
    cv2.ellipse(picture, (48, 160), (5, 38), 0, 0, 360, (24, 24, 24, 255), -1)
    cv2.rectangle(picture, (42, 116), (54, 124), (20, 20, 160, 255), -1)
    for side in (-1, 1):
        foot = int(160 + 14 * side * np.sin(turn))
        _limb(
            picture,
            ((48 + 7 * side, 104), (48 + 13 * side, (104 + foot) // 2 - 4), (48 + 11 * side, foot)),
            12,
            colors.trousers,
            0.9,
        )
        _limb(picture, ((48 + 14 * side, 56), (48 + 25 * side, 78), (48 + 22 * side, 96)), 9, colors.coat, 0.85)
    cv2.ellipse(picture, (48, 76), (20, 36), 0, 0, 360, (*colors.coat, 255), -1)
    cv2.ellipse(picture, (44, 72), (10, 28), 0, 0, 360, (*_shade(colors.coat, 1.2), 255), -1)
    cv2.ellipse(picture, (48, 28), (11, 14), 0, 0, 360, (*colors.skin, 255), -1)
    cv2.ellipse(picture, (48, 22), (14, 12), 0, 0, 360, (*colors.helmet, 255), -1)
    return picture


def _from_beside(turn: float, colors: _RiderColors) -> Pixels:
    picture = np.zeros((200, 208, 4), np.uint8)
    for x in (48, 160):
        cv2.circle(picture, (x, 154), 42, (26, 26, 26, 255), 5)
        cv2.circle(picture, (x, 154), 38, (70, 72, 74, 255), 1)
    for line in (
        ((48, 154), (100, 152)),
        ((100, 152), (84, 104)),
        ((84, 104), (146, 100)),
        ((146, 100), (100, 152)),
        ((146, 92), (160, 154)),
    ):
        cv2.line(picture, *line, (*colors.frame, 255), 4)
    pedal = (int(100 + 15 * np.cos(turn)), int(154 + 15 * np.sin(turn)))
    other = (int(100 - 15 * np.cos(turn)), int(154 - 15 * np.sin(turn)))
    for foot, shade in ((other, 0.65), (pedal, 1.0)):
        knee = ((84 + foot[0]) // 2 + 22, (96 + foot[1]) // 2 - 6)
        _limb(picture, ((84, 98), knee, foot), 13, colors.trousers, shade)
    _limb(picture, ((86, 92), (100, 66), (112, 46)), 26, colors.coat, 1.0)
    _limb(picture, ((112, 52), (124, 76), (146, 92)), 9, colors.coat, 0.85)
    cv2.ellipse(picture, (122, 28), (11, 14), 20, 0, 360, (*colors.skin, 255), -1)
    cv2.ellipse(picture, (121, 21), (14, 10), 15, 0, 360, (*colors.helmet, 255), -1)
    return picture


def _limb(picture: Pixels, points: tuple[tuple[int, int], ...], thick: int, color: BgrColor, shade: float) -> None:
    cv2.polylines(picture, [np.array(points, np.int32)], False, (*_shade(color, shade), 255), thick, cv2.LINE_AA)
    picture[..., 3] = np.where(picture[..., 3] > 100, 255, 0)


def _shade(color: BgrColor, factor: float) -> BgrColor:
    return tuple(int(min(255, value * factor)) for value in color)


def _pick(rng: np.random.Generator, colors: tuple[BgrColor, ...]) -> BgrColor:
    return _shade(colors[int(rng.integers(len(colors)))], float(rng.uniform(0.8, 1.2)))
