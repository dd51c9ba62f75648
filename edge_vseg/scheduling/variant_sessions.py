"""The sessions of a variant for one lane: whole graph, slices and tile graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.runtimes import GraphSpec, Session
from edge_vseg.runtimes.checked_run import run_checked
from edge_vseg.scheduling.first_runs import FirstRuns
from edge_vseg.types import Tensor

SessionOpener = Callable[[str, GraphSpec], Session]
"""Opens the session of a graph, given its path in the bundle."""


class VariantSessions:
    """The sessions of a variant, opened on first use; each lane has its own.

    Args:
        variant: The variant.
        opener: Opens them.
        whole: Open session of the whole graph, which the caller closes; ``None`` to open one.
        first_runs: What is known of the graphs from sessions before these; ``None`` for nothing.
    """

    def __init__(
        self,
        variant: Variant,
        opener: SessionOpener,
        whole: Session | None = None,
        first_runs: FirstRuns | None = None,
    ) -> None:
        self.variant = variant
        self.input = variant.input
        self.output = variant.output
        self._opener = opener
        self._given = whole
        self._whole: Session | None = None
        self._slices: dict[int, Session] = {}
        self._tile: Session | None = None
        self._run_before: set[int | None] = set()
        self._first_runs = first_runs or FirstRuns()

    def is_open(self, slices: int | None = None) -> bool:
        """Whether the first so many slices are open; ``None`` for the whole graph."""
        if slices is None:
            return (self._given or self._whole) is not None
        return all(number in self._slices for number in range(slices))

    def open(self, slices: int | None = None) -> None:
        """Open what :meth:`is_open` asks for, which takes some runtimes minutes; a run opens what is not."""
        if slices is None:
            self._whole_session()
            return
        for number in range(slices):
            self._slice_session(number)

    def has_run(self, number: int | None = None) -> bool:
        """Whether a slice has been run, or the whole graph: at a first run TensorRT and GPUs compile for minutes."""
        return number in self._run_before

    def opening_patience_s(self, slices: int | None = None) -> float:
        """How long :meth:`open` may take before it counts as hanging, by how long it took before; infinity if new."""
        closed = [None] if slices is None else [number for number in range(slices) if number not in self._slices]
        return self._first_runs.patience_s(*(f"open {number}" for number in closed))

    def first_run_patience_s(self, number: int | None = None) -> float:
        """The same of a first run, as :meth:`has_run` has it."""
        return self._first_runs.patience_s(f"run {number}")

    def run_whole(self, tensor: Tensor) -> Tensor:
        """Run the whole graph; returns its raw output.

        Raises:
            SessionError: See :func:`~edge_vseg.runtimes.checked_run.run_checked`; so do the other two.
        """
        session = self._whole_session()
        with self._first_run(None):
            made = run_checked(session, {self.input.name: tensor}, (self.output,))[self.output.name]
        self._run_before.add(None)
        return made

    def run_slice(self, number: int, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run a slice on tensors by name, of which it takes those that it needs; returns its outputs by name."""
        part = self.variant.slices[number]
        inputs = {spec.name: tensors[spec.name] for spec in part.inputs}
        session = self._slice_session(number)
        with self._first_run(number):
            made = run_checked(session, inputs, part.outputs)
        self._run_before.add(number)
        return made

    def run_tile(self, tensor: Tensor) -> Tensor:
        """Run the tile graph; returns its raw output."""
        tile = self.variant.tile
        assert tile is not None
        if self._tile is None:
            self._tile = self._opener(tile.entry, GraphSpec.of(input=tile.input, output=tile.output))
        return run_checked(self._tile, {tile.input.name: tensor}, (tile.output,))[tile.output.name]

    def close(self) -> None:
        """Close the sessions that were opened here, all of them, also if closing one raises."""
        opened = (self._whole, self._tile, *self._slices.values())
        self._whole = self._tile = None
        self._slices.clear()
        self._run_before.clear()
        with ExitStack() as closing:
            for session in opened:
                if session is not None:
                    closing.callback(session.close)

    def _first_run(self, number: int | None) -> AbstractContextManager[None]:
        return nullcontext() if self.has_run(number) else self._first_runs.timed(f"run {number}")

    def _whole_session(self) -> Session:
        session = self._given or self._whole
        if session is None:
            spec = GraphSpec.of(input=self.input, output=self.output)
            with self._first_runs.timed("open None"):
                session = self._whole = self._opener(self.variant.entry, spec)
        return session

    def _slice_session(self, number: int) -> Session:
        if number not in self._slices:
            part: Slice = self.variant.slices[number]
            spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
            with self._first_runs.timed(f"open {number}"):
                self._slices[number] = self._opener(Path(part.entry).as_posix(), spec)
        return self._slices[number]
