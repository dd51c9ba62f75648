"""What does a 640x480 ``bgr8`` image cost on its way through DDS, in Python? Needs ``edge-vseg[ros2]``.

    python benchmarks/ros2_image.py --rounds 100 --json benchmarks/results/ros2_image.json

Encoding and decoding by this package and by the Python binding of Cyclone DDS, in turns; then publishing to another
process over loopback, and the way there and back with a small answer. Imports nothing of the workstation: run it on the
robot.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from cyclonedds.idl import make_idl_struct
from cyclonedds.idl.types import sequence, uint8, uint32

from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import decode_message, encode_message
from edge_vseg.messages.images import raw_image, to_bgr
from edge_vseg.topics.dds import DdsTransport
from edge_vseg.topics.port import RELIABLE, SENSOR_DATA

TOPIC, ANSWER = "/benchmark/image", "/benchmark/answer"
WARM_UP_ROUNDS = 5


BindingImage = make_idl_struct(
    "BindingImage", "BindingImage", {"height": uint32, "width": uint32, "data": sequence[uint8]}
)
"""The fields of an image behind its header, for the binding's own encoding."""


def in_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate, one after another in each round."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-WARM_UP_ROUNDS, rounds):
        for name, call in candidates.items():
            start_ns = time.perf_counter_ns()
            call()
            if number >= 0:
                samples[name].append((time.perf_counter_ns() - start_ns) / 1e6)
    return samples


def answer(domain: int) -> None:
    """The other process: decode each image to BGR, answer with its stamp."""
    with DdsTransport(domain, "lo") as transport:
        publisher = transport.publisher(ANSWER, ros.Time, RELIABLE)

        def reply(message: ros.Image) -> None:
            to_bgr(message)
            publisher.publish(message.header.stamp)

        transport.subscribe(TOPIC, ros.Image, SENSOR_DATA, reply)
        sys.stdin.read()  # until the parent closes it


def there_and_back(pixels: np.ndarray, domain: int, rounds: int) -> tuple[dict[str, list[float]], int]:
    """Milliseconds of the call and until the answer, and how many answers did not come within a second."""
    samples: dict[str, list[float]] = {"publish": [], "there and back": []}
    lost, answered = 0, threading.Event()
    child = subprocess.Popen([sys.executable, __file__, "--answer", str(domain)], stdin=subprocess.PIPE)
    try:
        with DdsTransport(domain, "lo") as transport:
            publisher = transport.publisher(TOPIC, ros.Image, SENSOR_DATA)
            transport.subscribe(ANSWER, ros.Time, RELIABLE, lambda _: answered.set())
            _wait_for(lambda: publisher.subscriber_count > 0)
            time.sleep(0.5)  # and for the way back
            for number in range(-WARM_UP_ROUNDS, rounds):
                answered.clear()
                start_ns = time.perf_counter_ns()
                publisher.publish(raw_image(pixels, "bgr8", ros.Header(stamp=ros.Time(sec=1))))
                sent_ns = time.perf_counter_ns()
                came = answered.wait(1.0)
                if number >= 0:
                    samples["publish"].append((sent_ns - start_ns) / 1e6)
                    lost += not came
                    if came:
                        samples["there and back"].append((time.perf_counter_ns() - start_ns) / 1e6)
    finally:
        child.communicate()
    return samples, lost


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the other process does not subscribe")
        time.sleep(0.02)


def measure(size_hw: tuple[int, int], rounds: int, domain: int) -> dict:
    """Medians and interquartile ranges in milliseconds."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    message = raw_image(pixels, "bgr8", ros.Header(stamp=ros.Time(sec=1), frame_id="front"))
    data = encode_message(message)
    binding = BindingImage(*size_hw, pixels.tobytes())
    listed = BindingImage(*size_hw, pixels.reshape(-1).tolist())
    encoded = binding.serialize()
    samples = in_turns(
        {"encode": lambda: encode_message(message), "decode": lambda: decode_message(ros.Image, data)}, rounds
    )
    slow = {
        "encode, binding, from bytes": binding.serialize,
        "encode, binding, from a list": listed.serialize,
        "decode, binding": lambda: BindingImage.deserialize(encoded),
    }
    samples |= in_turns(slow, max(3, rounds // 20))
    ways, lost = there_and_back(pixels, domain, rounds)
    samples |= ways
    rows = {}
    for name, values in samples.items():
        quartiles = statistics.quantiles(values, n=4)
        rows[name] = {"median_ms": statistics.median(values), "iqr_ms": quartiles[2] - quartiles[0]}
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    return {"size_hw": size_hw, "rows": rows, "lost": lost, "cyclonedds": metadata.version("cyclonedds"), **machine}


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--domain", type=int, default=91)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer is not None:
        answer(arguments.answer)
        return
    tree = measure(tuple(arguments.size), arguments.rounds, arguments.domain)
    for name, row in tree["rows"].items():
        print(f"{name:30} {row['median_ms']:9.3f} ms  (IQR {row['iqr_ms']:.3f})")
    print(f"{tree['lost']} of {arguments.rounds} images lost")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
