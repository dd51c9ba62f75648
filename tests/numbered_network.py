"""A network that tells which frame it saw: every map shows where it comes from, so ages and sources can be checked.

The frame's number is its blue channel. The graphs, in whole, in slices or on tiles, give the class of that number. The
sessions are plain numpy behind the port of the runtimes; a test may hang a fault on any graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from reference_bundle import make_manifest, make_variant

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import FileSpec, FrameSpec, HeadSpec, Label, Slice, TensorSpec, TileGraph, Variant
from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec, SessionOptions
from edge_vseg.runtimes.selection.variant_selection import Selection
from edge_vseg.scheduling.assembly import EngineOptions, open_engine
from edge_vseg.scheduling.device_profile import Contention, Cost, DeviceProfile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.policies import Policy, make_policy
from edge_vseg.types import Tensor

SIDE, STRIDE, CLASSES = 64, 8, 60
CELLS = SIDE // STRIDE
TILE = 32
SLICES, CONTEXT = 4, (1, 3)
VARIANT, SHA = "reference/float", "0" * 64
SCORE = 20.0
FILES = ("infer.graph", "tile.graph", *(f"slice-{number}.graph" for number in range(SLICES)))
Fault = Callable[[dict[str, Tensor]], dict[str, Tensor]]

_TEXTURE = np.random.default_rng(3).integers(60, 196, (16, 32, 2)).repeat(8, 0).repeat(8, 1).astype(np.uint8)


def image_of(number: int, shift: int = 0, size_hw: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Frame ``number``: green and red are a texture that is ``shift`` pixels further to the left."""
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[..., 0] = number
    image[..., 1:] = _TEXTURE[:SIDE, shift % SIDE : shift % SIDE + SIDE]
    rows, columns = (np.arange(side) * SIDE // side for side in size_hw)
    return np.ascontiguousarray(image[rows][:, columns])


class Network:
    """The graphs, the faults that a test hangs on them, and the sessions that are open.

    Attributes:
        faults: By graph and lane (``"infer"``, ``"slice 2"``, ``"tile"``; ``"frame"``, ``"background"``): changes the
            outputs, raises, or waits.
        open: Sessions that are open.
        runs: Runs by graph and lane.
    """

    def __init__(self, kind: str = "scores") -> None:
        self.kind = kind
        self.faults: dict[tuple[str, str], Fault] = {}
        self.open: set[NumberedSession] = set()
        self.runs: dict[tuple[str, str], int] = {}

    def opener(self, entry: str, spec: GraphSpec) -> NumberedSession:
        return NumberedSession(self, Path(entry).stem.replace("-", " "), spec)

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        lane = "background" if threading.current_thread().name == "edge-vseg-background" else "frame"
        self.runs[graph, lane] = self.runs.get((graph, lane), 0) + 1
        outputs = self._outputs(graph, inputs)
        fault = self.faults.get((graph, lane))
        return fault(outputs) if fault else outputs

    def _outputs(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        match graph:
            case "infer" | "tile":
                return {"scores": self._scores(_numbers(inputs["frame"]))}
            case "slice 0":
                return {"stem": _numbers(inputs["frame"])}
            case "slice 1":
                return {"middle": inputs["stem"].copy()}
            case "slice 2":
                return {"context": inputs["middle"].copy()}
            case _:
                return {"scores": self._scores(inputs["stem"])}

    def _scores(self, numbers: Tensor) -> Tensor:
        if self.kind == "labels":
            return numbers[:, 0].astype(np.uint8)
        return np.float32(SCORE) * (numbers == np.arange(CLASSES)[None, :, None, None]).astype(np.float32)


def _numbers(frame: Tensor) -> Tensor:
    return frame[:, None, ::STRIDE, ::STRIDE, 0].astype(np.float32)


class NumberedSession:
    """One graph, open until it is closed."""

    provider = "cpu"

    def __init__(self, network: Network, graph: str, spec: GraphSpec) -> None:
        self._network, self._graph, self._spec = network, graph, spec
        network.open.add(self)

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self not in self._network.open:
            raise SessionError("the session is closed")
        assert {spec.name: spec.shape for spec in self._spec.inputs} == {k: v.shape for k, v in inputs.items()}
        return self._network.run(self._graph, inputs)

    def close(self) -> None:
        self._network.open.discard(self)


def _tensor(name: str, *shape: int, dtype: str = "float32", layout: str = "NCHW") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype, layout=layout)


def make_numbered_variant(kind: str = "scores") -> Variant:
    frame = _tensor("frame", 1, SIDE, SIDE, 3, dtype="uint8", layout="NHWC")
    if kind == "labels":
        return make_variant(
            entry="infer.graph",
            files=FILES,
            input=frame,
            output=_tensor("scores", 1, CELLS, CELLS, dtype="uint8", layout="NHW"),
        )
    stem, middle, context = (_tensor(name, 1, 1, CELLS, CELLS) for name in ("stem", "middle", "context"))
    scores = _tensor("scores", 1, CLASSES, CELLS, CELLS)
    links = [((frame,), stem), ((stem,), middle), ((middle,), context), ((stem, context), scores)]
    tile = TileGraph(
        entry="tile.graph",
        input=_tensor("frame", 1, TILE, TILE, 3, dtype="uint8", layout="NHWC"),
        output=_tensor("scores", 1, CLASSES, TILE // STRIDE, TILE // STRIDE),
        halo=0,
        agreement=1.0,
    )
    slices = tuple(
        Slice(entry=f"slice-{number}.graph", inputs=inputs, outputs=(output,))
        for number, (inputs, output) in enumerate(links)
    )
    return make_variant(
        entry="infer.graph", files=FILES, input=frame, output=scores, slices=slices, context=CONTEXT, tile=tile
    )


def make_profile(
    network_ms: float = 40.0, *, spread: float = 1.0, frame_ms: float = 1.0, beside: bool = True, **of: str
):
    """A device: the network's time, p99 over p50, the time of a frame's own steps, and whether lanes overlap.

    It is that of the bundle without files, unless ``of`` says of which.
    """
    whose = {"bundle_sha256": SHA, "variant": VARIANT, "runtime": "reference"} | of
    own = ("preprocess", "decide", "carry", "fuse", "labels", "propagate")
    costs = dict.fromkeys(own, frame_ms / 4)
    costs |= {f"motion {name}": frame_ms for name in ("dis", "dis-fine", "dis-coarse", "still", "codec")}
    costs |= {"infer": network_ms, "background": network_ms, "tile": network_ms / 4}
    costs |= {f"slice {number}": network_ms / SLICES for number in range(SLICES)}
    return DeviceProfile(
        machine="made by hand",
        threads=1,
        video="",
        costs={
            step: Cost(runs=9, p50=ms, p90=ms * (1 + spread) / 2, p99=ms * spread) for step, ms in costs.items()
        },
        drift=DriftModel(),
        contention=Contention(frame=1.2, background=1.3) if beside else None,
        **whose,
    )  # fmt: skip


def open_numbered(network: Network, policy: str | Policy, options: OpenOptions | None = None) -> Segmenter:
    """A segmenter of the network, put together as :meth:`Segmenter.open` does it, but without files."""
    options, variant = options or OpenOptions(), make_numbered_variant(network.kind)
    manifest = make_manifest(
        variant,
        frame=FrameSpec(size_hw=(SIDE, SIDE)),
        head=HeadSpec(kind=network.kind, size_hw=(CELLS, CELLS)),
        labels=tuple(Label(id=number, name=str(number), color=(0, 0, number)) for number in range(CLASSES)),
        files={name: FileSpec(bytes=0, sha256=SHA) for name in FILES},
    )
    bundle = Bundle(root=Path("/nowhere/numbered.evseg"), manifest=manifest, sha256=SHA)
    whole = network.opener(variant.entry, GraphSpec.of(input=variant.input, output=variant.output))
    given = EngineOptions(policy=policy, threads=1, replay=options.replay, clock=options.clock)
    engine = open_engine(bundle, variant, whole, network.opener, given)
    selection = Selection(variant=variant, options=SessionOptions(threads=1))
    return Segmenter(
        bundle, selection, whole, engine, policy=make_policy(policy) if isinstance(policy, str) else policy
    )
