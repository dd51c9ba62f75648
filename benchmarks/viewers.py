"""Do viewers slow the frame lane? Latency of frames with and without open pages, in turns, in one process.

    python benchmarks/viewers.py --bundle street.evseg --video drive.mp4 --view overlay --viewers 3

The pages are clients in a process of their own that take each picture and confirm it; they do not decode it. Needs
the extra ``serve``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from harness import provenance, write_json

from edge_vseg import Deadline, open_source

CLIENTS = """
import asyncio, json, os, sys
import aiohttp

async def look():
    async with aiohttp.ClientSession() as session, session.ws_connect(sys.argv[1] + "stream") as socket:
        await socket.send_json({"view": sys.argv[2]})
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                length = int.from_bytes(message.data[:4], "big")
                await socket.send_json({"shown": json.loads(message.data[4 : 4 + length])["number"]})

async def main():
    await asyncio.gather(*(look() for _ in range(int(sys.argv[3]))))

os.nice(19)  # they are on other machines otherwise
asyncio.run(main())
"""
SETTLE_S = 1.5
KINDS = ("alone", "looked at")


def main() -> None:
    """Time, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--view", default="overlay")
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("--deadline-ms", type=float, default=40.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a block")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    tree = asyncio.run(measure(parser.parse_args()))
    for kind in KINDS:
        row = {name: f"{value:.2f}" for name, value in tree[kind].items()}
        print(f"{kind:>10}: {json.dumps(row)}")
    write_json(parser.parse_args().json, tree)


async def measure(arguments: argparse.Namespace) -> dict:
    """Medians over blocks of the percentiles of each block."""
    from edge_vseg.serve import LivePipeline, ObservedSegmenter, ServeOptions, Server, Workplace, play_repeatedly

    workplace = Workplace(
        open_segmenter=lambda policy: ObservedSegmenter.open(
            arguments.bundle, policy=policy, threads=arguments.threads
        ),
        open_source=lambda policy: play_repeatedly(lambda: open_source(arguments.video)),
    )
    live = await asyncio.to_thread(LivePipeline, workplace, Deadline(milliseconds=arguments.deadline_ms))
    server = Server(live, ServeOptions(port=0))
    await server.start()
    blocks: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    try:
        await asyncio.sleep(SETTLE_S)
        for _ in range(arguments.rounds):
            for kind in KINDS:
                words = [server.url, arguments.view, str(arguments.viewers)]
                looking = kind == "looked at"
                clients = subprocess.Popen([sys.executable, "-c", CLIENTS, *words]) if looking else None
                await asyncio.sleep(SETTLE_S)
                live.recorder.forget_recent()
                await asyncio.sleep(arguments.seconds)
                times_ms = [moment.total_ms for moment in live.recorder.recent()]
                missed = sum(moment.missed for moment in live.recorder.recent())
                blocks[kind].append([*np.percentile(times_ms, (50, 90, 99)), len(times_ms), missed])
                if clients is not None:
                    clients.kill()
                    clients.wait()
    finally:
        await server.stop()
        await asyncio.to_thread(live.close)
    names = ("p50_ms", "p90_ms", "p99_ms", "frames", "missed")
    rows = {kind: dict(zip(names, np.median(values, axis=0).tolist(), strict=True)) for kind, values in blocks.items()}
    return {**rows, "provenance": provenance(arguments.threads)}


if __name__ == "__main__":
    main()
