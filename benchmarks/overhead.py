"""How much pre- and post-processing add to a bare ``session.run``: 480x360, 11 classes, int8 ONNX Runtime.

    python benchmarks/overhead.py --json benchmarks/results/overhead.json

For comparison, the usual way: upsample all logits with OpenCV, then ``numpy.argmax``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from harness import SIZE_HW, in_turns, make_bundle, parse_arguments, provenance, summary, write_json

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime

VARIANT_PREFIX = "onnxruntime/int8"


def main() -> None:
    """Time, print, write JSON."""
    arguments = parse_arguments(__doc__ or "")
    with TemporaryDirectory() as folder:
        path = arguments.bundle or make_bundle(Path(folder), arguments.network, ("onnxruntime",))
        options = OpenOptions(precision="int8")
        with Segmenter.open(path, runtime="onnxruntime", threads=arguments.threads, options=options) as segmenter:
            tree = measure(segmenter, arguments.threads, arguments.rounds)
    print(f"{tree['variant']}: bare run {tree['bare']['median_ms']:.2f} ms")
    print(f"whole pipeline {tree['pipeline']['median_ms']:.2f} ms, {tree['pipeline_over_bare']:.3f} x the bare run")
    print(f"with numpy.argmax {tree['numpy']['median_ms']:.2f} ms, {tree['numpy_over_bare']:.3f} x the bare run")
    write_json(arguments.json, tree)


def measure(segmenter: Segmenter, threads: int, rounds: int) -> dict:
    """Medians of the three candidates, in one run."""
    variant = segmenter.variant
    spec = GraphSpec.of(input=variant.input, output=variant.output)
    path = segmenter.bundle.entry(variant)
    session = get_runtime(variant.runtime).open(path, spec, SessionOptions(threads=threads))
    size = segmenter.bundle.manifest.frame.size_hw
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    feed = {spec.input.name: frame[None]}

    def numpy_way() -> np.ndarray:
        scores = session.run(feed)[spec.output.name][0]
        return np.stack([cv2.resize(plane, (size[1], size[0])) for plane in scores]).argmax(0).astype(np.uint8)

    candidates = {"bare": lambda: session.run(feed), "pipeline": lambda: segmenter(frame), "numpy": numpy_way}
    samples = in_turns(candidates, rounds)
    tree = {name: summary(values) for name, values in samples.items()}
    bare = tree["bare"]["median_ms"]
    return tree | {
        "variant": variant.id,
        "size_hw": SIZE_HW,
        "pipeline_over_bare": tree["pipeline"]["median_ms"] / bare,
        "numpy_over_bare": tree["numpy"]["median_ms"] / bare,
        "provenance": provenance(threads),
    }


if __name__ == "__main__":
    main()
