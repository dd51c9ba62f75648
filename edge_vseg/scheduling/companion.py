"""A companion: a second, faster network with the same classes, run on the frame at hand and fused with a carried map.

Reference: Jain et al., Accel: A Corrective Fusion Network for Efficient Semantic Segmentation on Video, CVPR 2019. Its
update branch is a second network on every frame, its fusion a trained 1x1 convolution. Here any two bundles go
together: nothing is trained, and the weight follows from the age of the carried map.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Letterbox, Variant
from edge_vseg.errors import OptionError, SessionError
from edge_vseg.imaging.class_probabilities import class_probabilities
from edge_vseg.imaging.label_maps import read_logits
from edge_vseg.imaging.letterbox import FramePlace, border_color
from edge_vseg.imaging.preprocess import Preprocessor
from edge_vseg.runtimes import Session
from edge_vseg.runtimes.checked_run import run_checked
from edge_vseg.runtimes.chosen_network import ChosenNetwork, NetworkChoice, choose_network
from edge_vseg.types import ColorOrder, Image, Probabilities, Size

log = logging.getLogger(__name__)

WEIGHT_PER_S = 0.975
"""Weight of the companion against a carried map, for each second of the map's age."""
MAX_WEIGHT = 0.6
"""Its weight against the oldest maps.

Both measured by benchmarks/companion.py at 15 frames a second. Weights by the drift of a cell are no better, and depend
on how drift was calibrated.
"""


def companion_weight(age_ms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of the companion's probabilities, 0 to 1, against carried cells of these ages, ``(h, w)`` float32."""
    return np.asarray(np.clip(np.float32(WEIGHT_PER_S / 1e3) * age_ms, 0, np.float32(MAX_WEIGHT)), np.float32)


class Companion:
    """Gives a companion's probabilities in the cells of the network that it accompanies.

    Args:
        bundle: The companion's bundle.
        variant: Its variant.
        session: Open session of its whole graph; closed with the companion.
        cells_hw: Size of the network's scores.
        color: Colour order of the frames.
        border: Colour of the border around letterboxed frames that it was made for, in that order; ``None`` where the
            network that it accompanies has the same.

    Attributes:
        bundle_sha256: Identifies the companion's bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        session: Session,
        *,
        cells_hw: Size,
        color: ColorOrder,
        border: tuple[int, int, int] | None = None,
    ) -> None:
        self.bundle_sha256 = bundle.sha256
        self._root = bundle.root
        self._head = bundle.manifest.head
        self._variant = variant
        self._session = session
        self._cells: Size = cells_hw
        self._border = border
        self._preprocess = Preprocessor(bundle.manifest.frame, variant.input, color=color)

    def probabilities(self, image: Image, place: FramePlace | None = None) -> Probabilities:
        """Class probabilities of an image, ``(C, h, w)`` float32, the caller's own.

        Args:
            image: ``(H, W, 3)`` uint8, as the network that it accompanies sees it.
            place: Where the frame lies in it; ``None`` for all of it.

        Raises:
            SessionError: If the runtime fails.
        """
        output = self._variant.output
        if place is not None and self._border is not None:
            image = place.repaint(image, self._border)
        try:
            raw = run_checked(self._session, {self._variant.input.name: self._preprocess(image)}, (output,))
        except SessionError as exc:
            raise SessionError(f"the companion {self._root} failed: {exc}") from exc
        logits = read_logits(raw[output.name], output, self._head)
        assert logits is not None
        return _resized(class_probabilities(logits, self._head), self._cells)

    def close(self) -> None:
        """Close its session."""
        self._session.close()


def open_companion(path: str | Path, network: ChosenNetwork, choice: NetworkChoice, color: ColorOrder) -> Companion:
    """Open a companion by the rules of the network that it accompanies.

    Args:
        path: Folder of its bundle.
        network: The network.
        choice: How that one was chosen.
        color: Colour order of the frames.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no variant can be opened.
        OptionError: If it cannot accompany the network.
    """
    bundle = open_bundle(path)
    check_companion(network.bundle, bundle)
    if choice.variant:  # an id of the network's own bundle
        variant = network.variant
        choice = replace(choice, variant="", runtime=variant.runtime, precision=variant.precision)
    chosen = choose_network(bundle, choice)
    session = chosen.open_whole()
    log.info("opened the companion %s, %s on %s", bundle.root, chosen.variant.id, session.provider)
    cells_hw = network.bundle.manifest.head.size_hw
    box = bundle.manifest.frame.resize
    same = box == network.bundle.manifest.frame.resize
    border = border_color(box, color) if isinstance(box, Letterbox) and not same else None
    return Companion(bundle, chosen.variant, session, cells_hw=cells_hw, color=color, border=border)


def check_companion(bundle: Bundle, companion: Bundle) -> None:
    """Raise OptionError, which names both bundles, if one cannot accompany the other."""
    roots = f"{companion.root} cannot accompany {bundle.root}"
    own, other = (each.manifest for each in (bundle, companion))
    for each in (bundle, companion):
        if each.manifest.head.kind == "labels":
            raise OptionError(f"{roots}: {each.root} gives label maps, and fusion needs scores; export it with scores")
    ours, theirs = ([label.name for label in each.labels] for each in (own, other))
    if ours != theirs:
        raise OptionError(
            f"{roots}: their classes differ ({', '.join(theirs)}; not {', '.join(ours)}); both need the same, in the"
            " same order"
        )
    boxes = [isinstance(each.frame.resize, Letterbox) for each in (own, other)]
    (height, width), (other_height, other_width) = own.frame.size_hw, other.frame.size_hw
    if boxes[0] != boxes[1] or (boxes[0] and height * other_width != width * other_height):
        raise OptionError(
            f"{roots}: frames lie elsewhere in its input; export both with the same aspect and rule for other sizes"
        )


def _resized(probabilities: Probabilities, size_hw: Size) -> Probabilities:
    if probabilities.shape[1:] == size_hw:
        return probabilities
    # Means of cells where there are more than enough, and lines between them where there are too few.
    shrinks = probabilities.shape[1] >= size_hw[0] and probabilities.shape[2] >= size_hw[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(plane, (size_hw[1], size_hw[0]), interpolation=how) for plane in probabilities])
