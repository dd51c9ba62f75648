"""Build one variant after another; one that fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import onnx

from edge_vseg.bundle.manifest import Label, Precision, TensorSpec, Variant
from edge_vseg.errors import EdgeVsegError, ExportError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.graph.head import Head
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.metadata import tag_onnx, tag_openvino
from edge_vseg.export.parity import float_output_spec
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A variant to build."""

    runtime: str
    precision: Precision
    target: str

    @property
    def id(self) -> str:
        """Its id, which is also its folder in the bundle."""
        per_target = self.runtime == "onnxruntime" and self.precision == "int8"
        return f"{self.runtime}/{self.precision}-{self.target}" if per_target else f"{self.runtime}/{self.precision}"


def plan_variants(options: ExportOptions, targets: Sequence[str]) -> list[Plan]:
    """All variants: a float graph for every runtime (parity needs it), and the int8 graphs asked for."""
    plans: list[Plan] = []
    for runtime in options.runtimes:
        plans.append(Plan(runtime=runtime, precision="float", target="any"))
        if "int8" in options.precisions:
            per_target = targets if runtime == "onnxruntime" else ("any",)
            plans.extend(Plan(runtime=runtime, precision="int8", target=t) for t in per_target)
    return plans


class Builder:
    """Builds variants of one network into a folder.

    Args:
        model: The canonical graph.
        head: Its head.
        labels: The classes.
        prepared: What its int8 graphs share.
        root: The folder of the bundle being staged.
    """

    def __init__(
        self, model: onnx.ModelProto, head: Head, labels: Sequence[Label], prepared: Int8Preparation, root: Path
    ) -> None:
        self._model = model
        self._head = head
        self._labels = labels
        self._prepared = prepared
        self._root = root

    def build(self, plan: Plan) -> Variant:
        """Build one variant; a named failure becomes a variant of status ``failed`` with the reason."""
        folder = self._root / plan.id
        folder.mkdir(parents=True)
        try:
            entry, recipe, requires = self._write(plan, folder)
        except EdgeVsegError as exc:
            log.warning("%s failed: %s", plan.id, exc)
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
            return Variant(
                id=plan.id,
                runtime=plan.runtime,
                precision=plan.precision,
                target=plan.target,
                status="failed",
                reason=str(exc),
            )
        files = tuple(sorted(f"{plan.id}/{p.name}" for p in folder.iterdir()))
        source, output = self._tensors(plan, folder / entry)
        return Variant(
            id=plan.id,
            runtime=plan.runtime,
            precision=plan.precision,
            target=plan.target,
            status="ok",
            recipe=recipe,
            requires=requires,
            entry=f"{plan.id}/{entry}",
            files=files,
            input=source,
            output=output,
            bytes=sum(p.stat().st_size for p in folder.iterdir()),
        )

    def _write(self, plan: Plan, folder: Path) -> tuple[str, str, tuple[str, ...]]:
        match plan.runtime:
            case "onnxruntime":
                return self._write_onnx(plan, folder)
            case "openvino":
                return self._write_openvino(plan, folder)
            case "tflite":
                return self._write_tflite(plan, folder)
        raise ExportError(f"no exporter for runtime {plan.runtime!r}")

    def _write_onnx(self, plan: Plan, folder: Path) -> tuple[str, str, tuple[str, ...]]:
        model, recipe = onnx.ModelProto(), "float32"
        requires: tuple[str, ...] = ()
        model.CopyFrom(self._model)
        if plan.precision == "int8":
            how, prepared = recipe_for(plan.target), self._prepared

            def build(keep: tuple[str, ...]) -> onnx.ModelProto:
                weights = prepared.weights(keep, levels=how.levels)
                return quantize_onnxruntime(weights, prepared.ranges, how, keep_float=keep)

            trial = prepared.search(build, lambda graph: run_frames(graph, prepared.judges), key=plan.id)
            model, recipe, requires = trial.graph, _with_spared(how.name, trial.keep_float), how.requires
        tag_onnx(model, self._labels)
        onnx.save(model, folder / "model.onnx")
        return "model.onnx", recipe, requires

    def _write_openvino(self, plan: Plan, folder: Path) -> tuple[str, str, tuple[str, ...]]:
        from edge_vseg.export.quantization import openvino_nncf as nncf

        with TemporaryDirectory() as scratch:
            if plan.precision == "float":
                model, recipe = nncf.to_openvino(self._model, Path(scratch)), "float32"
            else:
                prepared = self._prepared
                trial = prepared.search(
                    lambda keep: nncf.quantize_openvino(
                        nncf.to_openvino(prepared.weights(keep), Path(scratch)), prepared.frames, keep_float=keep
                    ),
                    lambda graph: nncf.run_openvino(graph, prepared.judges),
                    key=plan.id,
                    max_trials=2,  # NNCF takes as long as all the rest together
                )
                model, recipe = trial.graph, _with_spared("NNCF static, per channel", trial.keep_float)
            tag_openvino(model, self._labels)
            nncf.save_openvino(model, folder / "model.xml")
        return "model.xml", recipe, ()

    def _write_tflite(self, plan: Plan, folder: Path) -> tuple[str, str, tuple[str, ...]]:
        from edge_vseg.export.quantization import tflite_litert as litert

        if plan.precision == "float":
            (folder / "model.tflite").write_bytes(litert.to_tflite(self._model))
            return "model.tflite", "float32", ()
        prepared = self._prepared
        # Converting takes longest, so it is done once; nodes in float keep their rounded weights here.
        weights = prepared.weights(())
        float_file = litert.to_tflite(weights)

        def build(keep: tuple[str, ...]) -> bytes:
            return litert.quantize_tflite(float_file, weights, prepared.frames, keep_float=keep)

        trial = prepared.search(build, lambda graph: litert.run_tflite(graph, prepared.judges), key=plan.id)
        (folder / "model.tflite").write_bytes(trial.graph)
        return "model.tflite", _with_spared("static wi8 ai8, per channel", trial.keep_float), ()

    def _tensors(self, plan: Plan, path: Path) -> tuple[TensorSpec, TensorSpec]:
        """Specs of the graph; TFLite renames tensors, the other two keep the graph's names."""
        shape = tuple(d.dim_value for d in self._model.graph.input[0].type.tensor_type.shape.dim)
        output = float_output_spec(self._model, self._head.kind)
        names = (FRAME, output.name)
        if plan.runtime == "tflite":
            from edge_vseg.export.quantization.tflite_litert import tflite_names

            names = tflite_names(path)
        source = TensorSpec(name=names[0], shape=shape, dtype="uint8", layout="NHWC")
        return source, msgspec.structs.replace(output, name=names[1])


def _with_spared(recipe: str, keep_float: Sequence[str]) -> str:
    return f"{recipe}, {len(keep_float)} nodes in float" if keep_float else recipe
