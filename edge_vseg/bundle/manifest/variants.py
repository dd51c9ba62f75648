"""Records about the graphs of a bundle: their files, their slices, and how they compare with float."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from edge_vseg.bundle.manifest.roofline import Roofline
from edge_vseg.bundle.manifest.tensors import Milliseconds, Spec, TensorSpec

Precision: TypeAlias = Literal["int8", "float", "float16"]
Status: TypeAlias = Literal["ok", "drop", "slower-than-float", "slower-than-asked"]


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
    latency_ms: Milliseconds | None
    float_latency_ms: Milliseconds | None

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
    latency_ms: Milliseconds | None = None


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
    latency_ms: Milliseconds | None = None


class PrecisionTrial(Spec, frozen=True, kw_only=True):
    """An int8 graph that was tried: more nodes in float, better agreement, longer duration.

    ``agreement`` is the share of output cells that are of the float graph's class, on calibration frames; where labels
    were learnt, of the trained network's before it is rounded. All were timed in turns where the bundle was made, if it
    is such a machine as they are for: ``latency_ms`` is the median and ``quartiles_ms`` the quartiles, ``speedup`` the
    float graph's time over this one's. Where ``estimated``, both come from times of nodes recorded on the device.
    """

    float_nodes: Annotated[int, msgspec.Meta(ge=0)]
    agreement: Annotated[float, msgspec.Meta(ge=0, le=1)]
    taken: bool
    latency_ms: Milliseconds | None = None
    quartiles_ms: tuple[float, float] | None = None
    speedup: float | None = None
    estimated: bool = False


class Variant(Spec, frozen=True, kw_only=True):
    """A graph for one runtime, precision and target.

    Attributes:
        id: Its name, and its folder in the bundle.
        status: ``drop`` differs from float by more than allowed; ``slower-than-float`` is what it says, and
            ``slower-than-asked`` is faster than float, but by less than ``--min-speedup``.
        reason: Why the status is not ``ok``.
        recipe: How it was quantized.
        float_nodes: Nodes of the float graph that are kept in float: by mixed precision, or since float16 cannot hold
            their values.
        trials: What mixed precision tried, fewest nodes in float first; empty if nothing was tried.
        ranked_by: Where the times came from by which mixed precision chose nodes; empty if it chose none.
        requires: CPU features without which ``parity`` does not hold.
        entry: The file to open.
        files: All files of the variant: whole graph, slices and tile graph.
        graph_bytes: Size of the whole graph alone, without slices and tile graph.
        parity: How it compares with the float graph; ``None`` if it was not compared.
        roofline: What bounds its time where the bundle was made; ``None`` if its operators could not be timed.
        slices: Parts of the graph, in the order in which they run.
        context: First slice, and one after the last, whose outputs may be carried over from an older frame.
        unsliced: Why there are no slices.
        slice_overhead: How much longer the slices took than the whole graph where the bundle was made, as a share.
        tile: The tile graph.
        untiled: Why there is no tile graph although one was asked for.
    """

    id: str
    runtime: str
    precision: Precision
    target: str
    status: Status
    entry: str
    files: tuple[str, ...]
    input: TensorSpec
    output: TensorSpec
    reason: str = ""
    recipe: str = ""
    float_nodes: tuple[str, ...] = ()
    trials: tuple[PrecisionTrial, ...] = ()
    ranked_by: str = ""
    requires: tuple[str, ...] = ()
    graph_bytes: int = 0
    parity: Parity | None = None
    roofline: Roofline | None = None
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
        made = {tensor.name: tensor for part in self.slices[first:last] for tensor in part.outputs}
        read = dict.fromkeys(tensor.name for part in self.slices[last:] for tensor in part.inputs)
        return tuple(made[name] for name in read if name in made)


class FailedVariant(Spec, frozen=True, kw_only=True):
    """A variant that could not be exported, and why; it has no files."""

    id: str
    runtime: str
    precision: Precision
    target: str
    reason: str

    @property
    def message(self) -> str:
        """Why there is no graph to open."""
        return f"its export failed: {self.reason or 'no reason given'}"
