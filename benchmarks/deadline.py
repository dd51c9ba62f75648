"""What does a deadline cost in accuracy where the network is slower than the camera, and what do the alternatives cost?

Replays a device profile on a virtual clock with the network so many frame periods long, on CamVid's val clip at 15
frames per second, or with ``--street`` on a rendered street at 30. Judged is what is shown one deadline after the
arrival of each frame (streaming mIoU), for:

- *deadline* and *async*, the policies; at 1.4 periods also *deadline* with half of the machine, and at 2 periods with a
  deadline of one period, in which parts of the network fit;
- *newest frame*: the newest frame is inferred whenever the network is free, others are dropped, the last map is held;
- *newest frame, two in flight*: the same with OpenVINO's AsyncInferQueue of two requests; what two cost each other is
  measured here on the bundle's OpenVINO variant (``in_flight.py``), and modelled by the number of cores without one;
- with ``--smaller`` and ``--small``, *smaller input* and *small network*: other bundles on the newest frame; how much
  faster they are is measured here, in turns, and held against the network's periods;
- with ``--companion``, the two policies with that bundle on frames whose map is old. Its cost is not that of a device:
  ``--companion-ms`` on every such frame, however long the network takes.

    edge-vseg calibrate street.evseg drive.mp4 --threads 2 --runtime onnxruntime -o device.json
    python benchmarks/deadline.py street.evseg --replay device.json --plot deadline.png
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import in_flight
import msgspec
from harness import in_turns, provenance, write_json

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.analysis.cpu_use import cores_of
from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.evaluation import EvaluationOptions, PolicyScore, evaluate_policy
from edge_vseg.analysis.evaluation.newest_frame import NewestFrame
from edge_vseg.analysis.evaluation.rivals import StreamFigures, StreamMeter
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile, read_device_profile, write_device_profile
from edge_vseg.scheduling.policies import Async, Deadline, Policy
from edge_vseg.scheduling.steps import Step, StepKind
from edge_vseg.types import LabelMap

CAMVID_RATE, STREET_RATE = 15.0, 30.0
STREET = StreetOptions(size_hw=(360, 480), rate=STREET_RATE, seed=7)
PERIODS = (0.7, 1.4, 2.8, 4.2)
"""Frame periods that the network takes."""
SHARED_PERIODS, STAGED_PERIODS = 1.4, 2.0
"""Those with half of the machine, and with a deadline of one period."""
RIVAL_NAMES = {"newest-frame": "newest frame", "newest-frame-async": "newest frame, two in flight"}
RATIO_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is replayed on what."""

    bundle: Path
    replay: Path
    profile: DeviceProfile
    clip: list[LabelledFrame]
    rate: float
    threads: int
    slowdown: float | None
    companion: Path | None = None

    @property
    def period_ms(self) -> float:
        """Milliseconds from frame to frame."""
        return 1e3 / self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A duration of the network, a deadline, and the policies to replay."""

    periods: float
    deadline_ms: float
    policies: dict[str, Policy]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OtherNetwork:
    """Another bundle: its maps of the clip, and its duration over that of the network."""

    maps: list[LabelMap]
    baseline: list[LabelMap]
    ratio: float


def main() -> None:
    """Replay, print, write JSON and a plot."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Replay, print, write JSON and a plot; a profile with a companion's costs lies in a folder meanwhile."""
    found = in_flight.measure(arguments.bundle, arguments.threads, arguments.rounds)
    print(in_flight.describe(found) if found else "two in flight: by the number of cores, without an OpenVINO variant")
    replay, profile = arguments.replay, read_device_profile(arguments.replay)
    if arguments.companion:
        replay, profile = folder / "profile.json", with_companion(profile, arguments.companion_ms)
        write_device_profile(replay, profile)
    setup = Setup(
        bundle=arguments.bundle,
        replay=replay,
        profile=profile,
        clip=clip_of(arguments),
        rate=STREET_RATE if arguments.street else CAMVID_RATE,
        threads=arguments.threads,
        slowdown=found and found["slowdown"],
        companion=arguments.companion,
    )
    given = {"smaller input": arguments.smaller, "small network": arguments.small}
    others = {name: other_network(setup, path) for name, path in given.items() if path is not None}
    rows = []
    print(f"deadline {arguments.deadline_ms:g} ms, {setup.rate:g} frames a second")
    print(f"{'network, periods':>16}  {'':30}{'mIoU lost':>9}{'p99 ms':>8}{'misses':>8}{'age':>6}{'CPU':>6}")
    for scenario in scenarios(arguments.deadline_ms, setup.period_ms):
        for row in scenario_rows(setup, scenario, others):
            rows.append(row)
            print(line(row))
    ratios = {name: other.ratio for name, other in others.items()}
    tree = {"rows": rows, "replayed": setup.profile.machine, "in_flight": found, "ratios": ratios}
    write_json(arguments.json, tree | {"provenance": provenance(arguments.threads)})
    if arguments.plot:
        draw(arguments.plot, rows, arguments.deadline_ms, setup.rate)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--replay", type=Path, required=True, help="device profile of the bundle")
    parser.add_argument("--smaller", type=Path, help="bundle of the same network with a smaller input")
    parser.add_argument("--small", type=Path, help="bundle of a smaller network")
    parser.add_argument("--companion", type=Path, help="bundle of a fast network, fused with old maps")
    parser.add_argument("--companion-ms", type=float, default=4.0, help="what it costs on a frame")
    parser.add_argument("--data", type=Path, help="CamVid; by default in EDGE_VSEG_DATA")
    parser.add_argument("--street", type=int, help="instead: so many frames of a rendered street at 30 a second")
    parser.add_argument("--deadline-ms", type=float, default=10.0)
    parser.add_argument("--frames", type=int, help="only so many frames of the clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=in_flight.ROUNDS, help="turns to measure two in flight in")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    return parser.parse_args()


def clip_of(arguments: argparse.Namespace) -> list[LabelledFrame]:
    """The labelled frames."""
    if arguments.street:
        return [LabelledFrame(image=f.image, labels=f.labels) for f in render_street(STREET, arguments.street)]
    data = arguments.data or Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    return open_dataset(f"camvid:{data}:val")[: arguments.frames]


def with_companion(profile: DeviceProfile, milliseconds: float) -> DeviceProfile:
    """The profile with a cost of a companion."""
    cost = Cost(runs=0, p50=milliseconds, p90=1.2 * milliseconds, p99=1.5 * milliseconds)
    others = {name: each for name, each in profile.costs.items() if Step.named(name).kind is not StepKind.COMPANION}
    return msgspec.structs.replace(profile, costs=others | {steps.COMPANION: cost})


def scenarios(deadline_ms: float, period_ms: float) -> list[Scenario]:
    """What to replay, in order of the network's duration."""
    made = [Scenario(periods=each, deadline_ms=deadline_ms, policies=policies(each, deadline_ms)) for each in PERIODS]
    staged: dict[str, Policy] = {"deadline of one period": Deadline(milliseconds=period_ms)}
    made.append(Scenario(periods=STAGED_PERIODS, deadline_ms=period_ms, policies=staged))
    return sorted(made, key=lambda each: each.periods)


def policies(periods: float, deadline_ms: float) -> dict[str, Policy]:
    """The policies for a network of so many periods."""
    made: dict[str, Policy] = {"deadline": Deadline(milliseconds=deadline_ms), "async": Async()}
    if periods == SHARED_PERIODS:
        made["deadline, half of the machine"] = Deadline(milliseconds=deadline_ms, cpu_share=0.5)
    return made


def scenario_rows(setup: Setup, scenario: Scenario, others: dict[str, OtherNetwork]) -> list[dict[str, Any]]:
    """The figures of all policies and rivals."""
    rows = []
    scores = {name: replayed(setup, scenario, policy) for name, policy in scenario.policies.items()}
    if setup.companion is not None:
        for name in list(scores):
            scores[f"{name}, companion"] = replayed(setup, scenario, scenario.policies[name], setup.companion)
    for name, score in scores.items():
        assert score.streaming is not None
        figures = asdict(score.streaming) | {"cpu_share": score.cpu_share}
        measured = {"p99_ms": score.timing.p99, "misses": score.misses, "miou": score.miou}
        rows.append(_row(name, scenario, score, score.streaming) | figures | measured)
    score = next(iter(scores.values()))
    shown = {RIVAL_NAMES[name]: figures for name, figures in score.rivals.items()}
    shown |= {name: newest_frame(setup, scenario, other) for name, other in others.items()}
    return rows + [_row(name, scenario, score, figures) | asdict(figures) for name, figures in shown.items()]


def _row(name: str, scenario: Scenario, score: PolicyScore, figures: StreamFigures) -> dict[str, Any]:
    """What every row has; ``lost`` is what is shown in time against every frame's own map."""
    lost = (score.every_frame_miou or 0.0) - (figures.miou or 0.0)
    return {"name": name, "periods": scenario.periods, "deadline_ms": scenario.deadline_ms, "lost": lost}


def replayed(setup: Setup, scenario: Scenario, policy: Policy, companion: Path | None = None) -> PolicyScore:
    """Replay a policy, with a companion if there is one."""
    options = EvaluationOptions(
        variant=setup.profile.variant,
        threads=setup.threads,
        deadline_ms=scenario.deadline_ms,
        rate=setup.rate,
        replay=setup.replay,
        network_scale=scenario.periods * setup.period_ms / setup.profile.costs[steps.INFER].p50,
        in_flight_slowdown=setup.slowdown,
        companion=companion,
    )
    return evaluate_policy(setup.bundle, setup.clip, policy, options)


def other_network(setup: Setup, bundle: Path) -> OtherNetwork:
    """Run another bundle on the clip, and time it against the network."""
    runtime = setup.profile.variant.partition("/")[0]
    precision = "int8" if "int8" in setup.profile.variant else "float"
    image = setup.clip[0].image
    # Not the profile's variant by its id: it may be of another CPU, and both are timed on this one.
    options = OpenOptions(precision=precision)
    with (
        Segmenter.open(setup.bundle, runtime=runtime, threads=setup.threads, options=options) as own,
        Segmenter.open(bundle, runtime=runtime, threads=setup.threads, options=options) as other,
    ):
        samples = in_turns({"own": lambda: own(image), "other": lambda: other(image)}, RATIO_ROUNDS)
        maps = [other(frame.image).labels for frame in setup.clip]
        baseline = [own(frame.image).labels for frame in setup.clip]
    return OtherNetwork(
        maps=maps, baseline=baseline, ratio=statistics.median(samples["other"]) / statistics.median(samples["own"])
    )


def newest_frame(setup: Setup, scenario: Scenario, other: OtherNetwork) -> StreamFigures:
    """Another network on the newest frame, its duration in proportion."""
    meter = StreamMeter(
        1 + max(int(each.max()) for each in (*other.maps, *other.baseline)),
        NewestFrame(setup.period_ms, lag_ms=scenario.deadline_ms),
    )
    latency_ms = other.ratio * scenario.periods * setup.period_ms
    for frame, own, baseline in zip(setup.clip, other.maps, other.baseline, strict=True):
        meter.add(frame.labels, baseline, own, latency_ms=latency_ms)
    return meter.figures(min(1.0, setup.threads / cores_of(setup.profile)))


def line(row: dict[str, Any]) -> str:
    """A row for people; rivals have no latency of their own: something is shown at any time."""
    timing = f"{row['p99_ms']:>8.1f}{row['misses']:>8.1%}" if "p99_ms" in row else f"{'':16}"
    share = "" if row["cpu_share"] is None else f"{row['cpu_share']:.0%}"
    return f"{row['periods']:>16}  {row['name']:30}{100 * row['lost']:>9.2f}{timing}{row['age_frames']:>6.1f}{share:>6}"


def draw(path: Path, rows: list[dict[str, Any]], deadline_ms: float, rate: float) -> None:
    """The loss of each by the network's duration; what was replayed at one duration only is a cross."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    lines = [each for each in rows if each["deadline_ms"] == deadline_ms]
    for name in dict.fromkeys(each["name"] for each in rows):
        own = [each for each in lines if each["name"] == name]
        own = own or [each for each in rows if each["name"] == name]
        periods, lost = [each["periods"] for each in own], [100 * each["lost"] for each in own]
        axes.plot(periods, lost, "o-" if len(own) > 1 else "x", label=name)
    axes.set_xlabel("network, in frame periods")
    axes.set_ylabel("mIoU lost against every frame")
    axes.set_title(f"shown {deadline_ms:g} ms after each frame, {rate:g} frames a second", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
