"""Textures of house fronts with windows, doors, shops and roofs."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import Pixels
from edge_vseg.export.reference.scenes.noise import octave_noise
from edge_vseg.export.reference.scenes.surface import Texture, make_texture

FACADE_PX_PER_M = 28
_WALLS = (
    (62, 84, 138),
    (84, 108, 150),
    (104, 132, 158),
    (150, 170, 182),
    (178, 190, 196),
    (118, 132, 140),
    (70, 92, 120),
)
_FRAMES = ((225, 228, 228), (230, 230, 232), (90, 90, 95), (60, 70, 60))


def house(rng: np.random.Generator, width_m: float, height_m: float) -> Texture:
    """The front of a house with its roof; transparent around gables and chimneys."""
    height, width = int(height_m * FACADE_PX_PER_M), int(width_m * FACADE_PX_PER_M)
    color = np.array(_WALLS[int(rng.integers(len(_WALLS)))], np.float32) * rng.uniform(0.8, 1.15)
    value = 1 + 0.035 * octave_noise(rng, (height, width), cell_px=3, octaves=2)
    value += 0.06 * octave_noise(rng, (height, width), cell_px=90, octaves=4)
    value *= np.linspace(1.04, 0.88, height)[:, None]
    wall = np.clip(value[..., None] * color, 0, 255).astype(np.uint8)
    if color[2] > color[0] * 1.4:
        _bricks(wall)
    floor_m = rng.uniform(2.7, 3.3)
    roof = int(rng.uniform(0.12, 0.28) * height) if rng.random() < 0.8 else 4
    shop = rng.random() < 0.4
    floors = max(1, int((height_m - roof / FACADE_PX_PER_M) / floor_m))
    for floor in range(floors):
        bottom = height - int(floor * floor_m * FACADE_PX_PER_M)
        if floor == 0 and shop:
            _shop(wall, rng, bottom, int(floor_m * FACADE_PX_PER_M))
        else:
            _windows(wall, rng, bottom, int(floor_m * FACADE_PX_PER_M), with_door=floor == 0)
    cv2.rectangle(wall, (0, 0), (2, height), tuple((color * 0.6).tolist()), -1)
    return make_texture(_roofed(wall, rng, roof))


def _bricks(wall: Pixels) -> None:
    wall[::4] = (wall[::4] * 0.9 + 12).astype(np.uint8)
    for row in range(0, wall.shape[0], 4):
        start = 0 if row % 8 else 5
        wall[row : row + 4, start::10] = (wall[row : row + 4, start::10] * 0.9 + 10).astype(np.uint8)


def _windows(wall: Pixels, rng: np.random.Generator, bottom: int, floor: int, *, with_door: bool) -> None:
    width = wall.shape[1]
    layout_rng = np.random.default_rng(width)  # the same layout on every floor
    step = int(layout_rng.uniform(1.9, 2.7) * FACADE_PX_PER_M)
    wide, tall = int(step * layout_rng.uniform(0.4, 0.6)), int(floor * layout_rng.uniform(0.5, 0.62))
    frame = _FRAMES[int(layout_rng.integers(len(_FRAMES)))]
    door = int(rng.integers(0, max(1, width // step)))
    for index, left in enumerate(range((step - wide) // 2 + width % step // 2, width - wide, step)):
        if with_door and index == door:
            top = bottom - int(2.1 * FACADE_PX_PER_M)
            cv2.rectangle(wall, (left + 2, top), (left + wide - 2, bottom), frame, -1)
            paint = tuple(int(v) for v in rng.integers(20, 150, 3))
            cv2.rectangle(wall, (left + 5, top + 4), (left + wide - 5, bottom), paint, -1)
            continue
        top = bottom - int(floor * 0.24) - tall
        _window(wall, rng, (left, top, left + wide, top + tall), frame)


def _window(
    wall: Pixels, rng: np.random.Generator, box: tuple[int, int, int, int], frame: tuple[int, int, int]
) -> None:
    left, top, right, bottom = box
    if top < 0:
        return
    cv2.rectangle(wall, (left - 2, top - 3), (right + 2, top), (170, 175, 178), -1)
    cv2.rectangle(wall, (left, top), (right, bottom), frame, -1)
    glass = rng.uniform(25, 95)
    shape = wall[top + 2 : bottom - 1, left + 2 : right - 1].shape
    if min(shape[:2]) < 2:
        return
    shine = np.linspace(1.5, 0.7, shape[0])[:, None, None] * rng.uniform(0.8, 1.2, (1, shape[1], 1))
    wall[top + 2 : bottom - 1, left + 2 : right - 1] = np.clip(glass * shine * (1.12, 1.04, 0.95), 0, 255).astype(
        np.uint8
    )
    cv2.line(wall, ((left + right) // 2, top), ((left + right) // 2, bottom), frame, 1)
    cv2.line(wall, (left, (top + bottom) // 2), (right, (top + bottom) // 2), frame, 1)
    cv2.rectangle(wall, (left - 3, bottom), (right + 3, bottom + 2), (160, 165, 168), -1)


def _shop(wall: Pixels, rng: np.random.Generator, bottom: int, floor: int) -> None:
    width = wall.shape[1]
    top = bottom - int(floor * 0.95)
    board = tuple(int(v) for v in rng.integers(20, 200, 3))
    cv2.rectangle(wall, (4, top), (width - 4, top + floor // 5), board, -1)
    for left in range(10, width - 20, int(rng.integers(9, 15))):
        tall = int(rng.integers(4, max(5, floor // 9)))
        cv2.rectangle(wall, (left, top + 5), (left + 5, top + 5 + tall), (220, 220, 220), -1)
    pane = wall[top + floor // 5 + 3 : bottom - 6, 8 : width - 8]
    noise = octave_noise(rng, pane.shape[:2], cell_px=14, octaves=2)
    pane[:] = np.clip(60 + 24 * noise[..., None] * rng.uniform(0.7, 1.3, 3), 8, 210).astype(np.uint8)
    for left in range(8, width, int(1.6 * FACADE_PX_PER_M)):
        cv2.line(wall, (left, top + floor // 5), (left, bottom), board, 3)


def _roofed(wall: Pixels, rng: np.random.Generator, roof: int) -> Pixels:
    height, width = wall.shape[:2]
    alpha = np.full((height, width), 255, np.uint8)
    slate = np.array((72, 70, 76) if rng.random() < 0.6 else (58, 72, 110), np.float32) * rng.uniform(0.8, 1.2)
    rows = 1 + 0.12 * np.sin(np.arange(roof) * 2.1)[:, None, None] + rng.normal(0, 0.05, (roof, width, 1))
    wall[:roof] = np.clip(slate * rows, 0, 255).astype(np.uint8)
    if roof > 12:
        alpha[:roof] = 0
        edge = roof // 3 if rng.random() < 0.6 else 0
        cv2.fillPoly(alpha, [np.array([(0, roof), (edge, 6), (width - edge, 6), (width, roof)], np.int32)], 255)
        for _ in range(int(rng.integers(0, 3))):
            left = int(rng.integers(0, max(1, width - 18)))
            cv2.rectangle(alpha, (left, 0), (left + 15, roof // 2 + 6), 255, -1)
            cv2.rectangle(wall, (left, 0), (left + 15, roof // 2 + 6), (60, 74, 104), -1)
        cv2.line(wall, (0, roof), (width, roof), (205, 205, 205), 2)
    return np.dstack((wall, alpha))
