"""Build one variant after another; one that fails does not stop the others.

What converts for OpenVINO and TFLite is other people's native code, which runs in a process of its own.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec
import onnx

from edge_vseg.bundle.manifest import FailedVariant, PrecisionTrial, Resize, TensorSpec, Variant
from edge_vseg.child_process import ChildProcess
from edge_vseg.errors import EdgeVsegError, ExportError, QuantizationError
from edge_vseg.export.error_text import failure_reason
from edge_vseg.export.float_graph import FloatGraph
from edge_vseg.export.graph.fast_prelu import with_fast_prelu
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.metadata import tag_onnx
from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.device_times import DeviceCosts
from edge_vseg.export.quantization.float16_nodes import Float16Nodes, find_float16_nodes
from edge_vseg.export.quantization.graph_runners import ChildRunner, OnnxRunner, onnx_lost_ms, openvino_lost_ms
from edge_vseg.export.quantization.mixed_precision import GraphRunner, choose_float_nodes
from edge_vseg.export.quantization.onnx_float16 import as_if_float16, to_float16
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for, saturates
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.quantization.shrinking_cubic import shrinking_cubic
from edge_vseg.export.quantization.trial_choice import Wanted
from edge_vseg.export.variant_plan import VariantPlan
from edge_vseg.export.variant_validation import float_output_spec, is_native_target, timing_threads
from edge_vseg.runtimes.cpu import cpu_features

log = logging.getLogger(__name__)
Graph = TypeVar("Graph")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What was written into a variant's folder."""

    entry: str
    recipe: str
    float_nodes: tuple[str, ...] = ()
    trials: tuple[PrecisionTrial, ...] = ()
    ranked_by: str = ""
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Int8(Generic[Graph]):
    """An int8 graph, in its runtime's form, and what was tried before it was taken."""

    graph: Graph
    float_nodes: tuple[str, ...]
    trials: tuple[PrecisionTrial, ...] = ()
    ranked_by: str = ""


class VariantBuilder:
    """Builds variants of one network into a folder.

    Args:
        graph: The float graph.
        prepared: What its int8 graphs share.
        root: Each variant gets a folder named by its id here.
        child: Where converters run.
        wanted: What int8 graphs must reach.
        resize: What becomes of frames of another size, for what the graphs tell other clients.
        costs: What nodes take on the device, for the variants of which that was recorded, by their ids.
    """

    def __init__(
        self,
        graph: FloatGraph,
        prepared: Int8Preparation,
        root: Path,
        child: ChildProcess,
        wanted: Wanted | None = None,
        resize: Resize = "stretch",
        costs: Mapping[str, DeviceCosts] = MappingProxyType({}),
    ) -> None:
        self._costs = costs
        self._resize: Resize = resize
        self._graph = graph
        self._child = child
        self._prepared = prepared
        self._root = root
        self._wanted = wanted or Wanted.of(prepared.thresholds)
        self._threads = timing_threads(prepared.thresholds)

    def build(self, plan: VariantPlan, float_nodes: tuple[str, ...] | None = None) -> Variant | FailedVariant:
        """Build one variant; its list of files is left for the bundle to fill in.

        Args:
            plan: What to build.
            float_nodes: Nodes to keep in float; ``None`` searches for as few as suffice.
        """
        folder = self._root / plan.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            written = self._write(plan, folder, float_nodes)
        except EdgeVsegError as exc:
            log.warning("%s failed: %s", plan.id, exc)
            shutil.rmtree(folder)
            return plan.failed(str(exc))
        source, output = self._tensors(plan, folder / written.entry)
        return Variant(
            id=plan.id,
            runtime=plan.runtime,
            precision=plan.precision,
            target=plan.target,
            status="ok",
            recipe=written.recipe,
            float_nodes=written.float_nodes,
            trials=written.trials,
            ranked_by=written.ranked_by,
            requires=written.requires,
            entry=f"{plan.id}/{written.entry}",
            files=(),
            input=source,
            output=output,
        )

    def _write(self, plan: VariantPlan, folder: Path, float_nodes: tuple[str, ...] | None) -> _Written:
        match plan.runtime:
            case "onnxruntime":
                return self._write_onnx(plan, folder, float_nodes)
            case "openvino":
                return self._write_openvino(plan, folder, float_nodes)
            case "tflite":
                return self._write_tflite(plan, folder, float_nodes)
        raise ExportError(f"no exporter for runtime {plan.runtime!r}")

    def _write_onnx(self, plan: VariantPlan, folder: Path, float_nodes: tuple[str, ...] | None) -> _Written:
        model = onnx.ModelProto()
        # TensorRT, which float16 is for, knows PRelu.
        fast = plan.precision == "float"
        model.CopyFrom(with_fast_prelu(self._graph.model) if fast else self._graph.model)
        written = _Written(entry="model.onnx", recipe="float32")
        if plan.precision == "float16":
            model = to_float16(model, self._float16)
            kept = tuple(self._float16.beyond)
            how = f"float16, {len(kept)} nodes in float32" if kept else "float16"
            how += f"; {self._float16_agreement:.2%} as float where activations are rounded too"
            written = _Written(entry="model.onnx", recipe=how, float_nodes=kept)
        elif plan.precision == "int8":
            recipe, prepared = recipe_for(plan.target), self._prepared

            def build(nodes: tuple[str, ...]) -> onnx.ModelProto:
                weights = prepared.weights(nodes, levels=recipe.levels)
                return quantize_onnxruntime(weights, prepared.ranges, recipe, float_nodes=nodes)

            native = is_native_target(plan.target)
            runner = OnnxRunner(prepared, self._threads, native=native, in_float=saturates(recipe, cpu_features()))
            # Times of another machine's graphs say little about it, and nothing about what was asked for.
            wanted = self._wanted if native else replace(self._wanted, speedup=None)
            try:
                int8 = self._quantize(plan, build, runner, lambda: with_fast_prelu(prepared.model), float_nodes, wanted)
            except Exception as exc:  # the other variants are worth a bundle
                if not type(exc).__module__.startswith("onnxruntime"):
                    raise  # of this program, and of every variant
                log.info("%s failed", plan.id, exc_info=True)
                raise QuantizationError(
                    f"ONNX Runtime cannot run the int8 graph: {failure_reason(exc)}{_cubic_advice(prepared.model)}"
                ) from exc
            model = int8.graph
            written = self._written("model.onnx", recipe.name, int8, requires=recipe.requires)
        tag_onnx(model, self._graph.labels, self._resize)
        onnx.save(model, folder / "model.onnx")
        return written

    def _write_openvino(self, plan: VariantPlan, folder: Path, float_nodes: tuple[str, ...] | None) -> _Written:
        from edge_vseg.export.quantization import openvino_qdq as openvino

        labels, prepared = self._graph.labels, self._prepared
        written = _Written(entry="model.xml", recipe="float32")
        with TemporaryDirectory() as scratch:
            if plan.precision != "int8":
                path = _new_folder(scratch, plan.precision) / "model.xml"
                if plan.precision == "float16":
                    from edge_vseg.export.quantization.openvino_float16 import write_openvino_float16

                    self._in_child(write_openvino_float16, self._graph.model, labels, path, self._resize)
                    written = _Written(entry="model.xml", recipe=self._weights_recipe(plan))
                else:
                    self._in_child(openvino.write_openvino, self._graph.model, labels, path, self._resize)
                ChildRunner(self._in_child, openvino.open_openvino).classes(path, prepared.frames[:1])
            else:

                @cache
                def float_file() -> Path:
                    written = _new_folder(scratch, "float") / "model.xml"
                    self._in_child(openvino.write_openvino, self._graph.model, labels, written, self._resize)
                    return written

                def build(nodes: tuple[str, ...]) -> Path:
                    written = _new_folder(scratch, str(len(nodes))) / "model.xml"
                    weights = prepared.weights(nodes, levels=openvino.RECIPE.levels)
                    self._in_child(
                        openvino.write_openvino_int8,
                        weights,
                        prepared.ranges,
                        labels,
                        written,
                        self._resize,
                        float_nodes=nodes,
                    )
                    return written

                runner = ChildRunner(
                    self._in_child,
                    openvino.open_openvino,
                    lambda int8: openvino_lost_ms(prepared, self._in_child, float_file(), int8, self._threads),
                    rounds_scores=False,
                )
                int8 = self._quantize(plan, build, runner, float_file, float_nodes, self._wanted)
                path = int8.graph
                written = self._written("model.xml", openvino.RECIPE.name, int8)
            for suffix in (".xml", ".bin"):
                shutil.copyfile(path.with_suffix(suffix), folder / f"model{suffix}")
        return written

    def _write_tflite(self, plan: VariantPlan, folder: Path, float_nodes: tuple[str, ...] | None) -> _Written:
        from edge_vseg.export.quantization import tflite_litert as litert

        if plan.precision == "float":
            ChildRunner(self._in_child, litert.start_tflite).classes(self._float_tflite, self._prepared.frames[:1])
            (folder / "model.tflite").write_bytes(self._float_tflite)
            return _Written(entry="model.tflite", recipe="float32")
        if plan.precision == "float16":
            from edge_vseg.export.quantization.tflite_float16 import allow_float16, quantize_tflite_float16

            file = self._in_child(quantize_tflite_float16, self._float_tflite)
            (folder / "model.tflite").write_bytes(file if self._float16.beyond else allow_float16(file))
            return _Written(entry="model.tflite", recipe=self._weights_recipe(plan))
        prepared = self._prepared
        # Converted once, for converting takes longest; nodes in float keep their rounded weights here.
        weights = prepared.weights(())
        float_file = self._in_child(litert.to_tflite, weights)
        int8 = self._quantize(
            plan,
            lambda nodes: self._in_child(
                litert.quantize_tflite,
                float_file,
                weights,
                prepared.frames,
                float_nodes=nodes,
                chosen=prepared.chosen_ranges,
            ),
            # LiteRT has no profiler for Python; what a node loses in ONNX Runtime stands in.
            ChildRunner(self._in_child, litert.start_tflite, lambda int8: onnx_lost_ms(prepared, None, self._threads)),
            lambda: self._float_tflite,
            float_nodes,
            self._wanted,
        )
        (folder / "model.tflite").write_bytes(int8.graph)
        return self._written("model.tflite", "static wi8 ai8, per channel", int8)

    @cached_property
    def _float_tflite(self) -> bytes:
        """Converting takes longest, so it is done once."""
        from edge_vseg.export.quantization.tflite_litert import to_tflite

        return self._in_child(to_tflite, self._graph.model)

    @cached_property
    def _float16(self) -> Float16Nodes:
        """Found once for all runtimes."""
        return find_float16_nodes(self._graph.model, self._prepared.frames)

    @cached_property
    def _float16_agreement(self) -> float:
        """Share of cells with the float graph's class, on calibration frames, on a GPU that rounds to float16."""
        prepared = self._prepared
        rounded = run_frames(as_if_float16(self._graph.model, self._float16), prepared.check_frames)
        agreement = class_agreement(prepared.baseline, rounded)
        if agreement < prepared.thresholds.int8_agreement:
            log.warning("computed in float16, the network agrees with itself in only %.1f %% of cells", 100 * agreement)
        return agreement

    def _weights_recipe(self, plan: VariantPlan) -> str:
        """How weights alone became float16, and whether a device may compute in it."""
        beyond = self._float16.beyond
        if not beyond:
            return "float16 weights"
        name, reason = next(iter(beyond.items()))
        others = f", and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        log.warning("%s must be computed in float32: %s: %s%s", plan.id, name, reason, others)
        return f"float16 weights, to be computed in float32 ({name}: {reason}{others})"

    def _quantize(
        self,
        plan: VariantPlan,
        build: Callable[[tuple[str, ...]], Graph],
        runner: GraphRunner[Graph],
        float_graph: Callable[[], Graph],
        float_nodes: tuple[str, ...] | None,
        wanted: Wanted,
    ) -> _Int8[Graph]:
        if float_nodes is not None:
            graph = build(float_nodes)
            runner.classes(graph, self._prepared.frames[:1])
            return _Int8(graph=graph, float_nodes=float_nodes)
        found = choose_float_nodes(self._prepared, build, runner, float_graph, wanted, self._costs.get(plan.id))
        return _Int8(
            graph=found.taken.graph,
            float_nodes=found.taken.float_nodes,
            trials=found.trials,
            ranked_by=found.ranked_by,
        )

    def _in_child(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a converter where it may crash.

        Raises:
            EdgeVsegError: If it fails, of whatever kind its own error is: the other variants are worth a bundle.
        """
        try:
            return self._child.call(function, *args, **kwargs)
        except EdgeVsegError:
            raise
        except Exception as exc:
            log.info("%s failed", function.__name__, exc_info=True)
            raise QuantizationError(failure_reason(exc)) from exc

    def _written(self, entry: str, recipe: str, int8: _Int8[Any], *, requires: tuple[str, ...] = ()) -> _Written:
        if self._prepared.is_trained:
            recipe += ", fine-tuned with labels" if self._prepared.knows_truth else ", fine-tuned"
        if int8.float_nodes:
            recipe += f", {len(int8.float_nodes)} nodes in float"
        return _Written(
            entry=entry, recipe=recipe, float_nodes=int8.float_nodes, trials=int8.trials, ranked_by=int8.ranked_by,
            requires=requires,
        )  # fmt: skip

    def _tensors(self, plan: VariantPlan, path: Path) -> tuple[TensorSpec, TensorSpec]:
        """Specs of the graph; TFLite renames tensors, the other two keep the graph's names."""
        model = self._graph.model
        shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
        output = float_output_spec(model, self._graph.head.kind)
        names = (FRAME, output.name)
        if plan.runtime == "tflite":
            from edge_vseg.export.quantization.tflite_litert import tflite_names

            names = self._in_child(tflite_names, path)
        source = TensorSpec(name=names[0], shape=shape, dtype="uint8", layout="NHWC")
        return source, msgspec.structs.replace(output, name=names[1])


def _new_folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder


def _cubic_advice(model: onnx.ModelProto) -> str:
    layers = ", ".join(map(repr, shrinking_cubic(model)))
    return f"; {layers} shrinks in cubic mode: resize with antialias or mode linear there" if layers else ""
