"""A bundle, pictures, and what one machine makes of them, for another machine to compare its own label maps with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_vseg import Frame, OpenOptions, Segmenter, open_source
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.scheduling.policies import Fixed, Policy

VARIANTS = (
    "onnxruntime/float",
    "onnxruntime/int8-arm64",
    "openvino/float",
    "openvino/int8",
    "tflite/float",
    "tflite/int8",
)
POLICIES: Mapping[str, Policy] = {
    "flow": Fixed(period_frames=3, motion="dis-fine"),
    "codec": Fixed(period_frames=3, motion="codec"),
}
"""Their decisions do not depend on the speed of the machine. ``flow`` gets the same frames on all machines, ``codec``
what each decodes, for the encoder's motion vectors."""
FRAME_NS = 66_666_667
SCHEDULED = ("onnxruntime/int8-arm64", "tflite/int8")

Maps = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What another machine found.

    Attributes:
        bundle: The bundle.
        frames: ``(N, H, W, 3)`` uint8 BGR, single pictures of a drive.
        clip: A short video of it.
        decoded: ``(M, H, W, 3)`` uint8 BGR, the frames of ``clip`` as that machine decoded them.
        labels: ``(N, H, W)`` uint8 of ``frames`` by variant, and ``(M, H, W)`` of ``clip`` by variant and policy.
        about: Where the frames come from, and the machine.
    """

    bundle: Path
    frames: Maps
    clip: Path
    decoded: Maps
    labels: Mapping[str, Maps]
    about: Mapping[str, str]


def read_reference(folder: Path) -> Reference:
    """Read what :func:`write_reference` wrote."""
    with np.load(folder / "labels.npz") as arrays:
        labels = dict(arrays)
    paths = sorted((folder / "frames").glob("*.png"))
    return Reference(
        bundle=folder / "street.evseg",
        frames=np.stack([cv2.imread(str(path)) for path in paths]),
        clip=folder / "clip.mp4",
        decoded=labels.pop("decoded"),
        labels=labels,
        about=json.loads((folder / "about.json").read_text()),
    )


def write_reference(folder: Path, frames: Sequence[Maps], origin: str) -> None:
    """Write the label maps of this machine.

    Args:
        folder: It contains ``street.evseg`` and ``clip.mp4``.
        frames: Single pictures.
        origin: Where they come from.
    """
    (folder / "frames").mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / "frames" / f"{number:03}.png"), frame)
    clip = folder / "clip.mp4"
    arrays = {"decoded": decode(clip)}
    for variant in VARIANTS:
        arrays[variant] = label_maps(folder / "street.evseg", variant, frames)
    for variant in SCHEDULED:
        for policy in POLICIES:
            arrays[f"{variant} {policy}"] = scheduled_maps(
                folder / "street.evseg", variant, clip, policy, arrays["decoded"]
            )
    np.savez_compressed(folder / "labels.npz", **arrays)  # type: ignore[arg-type]
    (folder / "about.json").write_text(json.dumps({"frames": origin, "cpu": cpu_features().model}))


def label_maps(bundle: Path, variant: str, frames: Sequence[Maps]) -> Maps:
    """The whole network on each picture, on one thread."""
    with Segmenter.open(bundle, threads=1, options=OpenOptions(variant=variant)) as segmenter:
        return np.stack([segmenter(frame).labels for frame in frames])


def scheduled_maps(bundle: Path, variant: str, clip: Path, policy: str, decoded: Maps) -> Maps:
    """The video under a policy of :data:`POLICIES`."""
    options = OpenOptions(variant=variant)
    with (
        Segmenter.open(bundle, threads=1, options=options, policy=POLICIES[policy]) as segmenter,
        open_source(str(clip)) as video,
    ):
        pictures = (Frame(image=image, seq=at, capture_ns=at * FRAME_NS) for at, image in enumerate(decoded))
        results = [segmenter(frame) for frame in (video if policy == "codec" else pictures)]
    assert {result.source for result in results} >= {"inferred", "propagated"}, "the policy has to do something"
    return np.stack([result.labels for result in results])


def decode(clip: Path) -> Maps:
    """All frames of a video."""
    with open_source(str(clip)) as frames:
        return np.stack([frame.image for frame in frames])
