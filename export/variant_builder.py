"""Build one variant after another; one that fails does not stop the others."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec
import onnx

from edge_vseg.bundle.manifest import FailedVariant, Precision, TensorSpec, Variant
from edge_vseg.errors import EdgeVsegError, ExportError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.float_graph import FloatGraph
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.metadata import tag_onnx, tag_openvino
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation, Outputs
from edge_vseg.export.variant_validation import float_output_spec

log = logging.getLogger(__name__)
Graph = TypeVar("Graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPlan:
    """A variant to build."""

    runtime: str
    precision: Precision
    target: str

    @property
    def id(self) -> str:
        """Its id, which is also its folder in the bundle."""
        per_target = self.runtime == "onnxruntime" and self.precision == "int8"
        return f"{self.runtime}/{self.precision}-{self.target}" if per_target else f"{self.runtime}/{self.precision}"

    def failed(self, reason: str) -> FailedVariant:
        """The entry in the manifest if it cannot be built."""
        return FailedVariant(
            id=self.id, runtime=self.runtime, precision=self.precision, target=self.target, reason=reason
        )


def plan_variants(options: ExportOptions, targets: Sequence[str]) -> list[VariantPlan]:
    """A float graph for every runtime, whose time int8 is compared with, and the int8 graphs asked for."""
    plans: list[VariantPlan] = []
    for runtime in options.runtimes:
        plans.append(VariantPlan(runtime=runtime, precision="float", target="any"))
        if "int8" in options.precisions:
            per_target = targets if runtime == "onnxruntime" else ("any",)
            plans.extend(VariantPlan(runtime=runtime, precision="int8", target=t) for t in per_target)
    return plans


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What was written into a variant's folder."""

    entry: str
    recipe: str
    float_nodes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


class VariantBuilder:
    """Builds variants of one network into a folder.

    Args:
        graph: The float graph.
        prepared: What its int8 graphs share.
        root: Each variant gets a folder named by its id here.
    """

    def __init__(self, graph: FloatGraph, prepared: Int8Preparation, root: Path) -> None:
        self._graph = graph
        self._prepared = prepared
        self._root = root

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
        model.CopyFrom(self._graph.model)
        written = _Written(entry="model.onnx", recipe="float32")
        if plan.precision == "int8":
            recipe, prepared = recipe_for(plan.target), self._prepared

            def build(nodes: tuple[str, ...]) -> onnx.ModelProto:
                weights = prepared.weights(nodes, levels=recipe.levels)
                return quantize_onnxruntime(weights, prepared.ranges, recipe, float_nodes=nodes)

            model, nodes = self._quantize(build, lambda graph: run_frames(graph, prepared.check_frames), float_nodes)
            written = _Written(
                entry="model.onnx",
                recipe=self._recipe_name(recipe.name, nodes),
                float_nodes=nodes,
                requires=recipe.requires,
            )
        tag_onnx(model, self._graph.labels)
        onnx.save(model, folder / "model.onnx")
        return written

    def _write_openvino(self, plan: VariantPlan, folder: Path, float_nodes: tuple[str, ...] | None) -> _Written:
        from edge_vseg.export.quantization import openvino_qdq as openvino

        nodes: tuple[str, ...] = ()
        with TemporaryDirectory() as scratch:
            if plan.precision == "float":
                model, recipe = openvino.to_openvino(self._graph.model, Path(scratch)), "float32"
            else:
                prepared = self._prepared
                model, nodes = self._quantize(
                    lambda nodes: openvino.quantize_openvino(
                        prepared.weights(nodes), prepared.ranges, Path(scratch), float_nodes=nodes
                    ),
                    lambda graph: openvino.run_openvino(graph, prepared.check_frames),
                    float_nodes,
                )
                recipe = self._recipe_name(openvino.RECIPE.name, nodes)
            tag_openvino(model, self._graph.labels)
            openvino.save_openvino(model, folder / "model.xml")
        return _Written(entry="model.xml", recipe=recipe, float_nodes=nodes)

    def _write_tflite(self, plan: VariantPlan, folder: Path, float_nodes: tuple[str, ...] | None) -> _Written:
        from edge_vseg.export.quantization import tflite_litert as litert

        if plan.precision == "float":
            (folder / "model.tflite").write_bytes(litert.to_tflite(self._graph.model))
            return _Written(entry="model.tflite", recipe="float32")
        prepared = self._prepared
        # Converting takes longest, so it is done once; nodes in float keep their rounded weights here.
        weights = prepared.weights(())
        float_file = litert.to_tflite(weights)
        data, nodes = self._quantize(
            lambda nodes: litert.quantize_tflite(float_file, weights, prepared.frames, float_nodes=nodes),
            lambda graph: litert.run_tflite(graph, prepared.check_frames),
            float_nodes,
        )
        (folder / "model.tflite").write_bytes(data)
        return _Written(
            entry="model.tflite", recipe=self._recipe_name("static wi8 ai8, per channel", nodes), float_nodes=nodes
        )

    def _quantize(
        self,
        build: Callable[[tuple[str, ...]], Graph],
        run: Callable[[Graph], Outputs],
        float_nodes: tuple[str, ...] | None,
    ) -> tuple[Graph, tuple[str, ...]]:
        if float_nodes is not None:
            return build(float_nodes), float_nodes
        trial = self._prepared.search(build, run)
        return trial.graph, trial.float_nodes

    def _tensors(self, plan: VariantPlan, path: Path) -> tuple[TensorSpec, TensorSpec]:
        """Specs of the graph; TFLite renames tensors, the other two keep the graph's names."""
        model = self._graph.model
        shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
        output = float_output_spec(model, self._graph.head.kind)
        names = (FRAME, output.name)
        if plan.runtime == "tflite":
            from edge_vseg.export.quantization.tflite_litert import tflite_names

            names = tflite_names(path)
        source = TensorSpec(name=names[0], shape=shape, dtype="uint8", layout="NHWC")
        return source, msgspec.structs.replace(output, name=names[1])

    def _recipe_name(self, recipe: str, float_nodes: Sequence[str]) -> str:
        if self._prepared.is_trained:
            recipe += ", fine-tuned"
        return f"{recipe}, {len(float_nodes)} nodes in float" if float_nodes else recipe
