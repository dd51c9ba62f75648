"""Textures of lamp posts, traffic signs and fences."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.surface import Texture, make_texture


def post(rng: np.random.Generator) -> Texture:
    """A metal or wooden post, shaded to look round."""
    tone = np.array((70, 74, 76) if rng.random() < 0.7 else (52, 72, 90), np.float32) * rng.uniform(0.6, 1.5)
    light = np.linspace(1.35, 0.65, 16)[None, :, None] * np.ones((128, 1, 1))
    return make_texture(np.clip(tone * light, 0, 255).astype(np.uint8))


def lamp_arm() -> Texture:
    """The arm and head of a street lamp."""
    picture = np.zeros((24, 96, 4), np.uint8)
    cv2.line(picture, (0, 16), (80, 8), (78, 80, 82, 255), 4)
    cv2.rectangle(picture, (62, 4), (95, 13), (150, 160, 165, 255), -1)
    return make_texture(picture)


def sign(rng: np.random.Generator) -> Texture:
    """A round, triangular or rectangular traffic sign, or a shop sign."""
    picture = np.zeros((96, 96, 4), np.uint8)
    red, white, blue = (36, 34, 190, 255), (230, 232, 232, 255), (170, 80, 24, 255)
    match int(rng.integers(4)):
        case 0:
            cv2.circle(picture, (48, 48), 46, red, -1)
            cv2.circle(picture, (48, 48), 34, white, -1)
            cv2.putText(
                picture, str(rng.choice([20, 30, 40])), (24, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (20, 20, 20, 255), 5
            )
        case 1:
            cv2.fillPoly(picture, [np.array([(48, 3), (94, 90), (2, 90)])], red)
            cv2.fillPoly(picture, [np.array([(48, 24), (76, 79), (20, 79)])], white)
            cv2.line(picture, (48, 42), (48, 70), (20, 20, 20, 255), 7)
        case 2:
            cv2.rectangle(picture, (4, 14), (92, 82), blue, -1)
            cv2.arrowedLine(picture, (20, 48), (78, 48), white, 8, tipLength=0.4)
        case _:
            cv2.rectangle(picture, (2, 20), (94, 76), (*(int(v) for v in rng.integers(30, 220, 3)), 255), -1)
            for row in (34, 48, 62):
                cv2.line(picture, (14, row), (82 - int(rng.integers(0, 30)), row), white, 5)
    return make_texture(picture)


def fence(rng: np.random.Generator) -> Texture:
    """Railings or boards; opaque enough to be labelled as one area, as in CamVid."""
    height, width = 64, 256
    if rng.random() < 0.5:
        boards = np.clip(rng.normal(1, 0.09, (1, width // 8, 1)).repeat(8, 1) * np.array((64, 92, 120)), 0, 255)
        picture = np.broadcast_to(boards, (height, width, 3)).astype(np.uint8).copy()
        picture[:, ::8] = 40
        return make_texture(picture)
    tone = tuple(int(v) for v in rng.choice(np.array([(40, 44, 40), (150, 154, 156), (60, 90, 50)])))
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., :3] = tone
    picture[..., 3] = 130
    for x in range(0, width, 9):
        cv2.line(picture, (x, 4), (x, height), (*tone, 255), 3)
    for y in (8, height - 12):
        cv2.line(picture, (0, y), (width, y), (*tone, 255), 4)
    return make_texture(picture)
