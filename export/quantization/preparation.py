"""What all int8 graphs share: equalized channels, rounded weights, ranges, and the layers to keep in float first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.graph.index import prune, set_initializer
from edge_vseg.export.graph.input_stage import is_input_node
from edge_vseg.export.quantization.activations import activation_names, run_frames, watch_activations
from edge_vseg.export.quantization.equalization import equalize, find_groups
from edge_vseg.export.quantization.infinity import finite_part
from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS
from edge_vseg.export.quantization.ranges import RangeObserver
from edge_vseg.export.quantization.rounding import round_weights
from edge_vseg.export.quantization.score_range import ScoreObserver
from edge_vseg.export.quantization.sensitivity import Ranges, measure_noise
from edge_vseg.export.quantization.whole_input import with_whole_mean
from edge_vseg.types import Image

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedWeights:
    """What fine-tuning gives.

    Attributes:
        smooth: The float graph, channels equalized, with the trained weights before rounding.
        rounded: The same on the grid that was trained; other grids are found from ``smooth``.
        ranges: Learnt ranges of the activations that int8 graphs round.
        levels: Largest weight integer of that grid.
        by_truth: Whether labels were learnt as well, so that the network is no longer what the float graph is.
    """

    smooth: onnx.ModelProto
    rounded: onnx.ModelProto
    ranges: Ranges
    levels: int = FULL_LEVELS
    by_truth: bool = False


class Int8Preparation:
    """Prepares one network for int8; each part is made once, when it is first needed.

    Nothing here depends on which graphs are built from it, or in which order.

    Args:
        model: The canonical graph with the input ``frame``.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        seed: For the sampling of patches.
        thresholds: When mixed precision stops.
        progress: Called with a line on each step.
        like: The preparation of the same network at another input size, whose weights and ranges this one takes
            over, so that both round alike; all is found anew if the weights differ.
        trained: Weights and ranges to start from.
        grids: Largest weight integers that graphs will ask for: all are rounded to by one measurement.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        frames: Sequence[Image],
        seed: int,
        *,
        thresholds: ExportThresholds | None = None,
        progress: Progress = lambda step: None,
        like: Int8Preparation | None = None,
        trained: TrainedWeights | None = None,
        grids: Iterable[int] = (),
    ) -> None:
        self.model = model
        self.frames = frames
        self.thresholds = thresholds or ExportThresholds()
        self.check_frames = frames[:: -(-len(frames) // self.thresholds.int8_check_frames)]
        self._seed = seed
        self._progress = progress
        self._trained = trained
        self._grids = {FULL_LEVELS, *grids}  # ranges are measured on the full one
        self._rounded: dict[int, onnx.ModelProto] = {trained.levels: trained.rounded} if trained else {}
        self._like = like if like is not None and _same_weights(model, like.model) else None

    @property
    def shares_weights(self) -> bool:
        """Whether weights and ranges are those of ``like``."""
        return self._like is not None

    def with_trained(self, trained: TrainedWeights) -> Int8Preparation:
        """The preparation of the same network and frames, with weights and ranges that were trained."""
        return Int8Preparation(
            self.model,
            self.frames,
            self._seed,
            thresholds=self.thresholds,
            progress=self._progress,
            trained=trained,
            grids=self._grids,
        )

    @property
    def is_trained(self) -> bool:
        """Whether weights and ranges were trained."""
        return self._trained is not None or (self._like is not None and self._like.is_trained)

    @property
    def knows_truth(self) -> bool:
        """Whether labels were learnt."""
        if self._like is not None:
            return self._like.knows_truth
        return self._trained is not None and self._trained.by_truth

    @cached_property
    def equalized(self) -> onnx.ModelProto:
        """The float graph with its channels equalized."""
        if self._like:
            return _with_weights(self._with_bytes, self._like.equalized)
        if self._trained:
            return self._trained.smooth
        self._progress("equalizing channels")
        return equalize(self._with_bytes, _channel_reach(self._with_bytes, self.frames))

    @cached_property
    def _with_bytes(self) -> onnx.ModelProto:
        """The float graph with pixels that int8 represents exactly."""
        return with_whole_mean(self.model)

    @cached_property
    def ranges(self) -> Ranges:
        """Range of every float activation."""
        if self._like:
            return self._like.ranges
        rounded = self._rounded_to(self._trained.levels if self._trained else FULL_LEVELS)
        self._progress("measuring ranges")
        return measure_ranges(rounded, self.frames) | self.learnt_ranges

    @property
    def chosen_ranges(self) -> Ranges:
        """Those of :attr:`ranges` that are not the ones of least error: learnt ones, and those of scores."""
        scores = {name: self.ranges[name] for name in score_names(self.equalized) if name in self.ranges}
        return scores | self.learnt_ranges

    @property
    def learnt_ranges(self) -> Ranges:
        """Those of :attr:`ranges` that training has found, not measuring."""
        if self._like:
            return self._like.learnt_ranges
        return self._trained.ranges if self._trained else {}

    @cached_property
    def baseline(self) -> list[NDArray[np.float32]]:
        """What the float graph gives for :attr:`check_frames`."""
        return run_frames(self.model, self.check_frames)

    @cached_property
    def unrounded(self) -> list[NDArray[np.float32]]:
        """What an int8 graph would give for :attr:`check_frames` if it did not round.

        That is :attr:`baseline`, unless labels were learnt: then trained weights differ from the float graph's on
        purpose, and no node in float would bring them back.
        """
        return run_frames(self.equalized, self.check_frames) if self.knows_truth else self.baseline

    @cached_property
    def noise(self) -> dict[str, float]:
        """What rounding each activation alone changes in the output."""
        self._progress("finding the layers that int8 hurts")
        return measure_noise(self.equalized, self.ranges, self.check_frames[:1])

    def weights(self, float_nodes: Sequence[str], *, levels: int = FULL_LEVELS) -> onnx.ModelProto:
        """The float graph with weights on the int8 grid, except in the nodes that stay in float."""
        return _restore_weights(self._rounded_to(levels), self.equalized, float_nodes)

    def _rounded_to(self, levels: int) -> onnx.ModelProto:
        if self._like:
            return _with_weights(self._with_bytes, self._like._rounded_to(levels))
        if levels not in self._rounded:
            equalized = self.equalized
            self._progress("rounding weights")
            rng = np.random.default_rng(self._seed)
            missing = sorted({levels, *self._grids} - set(self._rounded))
            self._rounded |= round_weights(equalized, self.frames, rng, missing)
        return self._rounded[levels]


def measure_ranges(model: onnx.ModelProto, frames: Sequence[Image]) -> Ranges:
    """Least-error range of every activation, infinity left out.

    The input stage keeps the full range of a pixel; for scores see :mod:`~edge_vseg.export.quantization.score_range`.
    """
    observers = {name: RangeObserver() for name in activation_names(model)}
    scores = {name: ScoreObserver(len(frames)) for name in score_names(model) if name in observers}

    def see(name: str, value: NDArray[np.float32]) -> None:
        finite = finite_part(value)
        if finite.size:
            observers[name].see(finite)
        if name in scores and finite.size == value.size:
            scores[name].see(value)

    watch_activations(model, frames, list(observers), see)
    ranges = {name: o.least_error() for name, o in observers.items()}
    ranges |= {name: o.best() for name, o in scores.items() if o.has_seen}
    for node in model.graph.node:
        if is_input_node(node) and node.output[0] in ranges:
            ranges[node.output[0]] = _input_range(model, node)
    return ranges


def score_names(model: onnx.ModelProto) -> list[str]:
    """Outputs that are scores of several classes, ``(1, C, h, w)`` float."""
    found = []
    for output in model.graph.output:
        tensor = output.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        if tensor.elem_type == onnx.TensorProto.FLOAT and len(shape) == 4 and shape[1] > 1:
            found.append(output.name)
    return found


def _same_weights(model: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    """Whether two graphs have the same nodes, and their convolutions the same weights or the same that compute them."""
    if [(n.name, n.op_type) for n in model.graph.node] != [(n.name, n.op_type) for n in other.graph.node]:
        return False
    ours, theirs = ({t.name: t for t in m.graph.initializer} for m in (model, other))

    def same(a: str, b: str) -> bool:
        if a in ours and b in theirs:
            return np.array_equal(onnx.numpy_helper.to_array(ours[a]), onnx.numpy_helper.to_array(theirs[b]))
        return a == b and a not in ours and b not in theirs

    return all(
        len(x.input) == len(y.input) and all(map(same, x.input[1:], y.input[1:]))
        for x, y in zip(model.graph.node, other.graph.node, strict=True)
        if x.op_type == "Conv"
    )


def _with_weights(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with the weights that the convolutions of the same names have in ``source``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    original = {n.name: n for n in source.graph.node}
    tensors = {t.name: t for t in source.graph.initializer}
    for node in copy.graph.node:
        if node.op_type == "Conv":
            names = original[node.name].input[1:]
            del node.input[1:]
            node.input.extend(names)
            for name in names:
                if name in tensors:  # others are computed
                    set_initializer(copy.graph, name, onnx.numpy_helper.to_array(tensors[name]))
    prune(copy)
    return copy


def _restore_weights(
    rounded: onnx.ModelProto, equalized: onnx.ModelProto, float_nodes: Sequence[str]
) -> onnx.ModelProto:
    """``rounded`` with the unrounded weights of ``equalized`` in the nodes that stay in float."""
    if not float_nodes:
        return rounded
    copy = onnx.ModelProto()
    copy.CopyFrom(rounded)
    original = {n.name: n for n in equalized.graph.node}
    tensors = {t.name: t for t in equalized.graph.initializer}
    have = {t.name for t in copy.graph.initializer}
    for node in copy.graph.node:
        if node.name not in float_nodes or node.op_type != "Conv":
            continue
        source = original[node.name]
        del node.input[1:]
        node.input.extend(source.input[1:])
        for name in source.input[1:]:
            if name in tensors and name not in have:  # others are computed
                copy.graph.initializer.append(tensors[name])
                have.add(name)
    used = {name for n in copy.graph.node for name in n.input}
    kept = [t for t in copy.graph.initializer if t.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def _channel_reach(model: onnx.ModelProto, frames: Sequence[Image]) -> dict[str, NDArray[np.float64]]:
    reach: dict[str, NDArray[np.float64]] = {}

    def see(name: str, value: NDArray[np.float32]) -> None:
        largest = np.abs(value[0]).max((1, 2)).astype(np.float64)
        reach[name] = np.maximum(reach.get(name, 0.0), largest)

    watch_activations(model, frames, sorted({t for group in find_groups(model) for t in group.tensors}), see)
    return reach


def _input_range(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[float, float]:
    """Range of an input-stage tensor over all pixels that can occur, not only those that did."""
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    extremes = [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)]
    seen: list[float] = [0.0]
    watch_activations(model, extremes, [node.output[0]], lambda _, v: seen.extend((float(v.min()), float(v.max()))))
    return min(seen), max(seen)
