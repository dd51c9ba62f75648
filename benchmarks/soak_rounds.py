"""The rounds of a soak test: each ill-treats one part, and says what was wrong."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge_vseg import Frame, OpenOptions, Pipeline, Segmenter, StaleError, open_bundle, open_source
from edge_vseg.errors import EdgeVsegError, SessionError
from edge_vseg.pipeline.options import PipelineOptions
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile
from edge_vseg.scheduling.policies import POLICIES, Policy, make_policy
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.types import Image
from edge_vseg.video import InputOptions, ReconnectOptions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "video"))
from rtsp_server import RtspServer, encode

PERIOD_NS = 40_000_000
ROUND_FRAMES = 40
SETTLING_FRAMES = 48
"""Frames of a steady stream after which both have learnt the same of the camera's pace, which outlives a stream."""
COMPARED_FRAMES = 48
"""Frames of the stream after it."""
GAP_NS = 100_000_000_000
SIZES_HW = ((240, 320), (120, 160))
DEEDS = ("nothing", "cut", "freeze", "set back", "restart")


@dataclass
class Findings:
    """What was done, and what was wrong."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def make_policies(parts: set[str]) -> dict[str, Policy]:
    """Each policy with parameters that make it work, of those whose parts the variant has."""
    needed = {"fixed": {"period_frames": 4}, "async": {}, "deadline": {"milliseconds": 15.0}}
    made = {}
    for name in POLICIES:
        try:
            policy = make_policy(name, **needed.get(name, {}))
        except EdgeVsegError:
            continue
        if policy.needs in ("", "any") or policy.needs in parts:
            made[name] = policy
    return made


def steady(profile: DeviceProfile) -> DeviceProfile:
    """A profile whose steps always take their median, so that two engines decide alike whatever they drew before."""
    costs = {name: Cost(runs=c.runs, p50=c.p50, p90=c.p50, p99=c.p50) for name, c in profile.costs.items()}
    return DeviceProfile(
        bundle_sha256=profile.bundle_sha256, variant=profile.variant, machine=profile.machine, threads=profile.threads,
        runtime=profile.runtime, video=profile.video, costs=costs, drift=profile.drift, aging=profile.aging,
    )  # fmt: skip


class ReplayedEngines:
    """A segmenter for each policy that lives as long as the soak, on replayed costs; fresh ones must equal it."""

    def __init__(self, bundle: Path, profile: DeviceProfile, images: list[Image], chance: random.Random) -> None:
        self._bundle, self._profile, self._images, self._chance = bundle, steady(profile), images, chance
        variant = open_bundle(bundle).manifest.variant(profile.variant)
        parts = {"slices": variant.slices, "context": variant.context, "tiles": variant.tile}
        self.policies = make_policies({name for name, part in parts.items() if part})
        self._old = {name: self._open(name) for name in self.policies}

    def _open(self, name: str) -> tuple[Segmenter, VirtualClock]:
        clock = VirtualClock()
        options = OpenOptions(variant=self._profile.variant, replay=self._profile, clock=clock)
        threads = self._profile.threads
        return Segmenter.open(self._bundle, policy=self.policies[name], threads=threads, options=options), clock

    def round(self, name: str, findings: Findings) -> None:
        """Frames that are lost, late, doubled or of another size; then a new stream, as a fresh segmenter sees it."""
        old, clock = self._old[name]
        seq = 0
        for _ in range(ROUND_FRAMES):
            seq += self._chance.choice((1, 1, 1, 1, 1, 2, 5, 40))
            image = self._chance.choice(self._images)
            if self._chance.random() < 0.1:
                image = np.ascontiguousarray(image[: self._chance.randrange(40, image.shape[0])])
            if self._chance.random() < 0.05:
                image = np.zeros_like(image)
            clock.advance_to(max(clock(), seq * PERIOD_NS))
            result = old(Frame(image=image, seq=seq, capture_ns=clock()))
            findings.counts["replayed frames"] += 1
            if result.labels.shape != image.shape[:2]:
                findings.wrong.append(f"{name}: labels {result.labels.shape} for an image {image.shape}")
        fresh, other = self._open(name)
        with fresh:
            for number, (mine, expected) in enumerate(zip(self._run(old, clock), self._run(fresh, other), strict=True)):
                if not np.array_equal(mine, expected):
                    share = float(np.mean(mine != expected))
                    findings.wrong.append(
                        f"{name}: frame {number} of a new stream differs in {share:.2%} of the pixels"
                    )
                    break
            findings.counts["equality checks"] += 1

    def _run(self, segmenter: Segmenter, clock: VirtualClock) -> Iterator[Image]:
        """The label maps of a stream that begins after a steady one and a gap, in which all maps are forgotten."""
        for compared, frames in ((False, SETTLING_FRAMES), (True, COMPARED_FRAMES)):
            begin_ns = clock() + GAP_NS
            for seq in range(frames):
                clock.advance_to(begin_ns + seq * PERIOD_NS)
                image = self._images[seq % len(self._images)]
                labels = segmenter(Frame(image=image, seq=seq, capture_ns=begin_ns + seq * PERIOD_NS)).labels
                if compared:
                    yield labels

    def close(self) -> None:
        """Close all."""
        for segmenter, _ in self._old.values():
            segmenter.close()


class LiveCamera:
    """An RTSP server with a hard life, and a pipeline that reads it."""

    def __init__(self, bundle: Path, images: list[Image], chance: random.Random, seconds: float) -> None:
        def draw(number: int, size_hw: tuple[int, int]) -> Image:
            return cv2.resize(images[number % len(images)], size_hw[::-1])

        self._bundle, self._chance, self._seconds = bundle, chance, seconds
        self._pictures = {size_hw: encode(size_hw, draw=draw) for size_hw in SIZES_HW}

    def round(self, policy: Policy, findings: Findings) -> None:
        """Open, be ill-treated for some seconds, close; the accounting is exact, and nothing old is handed out."""
        size_hw = self._chance.choice(SIZES_HW)
        server = RtspServer(pictures=self._pictures[size_hw], period_s=0.04)
        reconnect = ReconnectOptions(first_s=0.02, cap_s=0.2, stall_s=0.5)
        source = open_source(server.address, live=True, input_options=InputOptions(timeout_s=5, reconnect=reconnect))
        options = PipelineOptions(max_age_ms=400.0)
        try:
            with Pipeline.open(self._bundle, source, policy=policy, threads=1, options=options) as pipeline:
                end_s = time.monotonic() + self._seconds
                deed_s = time.monotonic() + self._seconds / 3
                while time.monotonic() < end_s:
                    if time.monotonic() > deed_s:
                        deed_s = end_s
                        server = self._suffer(server, findings)
                    self._look(pipeline, findings)
                    time.sleep(0.02)
                server.frozen.clear()
        finally:
            server.close()

    def _look(self, pipeline: Pipeline, findings: Findings) -> None:
        try:
            result = pipeline.latest()
        except StaleError:
            findings.counts["stale answers"] += 1
        else:
            age_ms = (time.monotonic_ns() - result.capture_ns) / 1e6
            findings.counts["fresh answers"] += 1
            if age_ms > 450:
                findings.wrong.append(f"a result of {age_ms:.0f} ms was handed out")
        counts = pipeline.counts
        if counts.captured != counts.delivered + counts.dropped + counts.failed + counts.in_flight:
            findings.wrong.append(f"{counts} does not add up")

    def _suffer(self, server: RtspServer, findings: Findings) -> RtspServer:
        deed = self._chance.choice(DEEDS)
        findings.counts[f"deed: {deed}"] += 1
        match deed:
            case "cut":
                server.cut()
            case "freeze":
                server.frozen.set()
            case "set back":
                server.set_back_ticks = 900_000
            case "restart":
                server.close()
                return RtspServer(
                    port=server.port, pictures=self._pictures[self._chance.choice(SIZES_HW)], period_s=0.04
                )
        return server


def file_round(bundle: Path, video: Path, scratch: Path, chance: random.Random, findings: Findings) -> None:
    """Read a video, and a copy of it that was cut off somewhere, and open every variant for a frame."""
    data = video.read_bytes()
    broken = scratch / f"broken{video.suffix}"
    broken.write_bytes(data[: chance.randrange(len(data))])
    image = None
    for path in (video, broken):
        try:
            with open_source(path, max_frames=30) as source:
                for frame in source:
                    image = frame.image
                    findings.counts["decoded frames"] += 1
        except EdgeVsegError:
            findings.counts["named errors of videos"] += 1
    assert image is not None
    for variant in open_bundle(bundle).manifest.variants:
        try:
            with Segmenter.open(bundle, threads=1, options=OpenOptions(variant=variant.id)) as segmenter:
                segmenter(image)
                findings.counts["openings"] += 1
        except SessionError as exc:
            findings.wrong.append(f"{variant.id}: {exc}")
        except EdgeVsegError:
            findings.counts["variants for other machines"] += 1
