"""Hours of ``edge-vseg serve`` with two RTSP cameras and a page in Chromium, one camera being cut, frozen and resized.

PYTHONPATH=tests/video python tests/serve/soak_serve.py street.evseg --hours 2 --out soak/

Every picture carries its number, and the cameras keep when they sent it. So how old a picture is comes from a clock
that the server knows nothing of. Checked all the time: every frame is accounted for; ``/latest.png`` gives no picture
older than a bound, and neither does the page without saying so. Memory, descriptors and threads are sampled, and their
slope is that of a least-squares line over the second half. Ends with exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from browser import Browser, open_browser
from rtsp_server import LOOP, RtspServer, encode
from synthetic_video import BITS, number_of, numbered

from edge_vseg import open_source

PERIOD_S = 0.04
MAX_ANSWER_AGE_S = 0.4
"""Of a picture that ``/latest.png`` gives: three periods, and what decoding and this busy machine add."""
MAX_PAGE_AGE_S = 2.5
"""Of a picture that the page shows without saying that it is old: it hears of the state four times a second."""
STRIPES = 32
SIZES_HW = ((360, 640), (480, 640), (240, 320))
LOOK = """(() => {
  const canvas = document.getElementById('picture');
  const old = !document.getElementById('veil').hidden;
  if (old || !page.header || page.header.view !== 'camera') return { old, camera: cameras.name, bits: null };
  const pen = canvas.getContext('2d'), wide = canvas.width / BITS, bits = [];
  for (let bit = 0; bit < BITS; bit++) {
    const seen = pen.getImageData(Math.round((bit + 0.25) * wide), 4, Math.round(wide / 2), 8).data;
    let sum = 0;
    for (let at = 0; at < seen.length; at += 4) sum += seen[at + 1];
    bits.push(sum / (seen.length / 4));
  }
  return { old, camera: cameras.name, bits };
})()""".replace("BITS", str(BITS))


@dataclass(kw_only=True)
class Findings:
    """What was seen so far."""

    wrong: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    answer_ages_s: list[float] = field(default_factory=list)
    page_ages_s: list[float] = field(default_factory=list)
    page_old: int = 0
    deeds: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)


class Cameras:
    """Two RTSP servers that play a street; the second one has a hard life."""

    def __init__(self, video: Path) -> None:
        with open_source(video, max_frames=LOOP) as source:
            street = [frame.image for frame in source]

        def draw(number: int, size_hw: tuple[int, int]) -> np.ndarray:
            image = cv2.resize(street[number % len(street)], size_hw[::-1])
            image[:STRIPES] = numbered(number, size_hw)[:STRIPES]
            return image

        self._pictures = {size_hw: encode(size_hw, draw=draw) for size_hw in SIZES_HW}
        self.servers = {name: self._serve(0, SIZES_HW[0]) for name in ("front", "rear")}
        self._size = 0

    def _serve(self, port: int, size_hw: tuple[int, int]) -> RtspServer:
        return RtspServer(port=port, pictures=self._pictures[size_hw], period_s=PERIOD_S)

    async def suffer(self, deed: str) -> None:
        rear = self.servers["rear"]
        match deed:
            case "cut":
                rear.cut()
            case "freeze":
                rear.frozen.set()
                await asyncio.sleep(8)
                rear.frozen.clear()
            case "long freeze":
                rear.frozen.set()
                await asyncio.sleep(25)  # longer than a read may take
                rear.frozen.clear()
            case "set back":
                rear.set_back_ticks = 900_000
            case "away" | "resize":
                await asyncio.to_thread(rear.close)
                await asyncio.sleep(20 if deed == "away" else 1)
                self._size += deed == "resize"
                sent_s = rear.sent_s
                self.servers["rear"] = self._serve(rear.port, SIZES_HW[self._size % len(SIZES_HW)])
                self.servers["rear"].sent_s = sent_s  # pictures of before may still be seen

    def age_s(self, name: str, number: int, at_s: float) -> float:
        """How long before a moment a picture was sent last, at least."""
        sent_s = self.servers[name].sent_s
        return at_s - sent_s[number] if number < len(sent_s) else float("inf")

    def close(self) -> None:
        for server in self.servers.values():
            server.close()


async def mistreat(cameras: Cameras, findings: Findings, every_s: float) -> None:
    chance = random.Random(1)
    deeds = ("cut", "freeze", "long freeze", "set back", "away", "resize")
    while True:
        await asyncio.sleep(every_s)
        deed = (
            deeds[sum(findings.deeds.values())] if sum(findings.deeds.values()) < len(deeds) else chance.choice(deeds)
        )
        await cameras.suffer(deed)
        findings.deeds[deed] += 1


async def ask(session: aiohttp.ClientSession, cameras: Cameras, findings: Findings) -> None:
    """What programs get: is it young, and is every frame accounted for?"""
    while True:
        for name in cameras.servers:
            asked_s = time.monotonic()
            async with session.get(f"latest.png?camera={name}&view=camera") as answer:
                body = await answer.read()
                findings.answers[f"{name} {answer.status}"] += 1
                if answer.status == 200:
                    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
                    number = number_of(image[4 : STRIPES // 2 * image.shape[0] // 480])
                    age_s = cameras.age_s(name, number, asked_s)
                    findings.answer_ages_s.append(age_s)
                    if age_s > MAX_ANSWER_AGE_S:
                        findings.wrong.append(f"/latest.png of {name}: picture {number}, {age_s:.2f} s old")
                elif answer.status != 503:
                    findings.wrong.append(f"/latest.png of {name}: {answer.status} {body[:200]!r}")
            async with session.get(f"api/state?camera={name}") as answer:
                counts = (await answer.json())["counts"]
            if counts["captured"] != counts["delivered"] + counts["dropped"] + counts["failed"] + counts["in_flight"]:
                findings.wrong.append(f"{name}: {counts} does not add up")
        await asyncio.sleep(0.5)


async def watch(browser: Browser, cameras: Cameras, findings: Findings, out: Path) -> None:
    """What a person sees."""
    turn = 0
    while True:
        name = ("front", "rear", "rear")[turn % 3]
        await browser.value(f"document.querySelector('[data-camera={name}]').click()")
        await browser.until(f"cameras.name === '{name}' && page.info")
        if turn % 10 == 1:
            await browser.value("choose('overlay')")
            await asyncio.sleep(3)
            await browser.screenshot(out / f"page-{turn:04d}.png")
        await browser.value("choose('camera')")
        for _ in range(40):
            await asyncio.sleep(0.5)
            asked_s = time.monotonic()
            seen = await browser.value(LOOK)
            findings.page_old += seen["old"]
            if seen["bits"] is None:
                continue
            number = sum(1 << bit for bit, mean in enumerate(seen["bits"]) if mean > 125)
            age_s = cameras.age_s(seen["camera"], number, asked_s)
            findings.page_ages_s.append(age_s)
            if age_s > MAX_PAGE_AGE_S:
                findings.wrong.append(
                    f"the page shows picture {number} of {seen['camera']}, {age_s:.2f} s old, as fresh"
                )
        turn += 1


async def sample(pid: int, started_s: float, findings: Findings) -> None:
    process = Path(f"/proc/{pid}")
    while True:
        resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
        descriptors, threads = (len(list((process / folder).iterdir())) for folder in ("fd", "task"))
        now_s = time.monotonic() - started_s
        findings.samples.append((now_s, resident, descriptors, threads))
        if len(findings.samples) % 12 == 1:
            print(
                f"{now_s / 60:6.1f} min  {resident:.1f} MiB  {descriptors} descriptors  {threads} threads  "
                f"{sum(findings.deeds.values())} deeds  wrong: {len(findings.wrong)} {findings.wrong[-1:] or ''}",
                flush=True,
            )
        await asyncio.sleep(5)


def slopes(samples: list[tuple[float, float, int, int]]) -> dict[str, float]:
    """Growth in an hour over the second half."""
    later = np.array(samples[len(samples) // 2 :], dtype=float)
    return {
        name: round(float(np.polyfit(later[:, 0] / 3600, later[:, column], 1)[0]), 2)
        for column, name in enumerate(("MiB", "descriptors", "threads"), 1)
    }


def p99_of(metrics: str, camera: str) -> str:
    """The bucket that 99 % of the frames are within, from Prometheus's histogram."""
    pattern = rf'edge_vseg_latency_seconds_bucket{{camera="{camera}",le="([^"]+)",step="total"}} (\S+)'
    buckets = [(bound, float(count)) for bound, count in re.findall(pattern, metrics)]
    return next((f"<= {bound} s" for bound, count in buckets if count >= 0.99 * buckets[-1][1]), "nothing")


async def soak(arguments: argparse.Namespace) -> int:
    arguments.out.mkdir(parents=True, exist_ok=True)
    cameras, findings = Cameras(arguments.video), Findings()
    command = [sys.executable, "-m", "edge_vseg.cli", "serve", str(arguments.bundle), "--port", "0", "--wait"]
    for name, server in cameras.servers.items():
        command += ["--source", f"{name}={server.address}"]
    command += ["--deadline-ms", str(arguments.deadline_ms), "--runtime", arguments.runtime]
    log = arguments.out / "serve.log"
    started_s = time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        url = await _url_of(log, process)
        async with aiohttp.ClientSession(url) as session, open_browser(url) as browser:
            await browser.resize(1280, 900)
            await browser.until("document.getElementById('picture').dataset.number")
            tasks = [
                asyncio.create_task(each)
                for each in (
                    mistreat(cameras, findings, arguments.every_s),
                    ask(session, cameras, findings),
                    watch(browser, cameras, findings, arguments.out),
                    sample(process.pid, started_s, findings),
                )
            ]
            done, waiting = await asyncio.wait(
                tasks, timeout=arguments.hours * 3600, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            findings.wrong += [f"the script stopped: {task.exception()!r}" for task in done]
            findings.wrong += [f"the page: {problem}" for problem in browser.problems if "503" not in problem]
            metrics = await (await session.get("metrics")).text()
            states = {name: await (await session.get(f"api/state?camera={name}")).json() for name in cameras.servers}
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        cameras.close()
    report = _report(findings, metrics, states, code, time.monotonic() - started_s)
    (arguments.out / "soak.json").write_text(json.dumps(report, indent=2))
    print(json.dumps({key: value for key, value in report.items() if key != "samples"}, indent=2))
    return 1 if findings.wrong or code else 0


def _report(findings: Findings, metrics: str, states: dict[str, Any], code: int, seconds: float) -> dict[str, Any]:
    def spread(ages_s: list[float]) -> dict[str, float]:
        if not ages_s:
            return {}
        return {"median": round(float(np.median(ages_s)), 3), "max": round(max(ages_s), 3), "looks": len(ages_s)}

    missed = dict(re.findall(r'edge_vseg_deadline_missed_total{camera="(\w+)"} (\S+)', metrics))
    return {
        "minutes": round(seconds / 60, 1),
        "wrong": findings.wrong[:50],
        "deeds": dict(findings.deeds),
        "answers": dict(findings.answers),
        "answer_age_s": spread(findings.answer_ages_s),
        "page_age_s": spread(findings.page_ages_s),
        "page_said_old": findings.page_old,
        "cameras": {
            name: {
                "counts": state["counts"],
                "reconnects": state["health"]["reconnects"],
                "restarts": state["health"]["restarts"],
                "missed": float(missed[name]),
                "p99": p99_of(metrics, name),
                "last_frames": state["latency"],  # a gap of the camera counts in its fps
            }
            for name, state in states.items()
        },
        "first_sample": findings.samples[0],
        "last_sample": findings.samples[-1],
        "slope_per_hour": slopes(findings.samples),
        "exit_code": code,
        "samples": findings.samples,
    }


async def _url_of(log: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(1200):
        if found := re.search(r" at (http://\S+)", log.read_text()):
            return found[1]
        if process.poll() is not None:
            raise SystemExit(f"serve ended: {log.read_text()}")
        await asyncio.sleep(0.1)
    raise SystemExit("serve does not start")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--video", type=Path, required=True, help="a street, for the pictures")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument(
        "--every-s", type=float, default=120.0, help="seconds between two things done to the rear camera"
    )
    parser.add_argument("--deadline-ms", type=float, default=25.0)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--out", type=Path, default=Path("soak"))
    return asyncio.run(soak(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
