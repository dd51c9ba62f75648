"""Options of a training run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import msgspec

from edge_vseg.errors import OptionError
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.types import Size

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["poly", "one-cycle", "constant"]
Keep = Literal["last", "best"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Options of a training run. With the data they determine every step.

    Attributes:
        network: ``small``, ``middle``, ``large`` or ``middle_thin``.
        epochs: Passes over the CamVid frames.
        batch: Crops per step.
        crop_hw: Size of a crop, multiples of 32.
        frame_hw: Size that labelled frames are resized to when they are read, before they are cropped or judged: the
            input size of the bundle to be. ``None`` leaves them as they are.
        optimizer: ``adamw`` or ``sgd`` (momentum 0.9).
        schedule: Learning rate after the warm-up: ``poly`` (power 0.9) or ``one-cycle`` (cosine), both to zero, or
            ``constant``, where averaging the weights replaces a falling rate and overfits less (Izmailov et al.,
            Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018).
        learning_rate: Peak learning rate.
        warmup: Share of the steps with a rising learning rate.
        weight_decay: On convolution weights only.
        ema: Decay of the moving average of the weights; the average is evaluated and saved.
        scale: Smallest and largest scale of a crop.
        hard_share: Share of the labelled pixels in the label loss, those with the largest loss (OHEM); 1 uses all.
        class_weight_floor: ``c`` of the weights ``1 / log(c + share of the class)`` (Paszke et al., ENet, 2016);
            larger is flatter, 5 is nearly flat.
        auxiliary: Weight of the loss on the context alone.
        jaccard: Weight of the Lovász-Softmax loss, which optimises IoU.
        rare: Share of the crops that are chosen for a class, rare ones more often, and lie around it.
        boundary: Weight that pixels within two of a class border get on top of 1: for thin things.
        relaxed: 1 asks pixels beside a class border for any of the classes that meet there, 0 for their own.
        confidence: 1 weighs a pixel in the label losses by how sure its label is, if the data say so; 0 does not.
        pasted: Share of the crops with objects pasted from another crop; each class of things is as likely.
        things: Names of the classes whose objects can be counted and pasted; ``None`` for those of the usual names.
        aged: Share of the crops with the context of an older view.
        streets: Number of rendered frames to mix in; 0 for none.
        streets_share: Share of rendered crops in a batch.
        response: Weight of the response distillation.
        feature: Weight of the feature distillation.
        relation: Weight of the relation distillation.
        consistency: Weight of the temporal consistency loss on pairs of rendered frames, or of frames of a video.
        pairs: Frame pairs per step, if ``consistency`` is not 0.
        frozen: 1 leaves stem and context as they start, batch statistics too, and trains the rest.
        seed: Random seed.
        evaluate_every: Epochs between evaluations.
        keep: Save the average of the ``last`` step, or of the ``best`` evaluation, whose mIoU is then biased upwards.
    """

    network: str = "middle"
    epochs: int = 300
    batch: int = 8
    crop_hw: Size = (288, 384)
    frame_hw: Size | None = None
    optimizer: Optimizer = "adamw"
    schedule: Schedule = "poly"
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.02
    ema: float = 0.998
    scale: tuple[float, float] = (0.6, 1.9)
    hard_share: float = 1.0
    class_weight_floor: float = 5.0
    auxiliary: float = 0.4
    jaccard: float = 0.0
    rare: float = 0.0
    boundary: float = 0.0
    relaxed: int = 0
    confidence: int = 1
    pasted: float = 0.0
    things: tuple[str, ...] | None = None
    aged: float = 0.4
    streets: int = 0
    streets_share: float = 0.25
    response: float = 0.0
    feature: float = 0.0
    relation: float = 0.0
    consistency: float = 0.0
    pairs: int = 2
    frozen: int = 0
    seed: int = 0
    evaluate_every: int = 10
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            OptionError: If a name is unknown or a number out of range; the message names the field.
        """
        known: dict[str, tuple[str, ...]] = {
            "network": tuple(SPECS),
            "optimizer": ("adamw", "sgd"),
            "schedule": ("poly", "one-cycle", "constant"),
            "keep": ("last", "best"),
        }
        for name, names in known.items():
            if getattr(self, name) not in names:
                raise OptionError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(names)}")
        for name in ("epochs", "batch", "evaluate_every", "pairs"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch < 2:
            raise OptionError("batch must be at least 2: batch normalization has nothing to average over otherwise")
        if any(side < 64 or side % 32 for side in self.crop_hw):
            raise OptionError(f"crop_hw must be multiples of 32, at least 64, got {self.crop_hw}")
        if self.frame_hw is not None and min(self.frame_hw) < 64:
            raise OptionError(f"frame_hw must be at least 64 a side, got {self.frame_hw}")
        if self.things is not None and not self.things:
            raise OptionError("things must name a class; leave it out for the usual names")
        for name in ("warmup", "ema", "rare", "pasted", "aged", "streets_share", "hard_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.boundary < 0:
            raise OptionError(f"boundary must not be negative, got {self.boundary}")
        for name in ("relaxed", "confidence", "frozen"):
            if getattr(self, name) not in (0, 1):
                raise OptionError(f"{name} must be 0 or 1, got {getattr(self, name)}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise OptionError(f"scale must be a positive range, got {self.scale}")
        if self.learning_rate <= 0 or self.class_weight_floor <= 1 or self.hard_share == 0:
            raise OptionError("learning_rate and hard_share must be positive, class_weight_floor above 1")

    def tree(self) -> dict[str, Any]:
        """The options as JSON types."""
        tree = msgspec.json.decode(msgspec.json.encode(self))
        assert isinstance(tree, dict)
        return tree

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> TrainConfig:
        """Read options from JSON types, as :meth:`tree` returns them.

        Raises:
            OptionError: If an option is unknown or a value invalid.
        """
        names = {field.name for field in fields(cls)}
        if unknown := sorted(tree.keys() - names):
            raise OptionError(f"unknown training option {unknown[0]!r}; known: {', '.join(sorted(names))}")
        try:
            return msgspec.convert(tree, cls)
        except msgspec.ValidationError as exc:
            raise OptionError(f"invalid training option: {exc}") from exc
