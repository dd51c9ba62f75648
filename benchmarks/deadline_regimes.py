"""Is the deadline kept, whatever the network, the device and the deadline are? Costs are replayed.

    python benchmarks/deadline_regimes.py --json regimes.json
    python benchmarks/deadline_regimes.py --periods 12 --verbose

A live camera of 30 frames a second gives its newest frame whenever the one before is answered. The network takes from
0.3 to 40 frame periods; the deadline is 0.15 to 1 of a period; a carried map costs 1 or 5 ms; there are 1, 2 or 4
cores, all of them or 30 % of them to be used; and durations are steady, or their 99th percentile is twice the median.
The network is that of the tests, in four slices, with a context and tiles, on a street that moves sideways. Printed for
each duration of the network, after four of them: the largest share of late frames, the smallest share of frames that
were answered, and the oldest map in durations of the network in the background (over the share of the cores).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from harness import provenance, write_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from numbered_network import CLASSES, image_of, make_profile
from numbered_video import MS, Video

from edge_vseg.scheduling.device_profile import Contention, DeviceProfile
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.types import Frame

PERIOD_MS = 1000 / 30
PERIODS = (0.3, 0.7, 1.2, 2.0, 4.0, 8.0, 12.0, 20.0, 40.0)
DEADLINES = (0.15, 0.3, 0.6, 1.0)
OWN_MS = (0.5, 2.0)
CARRIED = 2.3
"""Steps of half a millisecond or two that a carried map consists of."""
CORES, SHARES, SPREADS = (1, 2, 4), (1.0, 0.3), (1.0, 2.0)
BESIDE = Contention(frame=1.2, background=1.3)


@dataclass(frozen=True, kw_only=True)
class Regime:
    """A network, a device and a deadline."""

    periods: float
    deadline_ms: float
    own_ms: float
    cores: int
    share: float
    spread: float

    def profile(self) -> DeviceProfile:
        """What everything costs."""
        made = make_profile(PERIOD_MS * self.periods, spread=self.spread, frame_ms=self.own_ms)
        beside = BESIDE if self.cores > 1 else None
        return msgspec.structs.replace(made, machine=f"board-{self.cores}-00000000", contention=beside)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Shares of frames, and the age of the oldest map in durations of the network."""

    late: float
    answered: float
    age: float


def regimes(periods: tuple[float, ...]) -> Iterator[Regime]:
    """All in which a carried map fits into the deadline."""
    for each, share, own_ms, cores, part, spread in itertools.product(
        periods, DEADLINES, OWN_MS, CORES, SHARES, SPREADS
    ):
        regime = Regime(
            periods=each, deadline_ms=share * PERIOD_MS, own_ms=own_ms, cores=cores, share=part, spread=spread
        )
        if CARRIED * own_ms <= 0.9 * regime.deadline_ms and (cores > 1 or part == 1):
            yield regime


def run(regime: Regime) -> Outcome:
    """Play the camera."""
    video = Video(Deadline(milliseconds=regime.deadline_ms, cpu_share=regime.share), regime.profile())
    begin = int(4 * regime.periods) + 8
    end = begin + max(60, int(10 * regime.periods))
    late, ages, seq = 0, [], -1
    while seq < end:
        seq = max(seq + 1, int(video.clock() // (PERIOD_MS * MS)))
        capture_ns = int(PERIOD_MS * MS * seq)
        video.clock.advance_to(capture_ns)
        result = video.segmenter(Frame(image=image_of(seq % CLASSES, 2 * seq), seq=seq, capture_ns=capture_ns))
        if seq > begin:
            late += result.latency_ms["total"] > 1.001 * regime.deadline_ms
            ages.append(result.age_frames)
    video.segmenter.close()
    network = max(1.0, regime.periods * BESIDE.background) / regime.share
    return Outcome(late=late / len(ages), answered=len(ages) / (end - begin), age=max(ages) / network)


def main() -> None:
    """Play all, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--periods", type=float, action="append", help="only networks of so many; may be repeated")
    parser.add_argument("--verbose", action="store_true", help="a line for each")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    periods = tuple(arguments.periods or PERIODS)
    rows = []
    print("periods  regimes  late frames  answered  oldest map, in durations of the network")
    for each in periods:
        found = [(regime, run(regime)) for regime in regimes((each,))]
        rows += [asdict(regime) | asdict(outcome) for regime, outcome in found]
        if arguments.verbose:
            for regime, outcome in found:
                print(f"    {regime}: {outcome}")
        late, answered = max(o.late for _, o in found), min(o.answered for _, o in found)
        age = max(o.age for _, o in found)
        print(f"{each:7g}  {len(found):7d}  {late:11.1%}  {answered:8.1%}  {age:.1f}", flush=True)
    write_json(arguments.json, {"rows": rows, "provenance": provenance(1)})


if __name__ == "__main__":
    main()
