"""The graphs of a variant, whole, in slices and for tiles, open in its runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.runtimes import GraphSpec, Session
from edge_vseg.types import Tensor

Opener = Callable[[str, GraphSpec], Session]


class VariantSessions:
    """A variant's whole graph, and its other ones, opened when they are first needed.

    Args:
        variant: The variant.
        whole: Its whole graph, open; it stays the caller's.
        opener: Opens a file of the bundle, given its path in the bundle.
    """

    def __init__(self, variant: Variant, whole: Session, opener: Opener) -> None:
        self.variant = variant
        self.input = variant.input
        self.output = variant.output
        self._whole = whole
        self._opener = opener
        self._sessions: dict[int, Session] = {}
        self._tile: Session | None = None

    def run_whole(self, tensor: Tensor) -> Tensor:
        """The raw output for an input tensor."""
        return self._whole.run({self.input.name: tensor})[self.output.name]

    def run_slice(self, number: int, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What a slice gives, from all that is known by name."""
        part = self.variant.slices[number]
        return self._session(number).run({tensor.name: values[tensor.name] for tensor in part.inputs})

    def run_tile(self, tensor: Tensor) -> Tensor:
        """The raw output of the network on one tile."""
        tile = self.variant.tile
        assert tile is not None
        if self._tile is None:
            self._tile = self._opener(tile.entry, GraphSpec.of(input=tile.input, output=tile.output))
        return self._tile.run({tile.input.name: tensor})[tile.output.name]

    def close(self) -> None:
        """Release the slices and the graph for tiles."""
        if self._tile is not None:
            self._tile.close()
            self._tile = None
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _session(self, number: int) -> Session:
        if number not in self._sessions:
            part: Slice = self.variant.slices[number]
            spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
            self._sessions[number] = self._opener(Path(part.entry).as_posix(), spec)
        return self._sessions[number]
