"""``edge-vseg serve``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_serve
from edge_vseg.cli.live_options import LiveOptions, takes_live_options
from edge_vseg.cli.options import (
    BundleArgument,
    needs_codec_motion,
)
from edge_vseg.cli.serve_sources import CameraOpener, NamedSource, name_sources
from edge_vseg.machine.systemd import watched
from edge_vseg.pipeline.service import PATIENCE_S, service_sign
from edge_vseg.scheduling.policies import EveryFrame, Policy
from edge_vseg.scheduling.shared_background import SharedBackground
from edge_vseg.video import Source, open_source

if TYPE_CHECKING:
    from edge_vseg.serve import LivePipeline, ObservedSegmenter


@takes_live_options
def serve(
    bundle: BundleArgument,
    *,
    source: Annotated[
        str | None,
        typer.Argument(
            envvar="EDGE_VSEG_SOURCE", help="Camera (0, /dev/video0), stream URL, or video played in real time."
        ),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            envvar="EDGE_VSEG_SOURCES",
            metavar="[NAME=]ADDRESS",
            help="One of several cameras; may be repeated.",
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=WEIGHT", help="What a camera counts compared with the others; may be repeated."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for cameras that are not there yet, instead of ending with an error.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            help="Seconds that a camera may be away before systemd's watchdog may restart the process.", min=1
        ),
    ] = PATIENCE_S,
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="EDGE_VSEG_TOKEN",
            show_envvar=True,
            help="What clients must show; '' makes one up and prints it. Others can read it in the process list: "
            "prefer the variable.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Another name of this machine to answer to; may be repeated.")
    ] = None,
    changes: Annotated[
        bool, typer.Option("--changes/--no-changes", help="Whether the page may change the schedule.")
    ] = True,
    repeat: Annotated[bool, typer.Option("--repeat", help="Begin a recording again at its end.")] = False,
    picture_fps: Annotated[float, typer.Option(help="Pictures per second and view, at most.")] = 15.0,
    max_viewers: Annotated[int, typer.Option(help="Pages that may be open at a time.")] = 8,
    foxglove: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Also give live topics to Foxglove's app on this port; loopback only."),
    ] = None,
    live: LiveOptions,
) -> None:
    """Segment one camera or several and show them in the browser. Ctrl-C or SIGTERM stops."""
    require_serve("the server")
    from edge_vseg.serve import (
        FoxgloveBridge,
        LivePipeline,
        ObservedSegmenter,
        ServeOptions,
        Workplace,
        make_token,
        play_repeatedly,
        serve_until_stopped,
    )

    made_up = make_token() if token == "" else ""
    options = ServeOptions(
        host=host,
        port=port,
        token=made_up or token or "",
        names=tuple(name or ()),
        changes="allowed" if changes else "refused",
        picture_fps=picture_fps,
        max_viewers=max_viewers,
    )
    given, schedule = live.read(bundle, RuntimeOptions())
    sources = name_sources(source, more or (), weight or ())
    shared = SharedBackground() if len(sources) > 1 else None

    def workplace(camera: NamedSource) -> Workplace:
        place = None if shared is None else shared.join(weight=camera.weight)
        rare = replace(given.open_options(), background=place)

        def open_segmenter(wanted: Policy | None) -> ObservedSegmenter:
            opened = ObservedSegmenter.open(
                bundle, runtime=given.runtime, policy=wanted or EveryFrame(), threads=given.threads, options=rare
            )
            assert isinstance(opened, ObservedSegmenter)
            return opened

        def play(wanted: Policy | None) -> Source:
            codec = needs_codec_motion(wanted)
            return play_repeatedly(lambda: open_source(camera.address, codec_motion=codec))

        open_frames = play if repeat else CameraOpener(camera.address, "wait" if wait else "raise")
        return Workplace(open_segmenter=open_segmenter, open_source=open_frames)

    with contextlib.ExitStack() as opened:
        if shared is not None:
            opened.callback(shared.close)
        cameras: dict[str, LivePipeline] = {}
        for camera in sources:
            cameras[camera.name] = pipeline = LivePipeline(workplace(camera), schedule)
            opened.callback(pipeline.close)
        if foxglove is not None:
            bridge = FoxgloveBridge(cameras, port=foxglove)
            opened.callback(bridge.close)
            console.err.print(f"Foxglove: open ws://127.0.0.1:{bridge.port}", highlight=False, soft_wrap=True)
        with watched(lambda: service_sign([each.health for each in cameras.values()], time.monotonic_ns(), patience)):
            serve_until_stopped(cameras, options, lambda url: _say(url, cameras, made_up))


def _say(url: str, cameras: Mapping[str, LivePipeline], made_up: str) -> None:
    address = f"{url}?token={made_up}" if made_up else url
    for name, live in cameras.items():
        shown = str(live) if len(cameras) == 1 else f"{name}: {live}"
        console.err.print(f"{shown} at {address}", highlight=False, markup=False, soft_wrap=True)
    if made_up:
        console.err.print("The token is shown this once; keep it, or give one of your own.", highlight=False)
