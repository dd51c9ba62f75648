"""Every activation of a TFLite file: its range, whether it is finite, and the ONNX node that it comes from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edge_vseg.errors import QuantizationError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.quantization.activations import watch_activations
from edge_vseg.export.quantization.infinity import finite_part
from edge_vseg.export.quantization.ranges import RangeObserver
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.types import Image

log = logging.getLogger(__name__)
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_MOVING = ("CONCATENATION", "MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "STRIDED_SLICE", "TRANSPOSE")
"""Operators that make no number but zero that their input does not hold."""
_COMPARED_FIRST = 1000
"""Values of two tensors that are compared before all are."""
_OWN_RANGE = 0.5
"""A slice with less than this share of its source's range keeps its own."""

_CONVOLUTIONS, _WEIGHTS_AT = ("CONV_2D", "DEPTHWISE_CONV_2D"), 1

_PRODUCTS = ("BATCH_MATMUL", "FULLY_CONNECTED")

Range = dict[str, NDArray[np.float32]]


def open_interpreter(file: bytes, **options: bool) -> Interpreter:
    """An interpreter that is ready to run; without XNNPACK if that refuses the file.

    Raises:
        QuantizationError: If TFLite cannot run it at all.
    """
    resolvers = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    for resolver in resolvers:
        try:
            made = Interpreter(model_content=file, num_threads=2, experimental_op_resolver_type=resolver, **options)
            made.allocate_tensors()
            return made
        except (RuntimeError, ValueError) as exc:
            reason = exc
            log.info("TFLite cannot run the file with %s: %s", resolver.name, first_line(exc))
    raise QuantizationError(f"TFLite cannot run what was converted: {first_line(reason)}") from reason


class Activations:
    """Every activation of a TFLite file, run with all tensors kept."""

    def __init__(self, file: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that all tensors are kept, which is the purpose
            self._interpreter = open_interpreter(file, experimental_preserve_all_tensors=True)
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        self._names = {index: detail["name"] for index, detail in details.items()}
        # ai-edge-quantizer rounds constants of a concatenation by its range, which needs as many axes as they have.
        self._rank = {index: len(detail["shape"]) for index, detail in details.items()}
        self._ops = [o for o in self._interpreter._get_ops_details() if o["op_name"] != "DELEGATE"]
        first = next((i for i, o in enumerate(self._ops) if o["op_name"] in _WEIGHTED), 0)
        floating = {index for index, detail in details.items() if detail["dtype"] == np.float32}
        written = {int(t) for o in self._ops for t in o["outputs"]}
        read = {int(t) for o in self._ops for t in o["inputs"]}
        self._early = {self._names[t] for o in self._ops[:first] for t in o["outputs"]}
        self._floats = {self._names[t]: t for t in sorted(written & floating)}
        self._infinite = {t for t in (read - written) & floating if not _is_finite(self._interpreter.get_tensor(t))}

    def run(self, frame: Image) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and value of every float activation for a frame."""
        self._interpreter.set_tensor(self._input, frame[None])
        self._interpreter.invoke()
        for name, index in self._floats.items():
            yield name, self._interpreter.get_tensor(index)

    def ranges(self, frames: Sequence[Image], known: Ranges | None = None) -> dict[str, Range]:
        """Least-error range of every activation, in the form that ai-edge-quantizer reads; always finite.

        Tensors before the first convolution take the range of all pixels that can occur. What only moves numbers takes
        the range of its source, since another one would cost a QUANTIZE.

        Args:
            frames: ``(H, W, 3)`` uint8.
            known: Ranges of some of the tensors, which are taken as they are.
        """
        observers = {name: RangeObserver() for name in self._floats}
        for frame in frames:
            for name, value in self.run(frame):
                observers[name].see(self._finite(name, value))
        for extreme in (np.zeros_like(frames[0]), np.full_like(frames[0], 255)):
            for name, value in self.run(extreme):
                if name in self._early:
                    observers[name].see(self._finite(name, value))
        spans = {n: o.extremes() if n in self._early else o.least_error() for n, o in observers.items()}
        spans |= {name: span for name, span in (known or {}).items() if name in spans and name not in self._early}
        self._share(spans)
        ones = {name: (1,) * self._rank[self._floats[name]] for name in spans}
        return {
            name: {"min": np.full(ones[name], low, np.float32), "max": np.full(ones[name], high, np.float32)}
            for name, (low, high) in spans.items()
        }

    def infinite_operators(self) -> list[str]:
        """Outputs of the operators that read or write infinity, as seen by :meth:`ranges`: int8 cannot hold it."""
        touching = [o for o in self._ops if self._infinite & {int(t) for t in (*o["inputs"], *o["outputs"])}]
        return [self._names[int(t)] for o in touching for t in o["outputs"]]

    def normalizing_operators(self) -> list[str]:
        """Outputs of the operators that layer normalizations consist of; each is told by its RSQRT."""
        makers = {int(t): o for o in self._ops for t in o["outputs"]}
        readers: dict[int, list[Any]] = {}
        for op in self._ops:
            for tensor in op["inputs"]:
                readers.setdefault(int(tensor), []).append(op)
        found: dict[int, None] = {}
        for root in (o for o in self._ops if o["op_name"] == "RSQRT"):
            inside = [root, *_before(root, makers), *_behind(root, makers, readers)]
            if any(op["op_name"] == "MEAN" for op in inside):
                found |= dict.fromkeys(int(t) for op in inside for t in op["outputs"])
        return [self._names[t] for t in found if self._names[t] in self._floats]

    def computed_weights(self) -> list[str]:
        """Outputs of convolutions whose weights are activations: int8 weights are symmetric, activations are not."""
        computed = set(self._floats.values())
        found = [o for o in self._ops if o["op_name"] in _CONVOLUTIONS and int(o["inputs"][_WEIGHTS_AT]) in computed]
        return [self._names[int(t)] for o in found for t in o["outputs"]]

    def attention_operators(self) -> list[str]:
        """Outputs of products of two activations, and of softmaxes: XNNPACK has no integer kernel for them.

        TFLite's own take twice as long as XNNPACK's in float.
        """
        computed = set(self._floats.values())
        products = [o for o in self._ops if o["op_name"] in _PRODUCTS and {int(t) for t in o["inputs"][:2]} <= computed]
        softmaxes = [o for o in self._ops if o["op_name"] == "SOFTMAX"]
        return [self._names[int(t)] for o in (*products, *softmaxes) for t in o["outputs"]]

    def dividing_operators(self) -> list[str]:
        """Outputs of the operators that divide by an activation: rounded, it may be zero, and LiteRT refuses to run."""
        computed = set(self._floats.values())
        found = [o for o in self._ops if o["op_name"] == "DIV" and int(o["inputs"][1]) in computed]
        return [self._names[int(t)] for o in found for t in o["outputs"]]

    def matching(self, model: onnx.ModelProto, nodes: Sequence[str], frame: Image) -> list[str]:
        """Names of the TFLite tensors that hold what the given ONNX nodes compute, found by value."""
        if not nodes:
            return []
        index = GraphIndex(model)
        written = [node.output[0] for node in model.graph.node if node.name in nodes]
        outputs = sorted({*written, *(r.output[0] for name in written for r in _fused(index, name))})
        return list(self.sources(model, outputs, frame))

    def sources(self, model: onnx.ModelProto, names: Collection[str], frame: Image) -> dict[str, str]:
        """The TFLite tensors that hold the values of ONNX tensors for a frame, each with the one of ``names``."""
        targets: dict[str, NDArray[np.float32]] = {}

        def keep(name: str, value: NDArray[np.float32]) -> None:
            if value.any():  # zeros are like all other zeros
                targets[name] = value

        watch_activations(model, [frame], sorted(names), keep)
        found: dict[str, str] = {}
        for name, value in self.run(frame):
            like = (each for each, t in targets.items() if _same(value, _channels_last(t)) or _same(value, t))
            if (source := next(like, None)) is not None:
                found[name] = source
        return found

    def _finite(self, name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        if _is_finite(value):
            return value
        self._infinite.add(self._floats[name])
        kept = finite_part(value)
        return kept if kept.size else np.zeros(1, np.float32)

    def _share(self, spans: dict[str, tuple[float, float]]) -> None:
        sources: dict[str, str] = {}
        for op in self._ops:
            if op["op_name"] not in _MOVING:
                continue
            inputs = [name for t in op["inputs"] if (name := self._names.get(int(t), "")) in spans]
            roots = {sources.get(name, name) for name in inputs}
            for name in (self._names[int(t)] for t in op["outputs"]):
                if len(roots) != 1 or name not in spans or name in self._early:
                    continue
                (root,) = roots
                if op["op_name"] == "CONCATENATION" or _width(spans[name]) >= _OWN_RANGE * _width(spans[root]):
                    sources[name], spans[name] = root, spans[root]


_READ_BY = {
    "RSQRT": ("ADD", "MEAN"),
    "ADD": ("MEAN",),
    "MEAN": ("MUL", "SQUARE", "SQUARED_DIFFERENCE"),
    "MUL": ("SUB",),
    "SQUARE": ("SUB",),
    "SQUARED_DIFFERENCE": ("MEAN",),
    "SUB": ("MEAN",),
}
"""Of the operators of a layer normalization before its RSQRT, those that each one reads: what was put in is none."""


def _before(root: Any, makers: Mapping[int, Any]) -> list[Any]:
    """The operators of a layer normalization that its RSQRT depends on, shapes changed in between or not."""
    found: list[Any] = []
    todo = [(root, root["op_name"], False)]
    while todo:
        op, kind, centered = todo.pop()
        for maker in (makers.get(int(t)) for t in op["inputs"]):
            if maker is None or any(maker is each for each in found):
                continue
            name = maker["op_name"]
            if name == "RESHAPE":
                todo.append((maker, kind, centered))
            elif name in _READ_BY.get(kind, ()) and not (kind == "MEAN" and centered):
                found.append(maker)
                todo.append((maker, name, centered or kind in ("SUB", "SQUARED_DIFFERENCE")))
    return found


def _behind(root: Any, makers: Mapping[int, Any], readers: Mapping[int, list[Any]]) -> list[Any]:
    """The product with what is centered, and product and sum with constants."""
    found: list[Any] = []
    op = root
    for kind in ("MUL", "MUL", "ADD"):
        following = readers.get(int(op["outputs"][0]), [])
        if len(following) != 1 or following[0]["op_name"] != kind:
            break
        (op,) = following
        if found and sum(int(t) in makers for t in op["inputs"]) != 1:
            break
        found.append(op)
    return found


def _is_finite(value: NDArray[np.float32]) -> bool:
    return bool(value.size == finite_part(value).size)


def _width(span: tuple[float, float]) -> float:
    return span[1] - span[0]


def _fused(index: GraphIndex, name: str) -> list[onnx.NodeProto]:
    """The activation that TFLite runs inside the operator that writes ``name``, if any."""
    readers = index.consumers.get(name, [])
    return readers if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip") else []


def _channels_last(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.moveaxis(value, 1, -1) if value.ndim == 4 else value


def _same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    if a.shape != b.shape:
        return False
    limit = 1e-3 * max(float(b.max()), -float(b.min()), 1e-6)
    few = slice(None, None, max(1, a.size // _COMPARED_FIRST))  # most pairs differ everywhere
    return bool(np.abs(a.flat[few] - b.flat[few]).max() <= limit and np.abs(a - b).max() <= limit)
