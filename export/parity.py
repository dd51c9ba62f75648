"""Judge every variant against the canonical float graph, on frames that calibration never saw."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edge_vseg.analysis.metrics import Confusion, sqnr_db
from edge_vseg.bundle.manifest import ClassIoU, FrameSpec, HeadSpec, Label, Parity, Status, TensorSpec, Variant
from edge_vseg.errors import BackendError
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.imaging.label_maps import LabelMapper, read_label_map, read_logits, resize_labels
from edge_vseg.imaging.preprocess import Preprocessor
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.runtimes.timing import Runner, race
from edge_vseg.types import ColorOrder, Image, LabelMap, Logits, Size, Tensor

log = logging.getLogger(__name__)

ROUNDS = 15
MAX_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A variant with its parity and status filled in.

    Attributes:
        variant: The variant.
        worst: Label map on its worst validation frame; ``None`` if it could not run.
    """

    variant: Variant
    worst: LabelMap | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a graph says about one frame: logits if it gives them, and the label map at the input size."""

    logits: Logits | None
    labels: LabelMap


class Judge:
    """Compares variants with the float graph and with each other's speed.

    Args:
        root: The folder of the bundle being staged.
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size.
        head: What the graphs give.
        labels: The classes.
        max_drop: Largest share of pixels that may differ.
        color: Colour order that the graphs take.
    """

    def __init__(
        self,
        root: Path,
        frames: Sequence[Image],
        head: HeadSpec,
        labels: Sequence[Label],
        max_drop: float,
        *,
        color: ColorOrder = "bgr",
    ) -> None:
        self._root = root
        self._frames = frames
        self._head = head
        self._labels = labels
        self._max_drop = max_drop
        self._frame_spec = FrameSpec(size_hw=frames[0].shape[:2], color=color)
        self._options = SessionOptions(threads=min(MAX_THREADS, usable_cores()))

    def answers(self, variant: Variant) -> list[Answer]:
        """Run a variant on all validation frames.

        Raises:
            BackendError: If its runtime cannot open or run it.
        """
        session, spec = self._open(variant)
        try:
            mapper = LabelMapper(self._frames[0].shape[:2], self._head.align)
            prepare = Preprocessor(self._frame_spec, spec.input)
            raws = (session.run({spec.input.name: prepare(f)})[spec.output.name] for f in self._frames)
            return [self._answer(raw, spec.output, mapper) for raw in raws]
        finally:
            session.close()

    def reference(self, model: onnx.ModelProto) -> list[Answer]:
        """What the canonical float graph says about the validation frames."""
        mapper = LabelMapper(self._frames[0].shape[:2], self._head.align)
        spec = float_output_spec(model, self._head.kind)
        return [self._answer(raw, spec, mapper) for raw in run_frames(model, self._frames)]

    def judge(
        self, variants: Sequence[Variant], reference: Sequence[Answer], progress: Callable[[str], None]
    ) -> list[Judged]:
        """Fill in parity and status of all variants, runtime by runtime."""
        latencies: dict[str, float] = {}
        for runtime in dict.fromkeys(v.runtime for v in variants):
            progress(f"timing {runtime}")
            latencies |= self._time([v for v in variants if v.runtime == runtime and v.usable and is_native(v)])
        judged = []
        for variant in variants:
            progress(f"comparing {variant.id} with float")
            judged.append(self._judge_one(variant, reference, latencies))
        return judged

    def _judge_one(self, variant: Variant, reference: Sequence[Answer], latencies: dict[str, float]) -> Judged:
        if not variant.usable:
            return Judged(variant=variant, worst=None)
        try:
            answers = self.answers(variant)
        except BackendError as exc:
            failed = msgspec.structs.replace(variant, status="failed", reason=str(exc), entry="", files=(), bytes=0)
            return Judged(variant=failed, worst=None)
        confusion, noise = Confusion(len(self._labels)), []
        agreement = []
        for truth, answer in zip(reference, answers, strict=True):
            confusion.add(truth.labels, answer.labels)
            agreement.append(float(np.mean(truth.labels == answer.labels)))
            if truth.logits is not None and answer.logits is not None:
                noise.append(sqnr_db(truth.logits, answer.logits))
        worst = int(np.argmin(agreement))
        float_id = f"{variant.runtime}/float"
        parity = Parity(
            frames=len(answers),
            pixel_agreement=confusion.pixel_accuracy,
            mean_iou=confusion.mean_iou,
            iou=tuple(
                ClassIoU(name=label.name, iou=None if math.isnan(value) else float(value))
                for label, value in zip(self._labels, confusion.iou, strict=True)
            ),
            sqnr_db=float(np.mean(noise)) if noise else None,
            worst_frame=worst,
            worst_agreement=agreement[worst],
            latency_ms=latencies.get(variant.id),
            float_latency_ms=latencies.get(float_id) if variant.id != float_id else None,
        )
        status, reason = self._status(variant, parity)
        done = msgspec.structs.replace(variant, parity=parity, status=status, reason=reason)
        return Judged(variant=done, worst=answers[worst].labels)

    def _status(self, variant: Variant, parity: Parity) -> tuple[Status, str]:
        drop = 1 - parity.pixel_agreement
        if drop > self._max_drop:
            return "drop", f"{drop:.2%} of the pixels differ from float; at most {self._max_drop:.2%} may"
        speedup = parity.speedup
        if variant.precision == "int8" and speedup is not None and speedup < 1:
            return "slower-than-float", f"{parity.latency_ms:.1f} ms against {parity.float_latency_ms:.1f} ms in float"
        return "ok", ""

    def _time(self, variants: Sequence[Variant]) -> dict[str, float]:
        """Median latency in ms of variants of one runtime, timed in turns in one run."""
        runners: list[Runner] = []
        try:
            for variant in variants:
                try:
                    session, spec = self._open(variant)
                except BackendError as exc:
                    log.warning("%s cannot be timed: %s", variant.id, exc)
                    continue
                runners.append(Runner(key=variant.id, session=session, feed=self._feed(spec)))
            race(runners, rounds=ROUNDS, clock=time.perf_counter_ns, max_slowdown=math.inf)
            return {r.key: r.median_ms for r in runners if r.median_ms is not None}
        finally:
            for runner in runners:
                runner.session.close()

    def _open(self, variant: Variant) -> tuple[Session, GraphSpec]:
        assert variant.input is not None
        assert variant.output is not None
        spec = GraphSpec.of(input=variant.input, output=variant.output)
        return get_runtime(variant.runtime).open(self._root / variant.entry, spec, self._options), spec

    def _feed(self, spec: GraphSpec) -> dict[str, Tensor]:
        return {spec.input.name: Preprocessor(self._frame_spec, spec.input)(self._frames[0])}

    def _answer(self, raw: Tensor, spec: TensorSpec, mapper: LabelMapper) -> Answer:
        logits = read_logits(raw, spec, self._head)
        if logits is not None:
            return Answer(logits=logits, labels=mapper(logits))
        size: Size = self._frames[0].shape[:2]
        return Answer(logits=None, labels=resize_labels(read_label_map(raw, spec, self._head), size))


def float_output_spec(model: onnx.ModelProto, kind: str) -> TensorSpec:
    """Spec of the output of a canonical graph whose head is of that kind."""
    output = model.graph.output[0]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)).name
    shape = tuple(d.dim_value for d in output.type.tensor_type.shape.dim)
    return TensorSpec(name=output.name, shape=shape, dtype=dtype, layout="NCHW" if kind == "scores" else "NHW")


def is_native(variant: Variant) -> bool:
    """Whether a variant's speed on this machine means anything."""
    machine = platform.machine().lower()
    arm = machine in ("aarch64", "arm64")
    return variant.target == "any" or ((variant.target == "arm64") == arm and variant.target != "jetson")
