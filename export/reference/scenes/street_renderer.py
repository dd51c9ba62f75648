"""Render a street, frame by frame, with its ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import OptionError
from edge_vseg.export.reference.scenes.camera import CameraPath
from edge_vseg.export.reference.scenes.compositor import Canvas
from edge_vseg.export.reference.scenes.effects import develop
from edge_vseg.export.reference.scenes.geometry import BUILDING, TREE
from edge_vseg.export.reference.scenes.light import Light
from edge_vseg.export.reference.scenes.noise import generator
from edge_vseg.export.reference.scenes.scene_options import SceneFrame, StreetOptions
from edge_vseg.export.reference.scenes.surface import Surface, View, rectangle
from edge_vseg.export.reference.scenes.traffic import Traffic
from edge_vseg.export.reference.scenes.vegetation import skyline
from edge_vseg.export.reference.scenes.world import World
from edge_vseg.types import Mask, MotionField

_SKYLINE_M = 190.0


def render_street(options: StreetOptions, frames: int) -> Iterator[SceneFrame]:
    """Render the first frames of a clip.

    Args:
        options: Options of the clip. The same options give bit-identical frames, for any number of frames.
        frames: Number of frames.

    Yields:
        Frames with ground truth; the motion of the first frame leads to a frame before the clip.

    Raises:
        OptionError: If ``frames`` is negative.
    """
    if frames < 0:
        raise OptionError(f"frames must not be negative, got {frames}")
    return _render(_Scene(options), frames)


def render_motion(options: StreetOptions, pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[MotionField, Mask]]:
    """The exact motion between frames that do not follow each other.

    What was hidden in between is followed, too, where composed motion of single frames loses it.

    Args:
        options: Options of the clip.
        pairs: Numbers of a frame and of an older one.

    Yields:
        For each pair ``(H, W, 2)`` float32 from the frame to the older one, and ``(H, W)`` bool, true where the point
        was not visible in the older one, as in :class:`SceneFrame`.

    Raises:
        OptionError: If the second of a pair is not the older one.
    """
    scene = _Scene(options)
    older: tuple[int, Canvas] | None = None
    for now, then in pairs:
        if then >= now:
            raise OptionError(f"expected pairs of a frame and an older one, got {now} and {then}")
        if older is None or older[0] != then:
            older = then, scene.draw(then)
        canvas = scene.draw(now, now - then)
        yield scene.motion(canvas), _occluded(canvas, older[1])


def _render(scene: _Scene, frames: int) -> Iterator[SceneFrame]:
    before = scene.draw(-1)
    for number in range(frames):
        now = scene.draw(number)
        yield scene.finish(now, before, number)
        before = now


class _Scene:
    """A street with its light, traffic and camera."""

    def __init__(self, options: StreetOptions) -> None:
        self._options = options
        self._world = World(options.seed)
        self._path = CameraPath(options.camera, self._world.layout, options.seed, options.size_hw)
        if options.passing != "none":
            self._path.stand()
        self._traffic = Traffic(self._world, options.traffic, self._path.speed_mps, options.passing)
        self._light = Light(options.light, options.seed)
        self._woods, self._town = skyline(generator(options.seed, 9))
        self._names: dict[tuple[int, ...], int] = {}
        height, width = options.size_hw
        self._grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)

    def draw(self, number: int, back: int = 1) -> Canvas:
        """Draw the scene at the time of a frame; its motion leads to the frame that is ``back`` frames older."""
        options, step_s = self._options, back / self._options.rate
        time_s = number / self._options.rate
        now, before = self._path.view(time_s), self._path.view(time_s - step_s)
        canvas = Canvas(options.size_hw, self._light.haze, self._light.haze_m)
        canvas.draw_sky(self._light.sky(now, options.size_hw), now, before)
        z_m = self._path.z_m(time_s)
        canvas.draw(self._far(now, before), now, before, self._names)
        surfaces = self._world.standing(z_m) + self._traffic.surfaces(time_s, step_s, z_m)
        canvas.draw(surfaces, now, before, self._names)
        return canvas

    def finish(self, now: Canvas, before: Canvas, number: int) -> SceneFrame:
        """Apply the camera effects, and derive motion and occlusion from the frame before."""
        motion = self.motion(now)
        light = (self._light.tint * self._light.gain(number / self._options.rate)).astype(np.float32)
        return SceneFrame(
            image=develop(now.image, motion, self._options, number, light),
            labels=now.labels,
            motion=motion,
            occluded=_occluded(now, before),
            seq=number,
            pts_ns=round(number * 1e9 / self._options.rate),
        )

    def motion(self, canvas: Canvas) -> MotionField:
        """``(H, W, 2)`` float32 to the older frame that the canvas was drawn with."""
        return np.asarray(canvas.previous - self._grid, np.float32)

    def _far(self, now: View, before: View) -> list[Surface]:
        """The skyline at the end of the street; like the sky, it moves along with the camera."""
        surfaces = []
        for index, (texture, label, tall) in enumerate(((self._woods, TREE, 19.0), (self._town, BUILDING, 14.0))):
            planes = []
            for view in (now, before):
                z = view.position[2] + _SKYLINE_M - 20 * index
                planes.append(rectangle((-260.0, tall, z), (520.0, 0, 0), (0, -tall, 0)))
            surfaces.append(
                Surface(key=(3, index), layer="facade", label=label, texture=texture, now=planes[0], before=planes[1])
            )
        return surfaces


def _occluded(now: Canvas, before: Canvas) -> NDArray[np.bool_]:
    """Mask of the pixels whose surface point was outside the image or hidden one frame ago."""
    height, width = now.keys.shape
    previous = now.previous
    x, y = previous[..., 0], previous[..., 1]
    outside = ~((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5))
    visible = np.zeros_like(outside)
    left, top = np.floor(np.where(outside, 0, x)), np.floor(np.where(outside, 0, y))
    keys = before.keys
    for right in (0, 1):
        for down in (0, 1):
            column = np.clip(left + right, 0, width - 1).astype(np.int32)
            row = np.clip(top + down, 0, height - 1).astype(np.int32)
            visible |= keys[row, column] == now.keys
    return outside | ~visible
