"""A two-branch segmentation network made for feature reuse.

Like BiSeNet (Yu et al., ECCV 2018), DDRNet (Hong et al., 2021) and PIDNet (Xu et al., CVPR 2023), with one difference:
the context path joins the detail path only at its end. All heavy layers end in one tensor at stride 8, the context. It
can be computed rarely, or in slices over several frames, and warped along the optical flow in between; the layers that
run on every frame are light.

With ``own_stem`` they are lighter still: the stem runs with the context, the detail path has a thin one of its own, and
the context's half of the head's convolution, which is linear, runs with the context, too. AR-Seg (Hu et al., CVPR 2023)
makes the frames in between cheap by halving their size instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.reference.zoo.blocks import Activation, Plain, activation_layer, block, conv_norm
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE, STEM_STRIDE, NetworkSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """A part of a network that can run on its own.

    Attributes:
        name: ``stem``, ``context`` or ``detail``.
        module: Takes the ``inputs`` in order and returns the ``output``.
        inputs: Names of the input tensors; ``image`` is the input of the network.
        output: Name of the output tensor; ``scores`` is the output of the network.
        reusable: Whether the output of an older frame, warped, can replace a new one.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    reusable: bool


class Stem(nn.Sequential):  # type: ignore[misc]  # torch is outside the type check
    """Image to features at stride 8: three 3x3 convolutions of stride 2."""

    def __init__(self, spec: NetworkSpec) -> None:
        widths = (3, *spec.stem)
        super().__init__(*(Plain(before, after, 2, spec.activation) for before, after in pairwise(widths)))


class Pyramid(nn.Module):  # type: ignore[misc]
    """Pyramid pooling over strides 32, 64 and 128 (Zhao et al., PSPNet, CVPR 2017).

    The pools are depthwise convolutions initialised as averages: int8 average pooling is slow or missing on two of the
    three runtimes.
    """

    def __init__(self, channels: int, out: int, activation: Activation) -> None:
        super().__init__()
        self.pools = nn.ModuleList((_pool(channels, 5), _pool(channels, 3)))
        self.projections = nn.ModuleList(conv_norm(channels, out, 1) for _ in range(3))
        self.act = activation_layer(activation)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        size = value.shape[-2:]
        total = self.projections[0](value)
        for pool, project in zip(self.pools, list(self.projections)[1:], strict=True):
            value = pool(value)
            total = total + _resize(project(value), size)
        return self.act(total)


class ContextBranch(nn.Module):  # type: ignore[misc]
    """Features at stride 8 to the context: strides 16 and 32, pyramid pooling, and parallel blocks at stride 8."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        thin, (wide, widest), act = spec.stem[-1], spec.deep, spec.activation
        self.beside = nn.Sequential(*(block(kind, thin, thin, 1, act) for kind in spec.context_blocks))
        self.stride16 = _stage(spec, thin, wide, spec.deep_blocks[0])
        self.stride32 = _stage(spec, wide, widest, spec.deep_blocks[1])
        self.pyramid = Pyramid(widest, wide, act)
        self.lateral = conv_norm(wide, wide, 1)
        self.merge = nn.Sequential(activation_layer(act), Plain(wide, wide, 1, act), conv_norm(wide, thin, 1))
        self.act = activation_layer(act)

    def forward(self, shared: torch.Tensor) -> torch.Tensor:
        middle = self.stride16(shared)
        deep = self.pyramid(self.stride32(middle))
        merged = self.merge(self.lateral(middle) + _resize(deep, middle.shape[-2:]))
        return self.act(self.beside(shared) + _resize(merged, shared.shape[-2:]))


class OwnContext(nn.Module):  # type: ignore[misc]
    """Image to the context's half of the head's convolution, at stride 8; not activated."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.stem = Stem(spec)
        self.branch = ContextBranch(spec)
        self.head = nn.Conv2d(spec.stem[-1], spec.head, 3, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.branch(self.stem(image)))


class OwnStem(nn.Sequential):  # type: ignore[misc]
    """Image to thin features at stride 8: 7x7 of stride 4, 3x3 of stride 2. Stride 2 alone would cost twice as much."""

    def __init__(self, spec: NetworkSpec) -> None:
        first, second = spec.own_stem
        entry = nn.Sequential(conv_norm(3, first, 7, 4), activation_layer(spec.activation))
        super().__init__(entry, Plain(first, second, 2, spec.activation))


class OwnDetail(nn.Module):  # type: ignore[misc]
    """What runs on every frame in a network whose detail path has its own stem: all of it thin up to the head.

    Its half of the head is a 1x1 convolution: two blocks of 48 channels before it cost as much as a 3x3 one behind a
    block of 32.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        width, factor = spec.own_stem[-1], STEM_STRIDE // SCORES_STRIDE
        self.stem = OwnStem(spec)
        self.blocks = nn.Sequential(*(block(kind, width, width, 1, spec.activation) for kind in spec.detail_blocks))
        self.head = conv_norm(width, spec.head, 1)
        self.act = activation_layer(spec.activation)
        self.scores = nn.Conv2d(spec.head, spec.classes * factor * factor, 1)
        self.spread = nn.PixelShuffle(factor)

    def forward(self, image: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.spread(self.scores(self.act(self.head(self.blocks(self.stem(image))) + context)))


class DetailBranch(nn.Module):  # type: ignore[misc]
    """Runs on every frame after the stem: detail blocks, fusion with the context, head.

    The head computes four sets of logits per cell of stride 8; depth-to-space rearranges them to stride 4.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        thin, factor = spec.stem[-1], STEM_STRIDE // SCORES_STRIDE
        self.blocks = nn.Sequential(*(block(kind, thin, thin, 1, spec.activation) for kind in spec.detail_blocks))
        self.head = Plain(thin, spec.head, 1, spec.activation)
        self.scores = nn.Conv2d(spec.head, spec.classes * factor * factor, 1)
        self.spread = nn.PixelShuffle(factor)

    def forward(self, shared: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.spread(self.scores(self.head(self.blocks(shared) + context)))


class TwoBranch(nn.Module):  # type: ignore[misc]
    """Stem, context and detail; see the module docstring.

    Takes ``(N, 3, H, W)`` float32, normalised; returns ``(N, classes, H, W)`` logits.

    Attributes:
        stem: What context and detail share; gives the image as it is where ``spec.own_stem`` is set.
        context: Takes what the stem gives.
        detail: Takes what the stem gives, and the context.
        normalization: What an export normalizes its images by, unless it is told otherwise.
        labels: The classes, which an export takes unless it is told otherwise; numbered ones if nobody has named them.
    """

    normalization: ClassVar[Normalization] = Normalization(
        mean=(110.0, 110.0, 110.0), scale=(75.0, 75.0, 75.0), color="bgr"
    )

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.labels: tuple[Label, ...] = numbered_labels(spec.classes)
        self.stem: nn.Module = nn.Identity() if spec.own_stem else Stem(spec)
        self.context: nn.Module = OwnContext(spec) if spec.own_stem else ContextBranch(spec)
        self.detail: nn.Module = OwnDetail(spec) if spec.own_stem else DetailBranch(spec)

    @property
    def backbone(self) -> tuple[nn.Module, nn.Module]:
        """Image to features at stride 8, and those to the context: what training with ``frozen`` leaves as it is."""
        return (self.context.stem, self.context.branch) if self.spec.own_stem else (self.stem, self.context)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shared = self.stem(image)
        return _resize(self.detail(shared, self.context(shared)), image.shape[-2:])

    def stages(self) -> tuple[Stage, ...]:
        """The stages: stem and detail run on every frame, the context can be reused.

        A stem that is not shared belongs to the context, and the first stage does nothing.

        Run in order they give the logits at stride 4, which ``forward`` resizes to the image.
        """
        return (
            Stage(name="stem", module=self.stem, inputs=("image",), output="shared", reusable=False),
            Stage(name="context", module=self.context, inputs=("shared",), output="context", reusable=True),
            Stage(name="detail", module=self.detail, inputs=("shared", "context"), output="scores", reusable=False),
        )


def _stage(spec: NetworkSpec, channels: int, out: int, blocks: int) -> nn.Module:
    down = Plain(channels, out, 2, spec.activation)
    return nn.Sequential(down, *(block(spec.block, out, out, 1, spec.activation) for _ in range(blocks)))


def _pool(channels: int, kernel: int) -> nn.Module:
    pool = nn.Conv2d(channels, channels, kernel, 2, kernel // 2, groups=channels, bias=False)
    nn.init.constant_(pool.weight, 1 / kernel**2)
    return pool


def _resize(value: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return functional.interpolate(value, size, mode="bilinear", align_corners=False)
