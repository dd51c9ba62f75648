"""Export a reference network calibrated on CamVid, and compare all graphs on CamVid's val clip.

    python examples/camvid.py CAMVID_DIR out/

Writes ``camvid.evseg`` and ``overlay.mp4`` to the folder, and prints mIoU, IoU per class and speed of every graph.
CAMVID_DIR contains train, trainannot, val and valannot. The val frames were not used for training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_vseg import OpenOptions, Segmenter, VideoWriter
from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.evaluation import compare_variants
from edge_vseg.bundle.labels import named_labels
from edge_vseg.calibration import sample_frames
from edge_vseg.export import ExportOptions, export_bundle
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.imaging.overlay import draw_overlay


def main() -> None:
    """Export, compare the graphs, draw the overlay video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, help="CamVid's folder")
    parser.add_argument("output", type=Path, help="output folder")
    parser.add_argument("--network", choices=("small", "middle", "large"), default="middle")
    parser.add_argument("--weights", type=Path, help="your own weights instead of the shipped ones")
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino", "tflite"])
    parser.add_argument("--frames", type=int, help="number of val frames; all by default")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    val = open_dataset(f"camvid:{arguments.camvid}:val")[: arguments.frames]
    frames = sample_frames([str(arguments.camvid / "train")], calibration=32, validation=24, seed=0)
    options = ExportOptions(
        weights=arguments.weights,
        labels=named_labels("camvid"),
        size_hw=(360, 480),
        normalization=NORMALIZATION,
        runtimes=tuple(arguments.runtimes),
    )
    source = f"edge_vseg.export.reference.zoo:{arguments.network}"
    bundle = export_bundle(source, arguments.output / "camvid.evseg", frames, options).path
    scores = compare_variants(bundle, val)
    print(f"{'variant':28}{'mIoU':>8}{'= float':>10}{'ms':>8}{'speed-up':>10}")
    for score in scores:
        agreement = "" if score.agreement is None else f"{score.agreement:.2%}"
        speed_up = "" if score.speed_up is None else f"{score.speed_up:.2f}x"
        print(f"{score.variant:28}{score.miou or 0:>8.2%}{agreement:>10}{score.infer_ms:>8.1f}{speed_up:>10}")
    for name in scores[0].iou:
        print(f"{name:28}" + "".join(f"{score.iou.get(name, float('nan')):>8.1%}" for score in scores))
    fastest = min(scores, key=lambda score: score.total_ms).variant
    with (
        Segmenter.open(bundle, options=OpenOptions(variant=fastest)) as segmenter,
        VideoWriter(arguments.output / "overlay.mp4", 15.0, (360, 480)) as writer,
    ):
        for frame in val:
            labels = segmenter(frame.image).labels
            writer.write(draw_overlay(frame.image, labels, segmenter.bundle.manifest.labels))


if __name__ == "__main__":
    main()
