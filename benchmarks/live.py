"""Is the deadline kept live? Run a bundle on a video in real time under the policy deadline, and look at every answer.

Frames arrive at a rate like those of a camera; those that arrive while one is answered are dropped. The network cannot
be made slower, so the rate makes its duration the wanted number of frame periods: ``--periods 1.4`` looks it up.
``--load 1`` starts one busy process beside it, ``--still`` shows the first frame for ever.

    python benchmarks/live.py street.evseg drive.mp4 --rate 30 --deadline-ms 10 --load 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from harness import provenance, write_json

from edge_vseg import Deadline, Frame, OpenOptions, Segmenter, open_source
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import Image, Result

WARM_UP_FRAMES = 30


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("video")
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second that arrive")
    parser.add_argument("--periods", type=float, help="instead of --rate: network duration in frame periods")
    parser.add_argument("--deadline-ms", type=float, default=10.0)
    parser.add_argument("--cpu-share", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--load", type=int, default=0, help="busy processes beside it")
    parser.add_argument("--still", action="store_true", help="show one frame for ever")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with open_source(arguments.video) as source:
        images = [frame.image for frame in islice(source, 300)]
    if arguments.still:
        images = images[:1]
    options = OpenOptions(precision=arguments.precision)
    with Segmenter.open(
        arguments.bundle, runtime=arguments.runtime, threads=arguments.threads, options=options
    ) as plain:
        truth = [plain(image).labels for image in images]
        network_ms = float(np.median([plain(image).latency_ms["infer"] for image in islice(cycle(images), 30)]))
    rate = arguments.periods * 1e3 / network_ms if arguments.periods else arguments.rate
    policy = Deadline(milliseconds=arguments.deadline_ms, cpu_share=arguments.cpu_share)
    with (
        Segmenter.open(
            arguments.bundle, runtime=arguments.runtime, threads=arguments.threads, policy=policy, options=options
        ) as segmenter,
        busy_processes(arguments.load),
    ):
        answers, cpu_share = run(segmenter, images, rate, arguments.seconds)
    figures = summary(answers, truth, rate) | {
        "network_ms": network_ms, "periods": network_ms * rate / 1e3, "rate": rate, "process_cpu_share": cpu_share
    }  # fmt: skip
    for name, value in figures.items():
        print(f"{name:18}{value:>12.4g}")
    about = {key: str(value) for key, value in vars(arguments).items()}
    write_json(arguments.json, {"arguments": about, "figures": figures, "provenance": provenance(arguments.threads)})


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that each keep a core busy, at normal priority."""
    processes = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _spin() -> None:
    while True:
        sum(range(10_000))


def run(
    segmenter: Segmenter, images: Sequence[Image], rate: float, seconds: float
) -> tuple[list[tuple[int, Result]], float]:
    """Play images there and back; returns the answers after a warm-up, and the process's share of the cores."""
    order = [*range(len(images)), *range(len(images) - 2, 0, -1)]
    answers: list[tuple[int, Result]] = []
    begin, used, seq, last = time.monotonic(), time.process_time(), 0, round(rate * seconds) + WARM_UP_FRAMES
    measured_from = begin
    while seq < last:
        due = begin + seq / rate
        time.sleep(max(0.0, due - time.monotonic()))
        seq = max(seq, int((time.monotonic() - begin) * rate))  # the newest frame
        index = order[seq % len(order)]
        result = segmenter(Frame(image=images[index], seq=seq, capture_ns=round((begin + seq / rate) * 1e9)))
        if seq >= WARM_UP_FRAMES:
            answers.append((index, result))
        else:
            measured_from, used = time.monotonic(), time.process_time()
        seq += 1
    share = (time.process_time() - used) / (time.monotonic() - measured_from) / usable_cores()
    return answers, share


def summary(answers: Sequence[tuple[int, Result]], truth: Sequence[np.ndarray], rate: float) -> dict[str, float]:
    """Latencies, misses, ages, and agreement with every-frame inference."""
    total = [result.latency_ms["total"] for _, result in answers]
    p50, p99, longest = (float(value) for value in np.percentile(total, (50, 99, 100)))
    numbers = [result.seq for _, result in answers]
    return {
        "frames": len(answers),
        "dropped": numbers[-1] - numbers[0] + 1 - len(numbers),
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": longest,
        "misses": float(np.mean([result.deadline_missed for _, result in answers])),
        "over_budget": float(np.mean([result.over_budget for _, result in answers])),
        "agreement": float(np.mean([np.mean(result.labels == truth[index]) for index, result in answers])),
        "age_frames": float(np.mean([result.age_frames for _, result in answers])),
        "keyframes": float(sum(result.decision.summary.startswith(("launch", "collect")) for _, result in answers)),
    }


if __name__ == "__main__":
    main()
