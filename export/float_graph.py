"""The float graph of a network, and its comparison with the network itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import HeadSpec, Label
from edge_vseg.errors import ExportError, HeadError, ModelFileError
from edge_vseg.export.error_text import failure_reason, last_line
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.head import Head, cut_head
from edge_vseg.export.graph.input_stage import Normalization, add_input_stage
from edge_vseg.export.graph.interface import ImageInput, find_image_input
from edge_vseg.export.quantization.activations import activation_names, open_float, run_frames, watch_activations
from edge_vseg.export.source.source_network import SourceNetwork
from edge_vseg.imaging.label_maps import LabelMapper, best_class, resize_labels
from edge_vseg.types import Image, LabelMap, Size

log = logging.getLogger(__name__)
_SAME_SCORES = 1e-3
"""Largest difference, as a share of the largest score, that float arithmetic in another order makes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatGraph:
    """The graph that all variants are made from.

    Attributes:
        model: uint8 NHWC BGR ``frame`` in, ``scores`` or ``labels`` out.
        image: The source's own image input, at the size chosen.
        size_hw: Input size.
        head: What it gives.
        labels: The classes.
    """

    model: onnx.ModelProto
    image: ImageInput
    size_hw: Size
    head: Head
    labels: tuple[Label, ...]

    @property
    def head_spec(self) -> HeadSpec:
        """The head as the manifest says it."""
        head = self.head
        scores: Literal["probabilities"] | msgspec.UnsetType = "probabilities" if head.probabilities else msgspec.UNSET
        return HeadSpec(kind=head.kind, size_hw=head.size_hw, cut=head.cut, align=head.align, scores=scores)


def make_float_graph(network: SourceNetwork, options: ExportOptions) -> FloatGraph:
    """Bring a network to the canonical form, cut its head, and give it the input that devices feed.

    Raises:
        SourceError: One of its kinds, if the network or the classes do not fit.
    """
    return finish_float_graph(*canonicalize(network.model, options.size_hw), options)


def finish_float_graph(canonical: onnx.ModelProto, image: ImageInput, options: ExportOptions) -> FloatGraph:
    """Cut the head of a network in canonical form, and give it the input that devices feed; constants keep their names.

    Raises:
        SourceError: One of its kinds, if the network or the classes do not fit.
    """
    norm = options.normalization or Normalization()
    _refuse_second_normalization(image, norm)
    cut, head = cut_head(canonical, None if options.labels is None else len(options.labels))
    model = add_input_stage(cut, image, norm)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ModelFileError(
            f"the network's shapes contradict each other: {last_line(exc)}; it may be damaged"
        ) from exc
    size = cast(Size, image.size_hw)
    labels = choose_labels(options.labels, head)
    return FloatGraph(model=model, image=image, size_hw=size, head=head, labels=labels)


def _refuse_second_normalization(image: ImageInput, norm: Normalization) -> None:
    kind = onnx.helper.tensor_dtype_to_np_dtype(image.dtype)
    if not np.issubdtype(kind, np.floating):
        norm.refuse_second(f"the network takes {kind} images")


def choose_labels(labels: tuple[Label, ...] | None, head: Head) -> tuple[Label, ...]:
    """The classes asked for, or numbered ones.

    Raises:
        HeadError: If their count disagrees with the graph, or a label map comes without any.
    """
    if head.kind == "labels" and not head.classes:
        if labels is None:
            raise HeadError("the network gives a finished label map, which does not tell its classes; give --classes")
        return labels
    if labels is None:
        return numbered_labels(head.classes)
    if len(labels) != head.classes:
        raise HeadError(f"--classes names {len(labels)} classes, the network gives {head.classes}; make them agree")
    return labels


def check_against_source(
    graph: FloatGraph, network: SourceNetwork, norm: Normalization, frames: list[Image], *, min_agreement: float
) -> float:
    """Share of pixels in which the canonical graph and the network as it came give the same class.

    Args:
        graph: The canonical graph.
        network: The network as it came, with its own head.
        norm: What it expects.
        frames: ``(H, W, 3)`` uint8 BGR at the input size.
        min_agreement: Least share of pixels that must agree.

    Raises:
        ExportError: If fewer do.
    """
    mapper = LabelMapper(graph.size_hw, graph.head.align)
    same = []
    # The network first: a damaged one is refused by name.
    inputs = [_own_input(graph, norm, frame) for frame in frames]
    outputs = [_own_labels(network.run(value), graph) for value in inputs]
    for theirs, output in zip(outputs, run_frames(graph.model, frames), strict=True):
        if graph.head.kind != "scores":
            ours = output[0].astype(np.uint8)
        elif theirs.shape == graph.head.size_hw:  # its own head enlarges nothing, so that nothing may be made up here
            ours = best_class(np.asarray(output[0], np.float32))
        else:
            ours = mapper(output[0])
        same.append(float(np.mean(resize_labels(ours, theirs.shape[:2]) == theirs)))
    agreement = float(np.mean(same))
    if agreement < min_agreement:
        raise ExportError(
            f"the float graph agrees with the network in only {agreement:.2%} of the pixels,"
            f" {min_agreement:.0%} are needed: {_why_other(graph, network, inputs, outputs, min_agreement)}"
        )
    return agreement


def _why_other(
    graph: FloatGraph,
    network: SourceNetwork,
    inputs: list[NDArray[np.float32]],
    outputs: list[LabelMap],
    min_agreement: float,
) -> str:
    """Which step made another network of it, found by running what lies between, and what to do."""
    raw = [network.run(value) for value in inputs]
    again = [_own_labels(each, graph) for each in raw]
    if any((first != second).any() for first, second in zip(outputs, again, strict=True)):
        return (
            "it gives another result each time it runs on the same image, so dropout, noise or batch statistics are"
            " on; call eval() in the factory, or export it in evaluation mode"
        )
    session, batch = open_float(network.model), find_image_input(network.model).batch or 1
    feeds = [{graph.image.name: np.repeat(value, batch, axis=0)} for value in inputs]
    between = [session.run(None, feed)[0] for feed in feeds]
    traced = [_own_labels(each, graph) for each in between]
    share = float(np.mean([np.mean(first == second) for first, second in zip(outputs, traced, strict=True)]))
    largest = max(float(np.abs(each.astype(np.float64)).max()) for each in raw)
    apart = max(float(np.abs(a.astype(np.float64) - b[:1]).max()) for a, b in zip(raw, between, strict=True))
    if share < min_agreement and np.issubdtype(raw[0].dtype, np.floating) and apart <= _SAME_SCORES * largest:
        return (
            f"its scores are the same in the ONNX graph but for rounding ({apart:.2g} of {largest:.2g}), so classes are"
            " nearly tied, as in a network that is not trained; give its --weights"
        )
    if share < min_agreement:
        return (
            f"already the ONNX graph that {'torch.onnx.export made of it' if network.kind == 'torch' else 'was read'}"
            f" agrees in only {share:.2%}; look for operators that ONNX defines in another way, or export it to ONNX"
            " by yourself and give that file"
        )
    cut = ", ".join(graph.head.cut) or "nothing"
    return (
        f"its ONNX graph agrees in {share:.2%}, so simplifying it or cutting off its head (cut: {cut}) went wrong;"
        " please report the network, or accept less with ExportThresholds(source_agreement=...)"
    )


def carried_tensors(graph: FloatGraph, network: SourceNetwork, norm: Normalization, frame: Image) -> tuple[str, ...]:
    """The graph's tensors that the network's own stages say may be carried over, found by value.

    Args:
        graph: The canonical graph.
        network: The network as it came.
        norm: What it expects.
        frame: ``(H, W, 3)`` uint8 BGR at the input size.

    Returns:
        A tensor for each; empty for a network that names no stages, or whose stages are not in the graph, with a
        warning.
    """
    if network.run_stages is None:
        return ()
    try:
        targets = network.run_stages(_own_input(graph, norm, frame))
    except Exception as exc:  # the user's code
        log.warning("%s: its stages() do not run, and are ignored: %s", network.name, failure_reason(exc))
        return ()
    found: list[str] = [""] * len(targets)

    def compare(name: str, value: NDArray[np.float32]) -> None:
        for at, target in enumerate(targets):
            if value.shape == target.shape and np.abs(value - target).max() <= 1e-3 * np.abs(target).max():
                found[at] = name

    watch_activations(graph.model, [frame], activation_names(graph.model), compare)
    if not all(found):
        log.warning(
            "%s: its stages() are ignored: no tensor of the graph holds what one of them gives; name one with --carry",
            network.name,
        )
        return ()
    return tuple(found)


def warn_if_constant(maps: list[LabelMap], share: float) -> str:
    """A warning if one class fills nearly every frame, as a wrong normalization makes it; else empty.

    Args:
        maps: Label maps of the float graph.
        share: Share of all pixels from which on it warns.
    """
    counts = np.sum([np.bincount(labels.ravel(), minlength=256) for labels in maps], axis=0)
    largest = float(counts.max() / counts.sum())
    if largest < share:
        return ""
    return (
        f"class {int(counts.argmax())} fills {largest:.1%} of the validation frames;"
        " if that is not what they show, check --mean, --scale and --color"
    )


def _own_input(graph: FloatGraph, norm: Normalization, frame: Image) -> NDArray[np.float32]:
    ordered = frame[..., ::-1] if norm.color == "rgb" else frame
    mean, scale = np.asarray(norm.mean, np.float32), np.asarray(norm.scale, np.float32)
    value = (ordered.astype(np.float32) - mean) / scale
    value = value[None] if graph.image.layout == "NHWC" else value.transpose(2, 0, 1)[None]
    return np.ascontiguousarray(value, dtype=onnx.helper.tensor_dtype_to_np_dtype(graph.image.dtype))


def _own_labels(output: NDArray[np.generic], graph: FloatGraph) -> LabelMap:
    """Label map of the network's own output, whatever its head."""
    shape = graph.head.own_shape
    values = np.asarray(output if shape is None else output.reshape(-1, *shape[1:]))
    values = values if values.ndim == 2 else values[0]  # a bare map has no axis of the batch
    # A label map may come as float numbers, too.
    if not np.issubdtype(values.dtype, np.floating) or "ArgMax" in graph.head.cut:
        classes = values.reshape([n for n in values.shape if n != 1])
    elif values.ndim == 2 or 1 in (values.shape[0], values.shape[-1]):
        classes = values.squeeze() > graph.head.threshold
    else:
        classes = values.argmax(0 if graph.head.layout == "NCHW" else -1)
    return np.asarray(classes, np.uint8)
