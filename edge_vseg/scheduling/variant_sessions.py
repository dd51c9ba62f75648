"""The sessions of a variant: whole graph, slices and tile graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.runtimes import GraphSpec, Session
from edge_vseg.scheduling.background import Background, BackgroundWorker
from edge_vseg.types import Tensor

SessionOpener = Callable[[str, GraphSpec], Session]
"""Opens the session of a graph, given its path in the bundle."""


class VariantSessions:
    """The sessions of a variant; all but that of the whole graph are opened on first use.

    Args:
        variant: The variant.
        whole: Open session of its whole graph; the caller closes it.
        opener: Opens the others.
        background: Runs keyframes beside the frames; by default a worker with a session of its own.
    """

    def __init__(
        self, variant: Variant, whole: Session, opener: SessionOpener, background: Background | None = None
    ) -> None:
        self.variant = variant
        self.input = variant.input
        self.output = variant.output
        self.background = background or BackgroundWorker(self._open_whole, self._run)
        self._whole = whole
        self._opener = opener
        self._slices: dict[int, Session] = {}
        self._tile: Session | None = None

    def run_whole(self, tensor: Tensor) -> Tensor:
        """Run the whole graph; returns its raw output."""
        return self._run(self._whole, tensor)

    def run_slice(self, number: int, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run a slice on tensors by name, of which it takes those that it needs; returns its outputs by name."""
        part = self.variant.slices[number]
        return self._slice_session(number).run({spec.name: tensors[spec.name] for spec in part.inputs})

    def run_tile(self, tensor: Tensor) -> Tensor:
        """Run the tile graph; returns its raw output."""
        tile = self.variant.tile
        assert tile is not None
        if self._tile is None:
            self._tile = self._opener(tile.entry, GraphSpec.of(input=tile.input, output=tile.output))
        return self._tile.run({tile.input.name: tensor})[tile.output.name]

    def close(self) -> None:
        """End the background, and close the sessions of the slices and the tile graph."""
        self.background.close()
        if self._tile is not None:
            self._tile.close()
            self._tile = None
        for session in self._slices.values():
            session.close()
        self._slices.clear()

    def _open_whole(self) -> Session:
        return self._opener(self.variant.entry, GraphSpec.of(input=self.input, output=self.output))

    def _run(self, session: Session, tensor: Tensor) -> Tensor:
        return session.run({self.input.name: tensor})[self.output.name]

    def _slice_session(self, number: int) -> Session:
        if number not in self._slices:
            part: Slice = self.variant.slices[number]
            spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
            self._slices[number] = self._opener(Path(part.entry).as_posix(), spec)
        return self._slices[number]
