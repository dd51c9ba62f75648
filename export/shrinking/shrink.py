"""Make a network smaller for a device, and leave the whole family on the way as bundles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import onnx

from edge_vseg.bundle.layer_times import LayerTimes
from edge_vseg.bundle.manifest import FrameSpec
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.errors import CalibrationError, ExportError, OptionError, SourceError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.finetuning.training_frame import TrainingFrame, check_truth, frames_with_truth
from edge_vseg.export.float_graph import finish_float_graph
from edge_vseg.export.pipeline import export_bundle
from edge_vseg.export.pipeline.job import full_disk_named
from edge_vseg.export.pipeline.work_folder import WorkFolder, step_fingerprint
from edge_vseg.export.shrinking.family import RUNTIME, CutNetwork, Family, How, Member, score_family, write_family
from edge_vseg.export.shrinking.latency import LatencyTable
from edge_vseg.export.shrinking.layers import find_layers, write_index
from edge_vseg.export.shrinking.netadapt import TRAINED_PROPOSALS, Lesson, NetAdapt, Round
from edge_vseg.export.shrinking.shrink_data import ShrinkData
from edge_vseg.export.shrinking.shrink_options import ShrinkOptions
from edge_vseg.export.shrinking.trainable import Trainable, teach
from edge_vseg.export.shrinking.whole_network import (
    Twin,
    WholeNetwork,
    cut_network,
    find_fixed,
    find_twins,
    open_whole,
    rough_int8,
    take_weights,
    write_network_layers,
)
from edge_vseg.files import write_whole
from edge_vseg.imaging.letterbox import fit_image

Progress = Callable[[str], None]
TimeLayers = Callable[[Path], LayerTimes]
SCREENING = 4
"""One in so many frames of the calibration set is not trained on: proposals are compared on it."""
MIN_FRAMES = 16
CALIBRATION_FRAMES = 32
SEARCH_SHARE = 0.35
"""Of the training, for the rounds; the rest is for the networks of the family."""
STEPS_TO_TIME = 3
REPORTS = 10
"""Lines of progress while a network of the family learns."""
SAME_LOSS = 1e-3
LEAST_CUT = 0.005
"""Share of the time that a round saves at least: one before it may have saved more than it had to."""


def shrink(
    source: str,
    output: Path,
    data: ShrinkData,
    wanted: ShrinkOptions,
    options: ExportOptions,
    time_layers: TimeLayers,
    *,
    time_again: TimeLayers | None = None,
    threads: int = 0,
    work_dir: Path | None = None,
    progress: Progress = lambda step: None,
) -> Family:
    """Cut channels of a network until its int8 graph takes ``target_ms``, and export the networks on the way.

    Args:
        source: As for :func:`~edge_vseg.export.export_bundle`.
        output: Folder of the family; made if it is not there.
        data: What to learn from.
        wanted: How small.
        options: How the networks are exported.
        time_layers: Times the layers in a folder on the device, or reads what a device measured.
        time_again: Times the network as a whole after each round, to correct what its layers foretell; ``None`` where
            the device is not at hand.
        threads: Of ``time_layers`` here, which are timed again for another number; 0 for the runtime's choice.
        work_dir: Keep the result of each round here, so that a run that was stopped goes on where it was.
        progress: Called with a line on each step.

    Returns:
        The family, which is also written to ``family.json`` in the folder.

    Raises:
        SourceError: If the network cannot be used.
        OptionError: If it gives labels, nothing can be cut, or it is as fast as the target already; or if labels have
            classes that it does not know.
        DatasetError: If a labelled dataset has no class of its names.
        UnsupportedOperatorError: If it has an operator that cannot be trained here.
        CalibrationError: If there are too few frames, or the layer times are of another network.
    """
    found = len(data.frames.calibration)
    if found < MIN_FRAMES:
        raise CalibrationError(f"learning needs {MIN_FRAMES} sample frames or more, got {found}; give a longer video")
    if RUNTIME not in options.runtimes or "int8" not in options.precisions or "float" not in options.precisions:
        raise OptionError(
            f"networks are compared as int8 and float on {RUNTIME}; keep all three among what is exported"
        )
    if options.resize != "stretch":
        raise OptionError(
            "networks learn from stretched frames; leave resize out, and export the one you choose with it"
        )
    whole = open_whole(source, options)
    options = replace(options, normalization=whole.normalization.value)
    if whole.normalization.told:
        progress(whole.normalization.told)
    data = data.in_classes(whole.graph.labels)
    for frame in data.scored:  # one by one: a dataset reads them when it is asked
        check_truth([frame], len(whole.graph.labels))
    with full_disk_named(work_dir or output), TemporaryDirectory(prefix="edge-vseg-") as scratch:
        output.mkdir(parents=True, exist_ok=True)
        work = WorkFolder(work_dir if work_dir is not None else Path(scratch) / "work")
        run = _Run(
            whole=whole, output=output, data=data, wanted=wanted, options=options, time_again=time_again,
            threads=threads, work=work, progress=progress,
        )  # fmt: skip
        return run.family(source, time_layers)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    whole: WholeNetwork
    output: Path
    data: ShrinkData
    wanted: ShrinkOptions
    options: ExportOptions
    time_again: TimeLayers | None
    threads: int
    work: WorkFolder
    progress: Progress

    @property
    def identity(self) -> tuple[object, ...]:
        """What the float graph is made from."""
        source, graph = self.whole.source, self.whole.graph
        return source.fingerprint, source.output, graph.size_hw, self.options.normalization

    def family(self, source: str, time_layers: TimeLayers) -> Family:
        times = self._times(time_layers)
        table = LatencyTable(times, find_layers(self.whole.graph.model))
        if times.network_ms <= self.wanted.target_ms:
            raise OptionError(
                f"the int8 network takes {times.network_ms:.1f} ms on {times.machine} already, which is within"
                f" {self.wanted.target_ms:g} ms; give a smaller target, or export it as it is"
            )
        members = [self._export(source, "whole", "whole", self.options)]
        smaller, notes = self._smaller_inputs(source)
        search = _Search(self, times, table)
        cut = search.run()
        self.progress("comparing the networks")
        frames = self.data.frames.validation
        scores, left_out = score_family(
            self.output, [*members, *smaller, *cut], frames, self.data.scored, times.threads
        )  # fmt: skip
        family = Family(
            source=self.whole.source.name,
            target_ms=self.wanted.target_ms,
            network_ms=times.network_ms,
            machine=times.machine,
            rounds=tuple(search.rounds),
            members=scores,
            notes=(*notes, *search.notes, *left_out),
        )
        write_family(self.output, family)
        return family

    def _times(self, time_layers: TimeLayers) -> LayerTimes:
        """Layer times; a run that goes on takes those measured here before it was stopped."""
        if self.time_again is None:  # what another device measured is at hand, and may be another device's now
            return self._layer_times(time_layers)
        key = step_fingerprint("layer times", self.identity, self.threads)
        record = self.work.load("layer_times", key)
        if record is not None:
            return msgspec.convert(record, LayerTimes)
        times = self._layer_times(time_layers)
        self.work.save("layer_times", key, msgspec.to_builtins(times))
        return times

    def _layer_times(self, time_layers: TimeLayers) -> LayerTimes:
        self.progress("timing layers")
        with TemporaryDirectory(prefix="edge-vseg-") as scratch:
            write_network_layers(self.whole, self.data.frames, Path(scratch))
            return time_layers(Path(scratch))

    def _smaller_inputs(self, source: str) -> tuple[list[Member], list[str]]:
        members, notes = [], []
        for size in self.wanted.input_sizes(self.whole.graph.size_hw):
            options = replace(self.options, size_hw=size, tiles=None)
            try:
                members.append(self._export(source, f"input-{size[0]}x{size[1]}", "smaller input", options))
            except SourceError as exc:
                notes.append(f"an input of {size[0]}x{size[1]} is left out: {exc}")
        return members, notes

    def _export(
        self, source: str, name: str, how: How, options: ExportOptions, *, predicted_ms: float | None = None
    ) -> Member:
        self.progress(f"exporting {name}")
        bundle = self.output / f"{name}.evseg"
        frames = _few(self.data.frames)
        exported = export_bundle(source, bundle, frames, options, work_dir=self.work.root / name)
        manifest = exported.manifest
        return Member(
            name=name,
            how=how,
            bundle=bundle.name,
            onnx=Path(source).name if how == "cut" else "",
            size_hw=manifest.frame.size_hw,
            macs=manifest.source.macs,
            parameters=manifest.source.parameters,
            predicted_ms=predicted_ms,
        )

    def keep_cut(self, network: onnx.ModelProto, adapt: NetAdapt, number: int) -> CutNetwork:
        """Write a network whose channels were cut, the ``number``-th of the family, to the work folder.

        Raises:
            ExportError: If it is not the one that was trained.
        """
        options = replace(self.options, labels=self.whole.graph.labels)
        again = finish_float_graph(network, self.whole.image, options).model
        if abs(adapt.loss(again) - adapt.loss(adapt.model)) > SAME_LOSS:
            raise ExportError(
                "the network that was trained cannot be written in the form of the source; please report the network"
            )
        cut = CutNetwork(name=f"cut-{number}-{adapt.ms:.1f}ms", predicted_ms=adapt.ms)
        write_whole(self.work.root / cut.file, network.SerializeToString())
        return cut

    def export_cut(self, cut: CutNetwork) -> Member:
        """Export a network from the work folder; one that an earlier run exported alike is taken from there."""
        path = self.output / cut.file
        write_whole(path, (self.work.root / cut.file).read_bytes())
        graph = self.whole.graph  # an ONNX file names no classes
        options = replace(self.options, weights=None, output_name="", size_hw=graph.size_hw, labels=graph.labels)
        return self._export(str(path), cut.name, "cut", options, predicted_ms=cut.predicted_ms)

    @cached_property
    def twins(self) -> dict[str, Twin]:
        """Constants of the float graph that the network as it came has under another name."""
        return find_twins(self.whole.graph.model, self.whole.canonical)

    def lesson(self) -> Lesson:
        """What networks learn, and from what."""
        spec = FrameSpec(size_hw=self.whole.graph.size_hw)
        images = [TrainingFrame(image=fit_image(frame, spec)) for frame in self.data.frames.calibration]
        taught = [frame for number, frame in enumerate(images) if number % SCREENING]
        taught += frames_with_truth(self.data.labelled, spec, len(self.whole.graph.labels))
        return Lesson(
            teacher=self.whole.graph.model,
            frames=taught,
            screening=images[::SCREENING],
            criterion=self.wanted.criterion,
            seed=self.wanted.seed,
            fixed=find_fixed(self.whole.graph.model, self.whole.canonical, self.twins),
            align=self.whole.graph.head.align,
        )


class _Search:
    """The rounds, each recorded when it is done."""

    def __init__(self, run: _Run, times: LayerTimes, table: LatencyTable) -> None:
        self._run, self._times, self._table = run, times, table
        self._lesson = run.lesson()
        self._adapt = NetAdapt(run.whole.graph.model, table, self._lesson)
        self._network = run.whole.canonical
        self._files = [run.work.root / name for name in ("search.float.onnx", "search.network.onnx")]
        self._key = step_fingerprint(
            "search",
            run.identity,
            run.wanted,
            self._lesson.frames_sha256,
            times,
        )
        self._cuts: list[CutNetwork] = []
        self._exhausted = False
        self.rounds: list[Round] = []
        self.notes: list[str] = []

    def run(self) -> list[Member]:
        wanted = self._run.wanted
        steps = self._taken_up()
        members = [self._run.export_cut(cut) for cut in self._cuts]
        for number, wanted_ms in enumerate(wanted.round_targets(self._times.network_ms)):
            if number < len(self.rounds) or self._exhausted or wanted.is_reached(self._adapt.ms):
                continue
            self._exhausted = not self._round(number, wanted_ms, steps[0])
            if self._exhausted:
                # What was cut since the last point is a network of the family, too, if it is the smallest there is.
                due = number > 0 and not wanted.is_point(number - 1)
            else:
                due = wanted.is_point(number) or wanted.is_reached(self._adapt.ms)
            if due:
                members.append(self._point(steps[1]))
            self._record(steps)
        if self._exhausted:
            self.notes.append(f"nothing is left to cut at {self._adapt.ms:.1f} ms, above the target")
        elif not wanted.is_reached(self._adapt.ms):
            self.notes.append(
                f"the {wanted.rounds} rounds ended at {self._adapt.ms:.2f} ms, above the target of"
                f" {wanted.target_ms:g} ms; give more --rounds, such as {2 * wanted.rounds}"
            )
        return members

    def _point(self, steps: int) -> Member:
        """Let the network learn, and export it."""
        self._run.progress(f"training a network of {self._adapt.ms:.1f} ms for {steps} steps")
        self._adapt.train(steps, lambda step, loss: self._trained(step, loss, steps))
        self._network = take_weights(self._network, self._adapt.model, self._run.twins)
        self._cuts.append(self._run.keep_cut(self._network, self._adapt, len(self._cuts) + 1))
        return self._run.export_cut(self._cuts[-1])

    def _round(self, number: int, wanted_ms: float, steps: int) -> bool:
        """Cut until the network takes so long; whether there was anything to cut."""
        now = self._adapt.ms
        done = self._adapt.cut(max(now - wanted_ms, LEAST_CUT * now), steps)
        if done is None:
            return False
        self._network = cut_network(self._network, self._adapt.last_removed, self._run.twins)
        if self._run.time_again is not None:
            self._table.correct(find_layers(self._adapt.model), self._measured_ms(self._run.time_again))
            done = msgspec.structs.replace(done, ms=self._adapt.ms)
        self.rounds.append(done)
        self._run.progress(
            f"round {number + 1} of {self._run.wanted.rounds}: {done.layer} from {done.before} to {done.after}"
            f" channels, {done.ms:.1f} ms"
        )
        return True

    def _trained(self, step: int, loss: float, steps: int) -> None:
        if step * REPORTS // steps > (step - 1) * REPORTS // steps:
            self._run.progress(f"training: {step / steps:.0%}, loss {loss:.2g}")

    def _measured_ms(self, time_again: TimeLayers) -> float:
        with TemporaryDirectory(prefix="edge-vseg-") as scratch:
            write_index(
                Path(scratch), self._run.whole.source.name, rough_int8(self._adapt.model, self._run.data.frames)
            )
            return time_again(Path(scratch)).network_ms

    def _taken_up(self) -> tuple[int, int]:
        """Training steps of a round and of a network; the state is that of an earlier run, if there was one."""
        record = self._run.work.load("search", self._key)
        if record is None:
            return self._training_steps()
        self._adapt.model, self._network = (onnx.load(path) for path in self._files)
        self.rounds = msgspec.convert(record["rounds"], list[Round])
        self._table.take_up((float(layers_ms), float(ms)) for layers_ms, ms in record["measured"])
        self._adapt.trainings = record["trainings"]
        self._exhausted = record["exhausted"]
        self._cuts = msgspec.convert(record["cuts"], list[CutNetwork])
        return tuple(record["steps"])

    def _record(self, steps: tuple[int, int]) -> None:
        for path, model in zip(self._files, (self._adapt.model, self._network), strict=True):
            write_whole(path, model.SerializeToString())
        record = {
            "steps": steps,
            "rounds": msgspec.to_builtins(self.rounds),
            "cuts": msgspec.to_builtins(self._cuts),
            "trainings": self._adapt.trainings,
            "exhausted": self._exhausted,
            "measured": self._table.measured,
        }
        self._run.work.save(
            "search", self._key, record, [*self._files, *(self._run.work.root / cut.file for cut in self._cuts)]
        )

    def _training_steps(self) -> tuple[int, int]:
        """Steps of each training in a round, and of each network of the family."""
        length, wanted = self._run.wanted.training, self._run.wanted
        total = length.steps if length.steps is not None else (length.seconds or 0.0) / self._step_s()
        in_rounds = SEARCH_SHARE * total / (wanted.rounds * TRAINED_PROPOSALS)
        return int(in_rounds), int((1 - SEARCH_SHARE) * total / wanted.points)

    def _step_s(self) -> float:
        student, teacher = Trainable(self._lesson.teacher), Trainable(self._lesson.teacher)
        teach(student, teacher, self._lesson.frames, 1, seed=0)
        start = time.monotonic()
        teach(student, teacher, self._lesson.frames, STEPS_TO_TIME, seed=0)
        return (time.monotonic() - start) / STEPS_TO_TIME


def _few(frames: SampleFrames) -> SampleFrames:
    """As many frames as int8 needs, of those that are learnt from."""
    every = max(1, len(frames.calibration) // CALIBRATION_FRAMES)
    spec = msgspec.structs.replace(frames.spec, frames=frames.spec.frames[::every], sha256=None)
    return replace(frames, calibration=frames.calibration[::every], spec=spec)
