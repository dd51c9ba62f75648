"""Which share of a network's time runs on every frame when its context is reused? By variant, from a bundle's slices.

    edge-vseg export edge_vseg.export.reference.zoo:middle -o middle.evseg --input-size 360x480 --frames CAMVID/train
    edge-vseg export edge_vseg.export.reference.zoo:middle_thin -o thin.evseg --input-size 360x480 --frames CAMVID/train
    python benchmarks/reuse_share.py middle.evseg thin.evseg

Stem and detail stage run on every frame, the context seldom or a slice at a time. All are timed in turns with the whole
graph, on one image, with values handed over as the engine does; the warp of the context is not in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from harness import in_turns, provenance, summary, write_json

from edge_vseg import open_bundle
from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.types import Tensor


def main() -> None:
    """Measure, print a row for each variant, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    options = SessionOptions(threads=arguments.threads)
    rows = measure(arguments.bundles, arguments.precision, options, arguments.rounds)
    print(f"{'bundle':<20}{'variant':<32}{'whole':>9}{'frame':>9}{'share':>9}{'context':>9}   ms, median")
    for row in rows:
        times = "".join(f"{row[name]:>9.2f}" for name in ("whole_ms", "frame_ms"))
        print(f"{row['bundle']:<20}{row['variant']:<32}{times}{row['share']:>9.1%}{row['context_ms']:>9.2f}")
    write_json(arguments.json, provenance(arguments.threads) | {"rows": rows})


def measure(
    bundles: Sequence[Path], precision: str, options: SessionOptions, rounds: int
) -> list[dict[str, str | float]]:
    """A row for each variant that has a context: medians in ms, and the share of the whole graph's for a frame."""
    rows: list[dict[str, str | float]] = []
    with ExitStack() as stack:
        calls, named = {}, []
        for path in bundles:
            for variant in open_bundle(path).manifest.variants:
                if variant.precision != precision or variant.context is None:
                    continue
                parts = Parts(path, variant, options, stack)
                first, end = variant.context
                frame = [*range(first), *range(end, len(variant.slices))]
                key = f"{path} {variant.id}"
                named.append((path, variant, key))
                calls[f"{key} whole"] = parts.whole
                calls[f"{key} frame"] = lambda parts=parts, frame=frame: parts.run(frame)
                calls[f"{key} context"] = lambda parts=parts, first=first, end=end: parts.run(range(first, end))
        times = {name: summary(samples)["median_ms"] for name, samples in in_turns(calls, rounds).items()}
    for path, variant, key in named:
        whole, frame_ms, context = (times[f"{key} {part}"] for part in ("whole", "frame", "context"))
        rows.append({
            "bundle": path.stem,
            "variant": variant.id,
            "whole_ms": whole,
            "frame_ms": frame_ms,
            "context_ms": context,
            "share": frame_ms / whole,
        })  # fmt: skip
    return rows


class Parts:
    """The graph of a variant and its slices, open, with the values that each of them reads."""

    def __init__(self, path: Path, variant: Variant, options: SessionOptions, stack: ExitStack) -> None:
        self._slices = variant.slices
        whole = Slice(entry=variant.entry, inputs=(variant.input,), outputs=(variant.output,))
        self._sessions: list[Session] = []
        for part in (whole, *variant.slices):
            spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
            self._sessions.append(get_runtime(variant.runtime).open(path / part.entry, spec, options))
            stack.callback(self._sessions[-1].close)
        shape, rng = variant.input.shape, np.random.default_rng(0)
        coarse = rng.integers(0, 256, (shape[1] // 12, shape[2] // 12, shape[3]), np.uint8)
        image = np.repeat(np.repeat(coarse, 12, 0), 12, 1)[None]
        self._frame: dict[str, Tensor] = {variant.input.name: np.ascontiguousarray(image)}
        self._values = dict(self._frame)
        self.run(range(len(variant.slices)))

    def whole(self) -> None:
        """Run the whole graph."""
        self._sessions[0].run(self._frame)

    def run(self, numbers: Sequence[int]) -> None:
        """Run some slices one after another."""
        for number in numbers:
            given = {tensor.name: self._values[tensor.name] for tensor in self._slices[number].inputs}
            self._values |= self._sessions[number + 1].run(given)


if __name__ == "__main__":
    main()
