"""A torch module of any kind that labels frames."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import ModelFileError
from edge_vseg.export.source.torch_module import open_torch
from edge_vseg.export.source.user_error import user_error
from edge_vseg.types import Image, LabelMap

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModuleAnswer:
    """What a module says of a frame.

    Attributes:
        labels: ``(H, W)`` uint8 class ids.
        uncertainty: ``(H, W)`` float32, one minus the winning class's probability.
    """

    labels: LabelMap
    uncertainty: NDArray[np.float32]


class LabellingModule:
    """Gives a module frames as it was trained on them, at their own size, and makes label maps of its scores.

    Args:
        source: ``package.module:factory``, ``path/file.py:factory``, or weights of a reference network, as for export.

    Attributes:
        labels: Its classes.

    Raises:
        ModelFileError: If the factory cannot be found or fails, or does not say of its module how images are normalized
            and what its classes are.
    """

    def __init__(self, source: str) -> None:
        found = open_torch(source, None)
        for note in found.notes:
            log.warning("%s: %s", source, note)
        if found.normalization is None or found.labels is None:
            raise ModelFileError(
                f"{source} does not say what its classes are and how its images are normalized: give the module the"
                " attributes labels, such as ['road', 'car'], and normalization, such as"
                " {'mean': (123.7, 116.3, 103.5), 'scale': (58.4, 57.1, 57.4)}"
            )
        self.labels: tuple[Label, ...] = found.labels
        self._source, self._module, self._normalization = source, found.module.float(), found.normalization

    def __call__(self, image: Image) -> ModuleAnswer:
        """Label an image, ``(H, W, 3)`` uint8 BGR.

        Raises:
            ModelFileError: If the module does not run on it, or scores another number of classes than it names.
        """
        norm, size_hw = self._normalization, image.shape[:2]
        pixels = image if norm.color == "bgr" else image[..., ::-1]
        given = (pixels - np.array(norm.mean, np.float32)) / np.array(norm.scale, np.float32)
        try:
            with torch.no_grad():
                scores = self._module(torch.from_numpy(given.transpose(2, 0, 1)[None].copy()))
        except Exception as exc:  # the user's code
            raise ModelFileError(f"{self._source} does not run on frames of {size_hw}: {user_error(exc)}") from exc
        if scores.ndim != 4 or scores.shape[1] != len(self.labels):
            raise ModelFileError(
                f"{self._source} gives {tuple(scores.shape)}; expected scores (1, {len(self.labels)}, h, w) for the"
                f" {len(self.labels)} classes that it names"
            )
        large = torch.nn.functional.interpolate(scores.float(), size_hw, mode="bilinear", align_corners=False)
        best, labels = large.softmax(1)[0].max(0)
        return ModuleAnswer(labels=labels.numpy().astype(np.uint8), uncertainty=(1 - best).numpy())
