"""The numbered network as a runtime and a bundle on disk: its maps show which frame they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from msgspec.structs import replace
from numbered_network import CELLS, CLASSES, FILES, SIDE, Network, image_of, make_numbered_variant
from reference_bundle import make_manifest

from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, stage_bundle
from edge_vseg.bundle.manifest import FrameSpec, HeadSpec, Label
from edge_vseg.runtimes import GraphSpec, SessionOptions
from edge_vseg.types import Tensor

RUNTIME = "numbered"


class _Session:
    provider = "cpu"

    def __init__(self, graph: str, shift: int, spec: GraphSpec) -> None:
        self._graph, self._shift, self._spec, self._network = graph, shift, spec, Network()

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        assert {spec.name: spec.shape for spec in self._spec.inputs} == {k: v.shape for k, v in inputs.items()}
        outputs = self._network.run(self._graph, inputs)
        return {name: np.roll(each, self._shift, 1) if name == "scores" else each for name, each in outputs.items()}

    def close(self) -> None:
        """Nothing to release."""


class NumberedRuntime:
    """Opens files that say which graph of the network they are, and how far its classes are shifted."""

    name, extra = RUNTIME, ""

    def version(self) -> str:
        return "numbered 1.0"

    def providers(self) -> tuple[str, ...]:
        return ("cpu",)

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> _Session:
        graph, shift = path.read_text().split(":")
        return _Session(graph, int(shift), spec)


def write_numbered_bundle(target: Path, *, shift: int = 0, runtime: str = RUNTIME) -> Path:
    """A bundle for the runtime; a ``shift`` moves the classes of all its maps."""
    variant = replace(make_numbered_variant(), id=f"{runtime}/float", runtime=runtime)
    with stage_bundle(target) as staging:
        for name in FILES:
            (staging.root / name).write_text(f"{Path(name).stem.replace('-', ' ')}:{shift}")
        (staging.root / "check").mkdir()
        labels = np.full((SIDE, SIDE), (7 + shift) % CLASSES, np.uint8)
        for name, picture in ((CHECK_FRAME, image_of(7)), (CHECK_LABELS, labels)):
            (staging.root / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        manifest = make_manifest(
            variant,
            name=f"numbered {shift}",
            frame=FrameSpec(size_hw=(SIDE, SIDE)),
            head=HeadSpec(kind="scores", size_hw=(CELLS, CELLS)),
            labels=tuple(Label(id=number, name=str(number), color=(0, 0, number)) for number in range(CLASSES)),
            files=staging.list_files(),
        )
        staging.commit(manifest)
    return target
