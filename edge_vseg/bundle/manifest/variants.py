"""Records about the graphs of a bundle: their files, their slices, and how they compare with float."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from edge_vseg.bundle.manifest.tensors import Spec, TensorSpec

Precision: TypeAlias = Literal["int8", "float", "float16"]
Status: TypeAlias = Literal["ok", "drop", "slower-than-float", "failed"]


class ClassIoU(Spec, frozen=True, kw_only=True):
    """IoU of one class between a variant and the float graph; ``None`` where neither shows it."""

    name: str
    iou: float | None


class Parity(Spec, frozen=True, kw_only=True):
    """A variant against the canonical float graph on frames that calibration never saw.

    Latencies were taken where the bundle was made, in one run for all variants of a runtime; ``None``
    where the variant is meant for another kind of machine.
    """

    frames: int
    pixel_agreement: float
    mean_iou: float
    iou: tuple[ClassIoU, ...]
    sqnr_db: float | None
    worst_frame: int
    worst_agreement: float
    latency_ms: float | None
    float_latency_ms: float | None

    @property
    def speedup(self) -> float | None:
        """Float latency over this variant's, same runtime, same run."""
        if not self.latency_ms or not self.float_latency_ms:
            return None
        return self.float_latency_ms / self.latency_ms


class Slice(Spec, frozen=True, kw_only=True):
    """A part of a variant's graph, a file of its own.

    Run in order, each fed with the frame and what earlier ones gave, the slices of a variant give what
    the whole graph gives. ``latency_ms`` was taken where the bundle was made.
    """

    entry: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    latency_ms: float | None = None


class TileGraph(Spec, frozen=True, kw_only=True):
    """The variant's network with a smaller input, a file of its own, for parts of a frame.

    A tile begins at multiples of 32 pixels, or ends where the frame ends; its scores have the stride of the whole
    graph's. Those within ``halo`` pixels of a side do not count, for they lack what surrounds them, but for sides that
    are the frame's own. ``agreement`` is the share of the others that are of the same class as the whole graph's, on
    validation frames; ``latency_ms`` was taken where the bundle was made.
    """

    entry: str
    input: TensorSpec
    output: TensorSpec
    halo: Annotated[int, msgspec.Meta(ge=0)]
    agreement: Annotated[float, msgspec.Meta(ge=0, le=1)]
    latency_ms: float | None = None


class Variant(Spec, frozen=True, kw_only=True):
    """One graph for one runtime, precision and target.

    ``requires`` names CPU features without which the variant's figures do not hold. ``context`` are the
    first slice, and the one after the last, of the part whose results may be carried over from an older frame
    while the slices before and after it run on the present one. ``unsliced`` says why there are no slices,
    ``slice_overhead`` how much longer they took all together than the whole graph, as a share, where the bundle was
    made. ``untiled`` says why there is no tile graph although one was asked for.
    """

    id: str
    runtime: str
    precision: Precision
    target: str
    status: Status
    reason: str = ""
    recipe: str = ""
    requires: tuple[str, ...] = ()
    entry: str = ""
    files: tuple[str, ...] = ()
    input: TensorSpec | None = None
    output: TensorSpec | None = None
    parity: Parity | None = None
    bytes: int = 0
    slices: tuple[Slice, ...] = ()
    context: tuple[int, int] | None = None
    unsliced: str = ""
    slice_overhead: float | None = None
    tile: TileGraph | None = None
    untiled: str = ""

    @property
    def carried(self) -> tuple[TensorSpec, ...]:
        """The tensors that the slices after the context read from it: what is carried along the motion."""
        if self.context is None:
            return ()
        first, last = self.context
        given = {tensor.name: tensor for part in self.slices[first:last] for tensor in part.outputs}
        read = dict.fromkeys(tensor.name for part in self.slices[last:] for tensor in part.inputs)
        return tuple(given[name] for name in read if name in given)

    @property
    def usable(self) -> bool:
        """Whether there is a graph to open."""
        return self.status != "failed"
