"""What nodes take on the device that a bundle is for, as it was recorded there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edge_vseg.analysis.operator_recording import OperatorRecording, RecordedVariant, read_operator_recording
from edge_vseg.errors import OptionError
from edge_vseg.export.graph.macs import count_macs
from edge_vseg.export.quantization.node_times import MIN_SHARE, lost_by_node, times_by_node
from edge_vseg.types import Size

STAND_INS = {"tflite": "onnxruntime"}
"""Runtimes without a profiler, and whose times stand in for theirs."""
_MACS_TOLERANCE = 0.01
"""Two versions of the exporter may write the same network a little differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCosts:
    """What the nodes of a network take on a device in one runtime.

    Attributes:
        origin: Where that was recorded, in words.
        lost_ms: Milliseconds that each node takes longer in float than in int8.
        float_ms: Of the whole graph in float.
        int8_ms: Of the whole graph with nothing in float.
    """

    origin: str
    lost_ms: Mapping[str, float]
    float_ms: float
    int8_ms: float

    def estimated_ms(self, float_nodes: Iterable[str]) -> float:
        """What an int8 graph with some nodes in float would take, without the conversions around them."""
        return max(self.int8_ms + sum(self.lost_ms.get(name, 0.0) for name in float_nodes), 1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTimes:
    """A recording of the operators of a bundle, and the file that it came from."""

    path: Path
    recording: OperatorRecording

    @classmethod
    def read(cls, path: Path) -> DeviceTimes:
        """Read a file of ``edge-vseg profile --record-operators``.

        Raises:
            OptionError: If it is not one, or of no runtime holds both a float and an int8 graph.
        """
        return cls(path=path, recording=read_operator_recording(path))

    def serves(self, runtime: str) -> bool:
        """Whether it says anything of a runtime."""
        return STAND_INS.get(runtime, runtime) in self.recording.runtimes

    def require_network(self, model: onnx.ModelProto, size_hw: Size) -> None:
        """Check that the recording is of this network.

        Args:
            model: The canonical graph.
            size_hw: Its input size.

        Raises:
            OptionError: If the input size, the multiply-accumulates or the names of nodes say otherwise.
        """
        recording, macs = self.recording, count_macs(model)
        height, width = recording.size_hw
        if recording.size_hw != size_hw:
            self._refuse(f"at {height}x{width}, and this export is at {size_hw[0]}x{size_hw[1]}")
        if recording.macs is not None and abs(recording.macs - macs) > _MACS_TOLERANCE * macs:
            self._refuse(f"with {recording.macs / 1e6:.1f} MMAC, and this one has {macs / 1e6:.1f}")
        shares = {
            each.id: times_by_node(each.operators, model.graph.node).share
            for runtime in recording.runtimes
            for each in recording.of(runtime, "float")
        }
        name, share = max(shares.items(), key=lambda pair: pair[1])
        if share < MIN_SHARE:
            self._refuse(f"of which {share:.0%} of the time of {name} bears names of this network's nodes")

    def costs(
        self, runtime: str, variant: str, nodes: Sequence[onnx.NodeProto], *, foreign: bool = False
    ) -> DeviceCosts | None:
        """What the nodes take on the device.

        Args:
            runtime: Of the graph that is made.
            variant: Id of the variant that is made.
            nodes: Those of the canonical graph.
            foreign: Whether the graph is for another machine than this one, so that nothing can be measured here: any
                int8 graph of the runtime will do.

        Returns:
            ``None`` if the file does not have it, or too little in it bears names of nodes.
        """
        stand_in = STAND_INS.get(runtime, "")
        in_float, in_int8 = (self.recording.of(stand_in or runtime, precision) for precision in ("float", "int8"))
        taken = [each for each in in_int8 if each.id == variant] or (in_int8 if foreign or stand_in else [])
        if not in_float or not taken:
            return None
        return _costs(in_float[0], taken[0], nodes, self._origin)

    @property
    def _origin(self) -> str:
        threads = self.recording.threads
        return f"recorded on {self.recording.cpu}" + (f", {threads} thread{'s'[: threads > 1]}" if threads else "")

    def _refuse(self, what: str) -> None:
        raise OptionError(
            f"{self.path} is of another network: {self.recording.bundle!r} {what}; record a bundle of this network with"
            " edge-vseg profile BUNDLE --record-operators FILE, or leave out --node-times"
        )


def _costs(
    in_float: RecordedVariant, in_int8: RecordedVariant, nodes: Sequence[onnx.NodeProto], origin: str
) -> DeviceCosts | None:
    """Nodes that were in float in the int8 graph, too, get the mean gain of the others: theirs is not known."""
    lost = lost_by_node(in_float.operators, in_int8.operators, nodes)
    if lost is None:
        return None
    slow, kept = times_by_node(in_float.operators, nodes).ms, in_int8.float_nodes
    rounded = [name for name in lost if name not in kept]
    gain = sum(lost[name] for name in rounded) / (sum(slow.get(name, 0.0) for name in rounded) or 1.0)
    guessed = {name: gain * slow.get(name, 0.0) for name in kept}
    return DeviceCosts(
        origin=origin,
        lost_ms=lost | guessed,
        float_ms=in_float.total_ms,
        int8_ms=in_int8.total_ms - sum(guessed.values()),
    )
