"""Compare every variant with the float graph, on frames that calibration never saw."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edge_vseg.analysis.metrics import Confusion, sqnr_db
from edge_vseg.bundle.manifest import (
    ClassIoU,
    FailedVariant,
    FrameSpec,
    HeadSpec,
    Label,
    Parity,
    Precision,
    Status,
    TensorSpec,
    Variant,
)
from edge_vseg.errors import BackendError
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import RECIPES, saturates
from edge_vseg.export.quantization.trial_choice import Wanted, way_out
from edge_vseg.imaging.label_maps import LabelMapper, read_label_map, read_logits, resize_labels
from edge_vseg.imaging.preprocess import Preprocessor
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.backends.onnx_runtime import QDQ_IN_FLOAT
from edge_vseg.runtimes.checked_run import run_checked
from edge_vseg.runtimes.cpu import cpu_features, usable_cores
from edge_vseg.runtimes.timing import Runner, race
from edge_vseg.types import ColorOrder, Image, LabelMap, Logits, Size, Tensor

log = logging.getLogger(__name__)
_WORTHWHILE: dict[Precision, float] = {"float": 0.0, "int8": 1.0, "float16": 0.9}
"""Speed-up below which a variant is slower than float. A CPU without float16 takes as long for it, give or take noise;
what it saves is memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidatedVariant:
    """A variant with its parity and status filled in.

    Attributes:
        variant: The variant.
        worst: Label map on its worst validation frame; ``None`` if it was not compared.
    """

    variant: Variant
    worst: LabelMap | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphOutput:
    """What a graph gives for one frame: logits if it gives them, and the label map at the input size."""

    logits: Logits | None
    labels: LabelMap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidationSpec:
    """What variants are compared on, and what is accepted.

    Attributes:
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size, in the colour order of ``color``.
        head: What the graphs give.
        labels: The classes.
        color: Colour order that the graphs take.
        max_drop: Largest share of pixels that may differ.
        min_speedup: How many times as fast as float int8 must be; ``None`` for not slower.
        thresholds: How timings are taken.
    """

    frames: Sequence[Image]
    head: HeadSpec
    labels: Sequence[Label]
    color: ColorOrder = "bgr"
    max_drop: float
    min_speedup: float | None = None
    thresholds: ExportThresholds = field(default_factory=ExportThresholds)


class VariantValidator:
    """Compares variants with the float graph, and times those of a runtime in turns.

    Args:
        root: The folder that holds the variants' folders.
        spec: What they are compared on.
    """

    def __init__(self, root: Path, spec: ValidationSpec) -> None:
        self._root = root
        self._spec = spec
        self._frames = spec.frames
        self._size: Size = spec.frames[0].shape[:2]
        self._frame_spec = FrameSpec(size_hw=self._size, color=spec.color)
        self._options = SessionOptions(threads=timing_threads(spec.thresholds))

    def run_variant(self, variant: Variant, frames: Sequence[Image] | None = None) -> list[GraphOutput]:
        """Run a variant on some frames, by default all validation frames.

        Raises:
            BackendError: If its runtime cannot open or run it.
        """
        session, spec = self._open(variant, _exact(variant, self._options))
        try:
            mapper = LabelMapper(self._size, self._spec.head.align)
            prepare = Preprocessor(self._frame_spec, spec.input)
            tensors = (prepare(frame) for frame in (self._frames if frames is None else frames))
            raws = (
                run_checked(session, {spec.input.name: tensor}, (spec.output,))[spec.output.name] for tensor in tensors
            )
            return [self._read(raw, spec.output, mapper) for raw in raws]
        finally:
            session.close()

    def run_float(self, model: onnx.ModelProto) -> list[GraphOutput]:
        """Run the float graph on all validation frames."""
        mapper = LabelMapper(self._size, self._spec.head.align)
        spec = float_output_spec(model, self._spec.head.kind)
        return [self._read(raw, spec, mapper) for raw in run_frames(model, self._frames)]

    def validate(
        self, variants: Sequence[Variant], baseline: Sequence[GraphOutput], progress: Callable[[str], None]
    ) -> tuple[list[ValidatedVariant], list[FailedVariant]]:
        """Fill in parity and status of all variants, runtime by runtime.

        Args:
            variants: All variants of their runtimes, for times of one runtime compare only within one run.
            baseline: What the float graph gives.
            progress: Called with a line on each step.

        Returns:
            The variants that could be run, and those that could not.
        """
        latencies: dict[str, float] = {}
        for runtime in dict.fromkeys(v.runtime for v in variants):
            progress(f"timing {runtime}")
            latencies |= self._time([v for v in variants if v.runtime == runtime and is_native(v)])
        validated: list[ValidatedVariant] = []
        failed: list[FailedVariant] = []
        for variant in variants:
            progress(f"comparing {variant.id} with float")
            try:
                validated.append(self._validate_one(variant, baseline, latencies))
            except BackendError as exc:
                log.warning("%s failed: %s", variant.id, exc)
                failed.append(
                    FailedVariant(
                        id=variant.id,
                        runtime=variant.runtime,
                        precision=variant.precision,
                        target=variant.target,
                        reason=str(exc),
                    )
                )
        return validated, failed

    def _validate_one(
        self, variant: Variant, baseline: Sequence[GraphOutput], latencies: dict[str, float]
    ) -> ValidatedVariant:
        outputs = self.run_variant(variant)
        confusion, noise = Confusion(len(self._spec.labels)), []
        agreement = []
        for expected, output in zip(baseline, outputs, strict=True):
            confusion.add(expected.labels, output.labels)
            agreement.append(float(np.mean(expected.labels == output.labels)))
            if expected.logits is not None and output.logits is not None:
                noise.append(sqnr_db(expected.logits, output.logits))
        worst = int(np.argmin(agreement))
        float_id = f"{variant.runtime}/float"
        parity = Parity(
            frames=len(outputs),
            pixel_agreement=confusion.pixel_accuracy,
            mean_iou=confusion.mean_iou,
            iou=tuple(
                ClassIoU(name=label.name, iou=None if math.isnan(value) else float(value))
                for label, value in zip(self._spec.labels, confusion.iou, strict=True)
            ),
            sqnr_db=float(np.mean(noise)) if noise else None,
            worst_frame=worst,
            worst_agreement=agreement[worst],
            latency_ms=latencies.get(variant.id),
            float_latency_ms=latencies.get(float_id) if variant.id != float_id else None,
        )
        status, reason = self._status(variant, parity)
        done = msgspec.structs.replace(variant, parity=parity, status=status, reason=reason)
        return ValidatedVariant(variant=done, worst=outputs[worst].labels)

    def _status(self, variant: Variant, parity: Parity) -> tuple[Status, str]:
        spec, drop, speedup = self._spec, 1 - parity.pixel_agreement, parity.speedup
        reasons: list[str] = []
        status: Status = "ok"
        if speedup is not None and speedup < _WORTHWHILE[variant.precision]:
            status = "slower-than-float"
            reasons.append(f"{parity.latency_ms:.1f} ms against {parity.float_latency_ms:.1f} ms in float")
        elif variant.precision == "int8" and speedup is not None and speedup < (spec.min_speedup or 0.0):
            status = "slower-than-asked"
            reasons.append(f"{speedup:.2f} times as fast as float; at least {spec.min_speedup:g} times was asked for")
        if drop > spec.max_drop:
            slower = [f"and slower than float: {text}" if status == "slower-than-float" else text for text in reasons]
            reasons = [f"{drop:.2%} of the pixels differ from float; at most {spec.max_drop:.2%} may", *slower]
            status = "drop"
        # With labels, trials say what rounding changes, and the difference from float is meant.
        if status != "ok" and variant.trials and "with labels" not in variant.recipe:
            # Speed that is asked for is of this machine's variants alone.
            wanted = Wanted.of(spec.thresholds, spec.max_drop, spec.min_speedup if is_native(variant) else None)
            reasons += filter(None, [way_out(variant.trials, wanted, spec.thresholds)])
        return status, "; ".join(reasons)

    def _time(self, variants: Sequence[Variant]) -> dict[str, float]:
        """Median latency in ms of variants of one runtime, timed in turns in one run."""
        runners: list[Runner] = []
        try:
            for variant in variants:
                try:
                    session, spec = self._open(variant, self._options)
                except BackendError as exc:
                    log.warning("%s cannot be timed: %s", variant.id, exc)
                    continue
                runners.append(Runner(key=variant.id, session=session, feed=self._feed(spec)))
            race(runners, rounds=self._spec.thresholds.timing_rounds, clock=time.perf_counter_ns, max_slowdown=math.inf)
            return {r.key: r.median_ms for r in runners if r.median_ms is not None}
        finally:
            for runner in runners:
                runner.session.close()

    def _open(self, variant: Variant, options: SessionOptions) -> tuple[Session, GraphSpec]:
        spec = GraphSpec.of(input=variant.input, output=variant.output)
        return get_runtime(variant.runtime).open(self._root / variant.entry, spec, options), spec

    def _feed(self, spec: GraphSpec) -> dict[str, Tensor]:
        return {spec.input.name: Preprocessor(self._frame_spec, spec.input)(self._frames[0])}

    def _read(self, raw: Tensor, spec: TensorSpec, mapper: LabelMapper) -> GraphOutput:
        logits = read_logits(raw, spec, self._spec.head)
        if logits is not None:
            return GraphOutput(logits=logits, labels=mapper(logits))
        return GraphOutput(logits=None, labels=resize_labels(read_label_map(raw, spec, self._spec.head), self._size))


def float_output_spec(model: onnx.ModelProto, kind: str) -> TensorSpec:
    """Spec of the output of a canonical graph whose head is of that kind."""
    output = model.graph.output[0]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)).name
    shape = tuple(d.dim_value for d in output.type.tensor_type.shape.dim)
    return TensorSpec(name=output.name, shape=shape, dtype=dtype, layout="NCHW" if kind == "scores" else "NHW")


def _exact(variant: Variant, options: SessionOptions) -> SessionOptions:
    """Options with which a variant gives what it gives on the machine that it is for."""
    recipe = RECIPES.get(variant.target) if variant.runtime == "onnxruntime" and variant.precision == "int8" else None
    if recipe is None or not saturates(recipe, cpu_features()):
        return options
    return replace(options, provider_options={**options.provider_options, QDQ_IN_FLOAT: "1"})


def is_native(variant: Variant) -> bool:
    """Whether a variant is meant for a machine such as this one, so that timing it here means something."""
    return is_native_target(variant.target)


def is_native_target(target: str) -> bool:
    """Whether this machine is such a target."""
    machine = platform.machine().lower()
    arm = machine in ("aarch64", "arm64")
    return target == "any" or ((target == "arm64") == arm and target != "jetson")


def timing_threads(limits: ExportThresholds) -> int:
    """How many threads a timed graph gets."""
    return min(limits.max_timing_threads, usable_cores())
