"""Damaged videos and streams, and what must become of each: a named error, or frames that are true."""

from __future__ import annotations

import contextlib
import functools
import http.server
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from damage import pick
from workers import Judge, Outcome, Verdict, note_kind

from edge_vseg.errors import EdgeVsegError
from edge_vseg.video import InputOptions, open_source

FRAMES = 12
MAX_FRAMES = 400
"""More than any damage can make of a dozen frames."""
HUGE_HW = (4320, 7680)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a sound video is made.

    Attributes:
        name: Of the format, for messages.
        suffix: Decides the container.
        codec: FFmpeg's encoder.
        pix_fmt: FFmpeg's pixel format.
        size_hw: Of its frames.
        frames: Number of its frames.
        options: Of the encoder.
        back: Whether time stamps go back.
    """

    name: str
    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    size_hw: tuple[int, int] = (48, 64)
    frames: int = FRAMES
    options: dict[str, str] = field(default_factory=dict)
    back: bool = False


FORMATS = (
    Format(name="h264-mp4", suffix="mp4", codec="libx264", options={"bf": "2", "g": "6"}),
    Format(name="h264-fragments", suffix="fmp4", codec="libx264", options={"g": "4"}),
    Format(name="h264-ts", suffix="ts", codec="libx264", options={"g": "4"}),
    Format(name="h264-mkv", suffix="mkv", codec="libx264", options={"bf": "0"}),
    Format(name="h264-flv", suffix="flv", codec="libx264"),
    Format(name="h264-raw", suffix="h264", codec="libx264"),
    Format(name="h264-10bit", suffix="mkv", codec="libx264", pix_fmt="yuv420p10le"),
    Format(name="hevc-mp4", suffix="mp4", codec="libx265", options={"x265-params": "log-level=none"}),
    Format(name="mpeg4-avi", suffix="avi", codec="mpeg4", options={"bf": "2"}),
    Format(name="mpeg2-ts", suffix="ts", codec="mpeg2video"),
    Format(name="mjpeg-avi", suffix="avi", codec="mjpeg", pix_fmt="yuvj420p"),
    Format(name="mjpeg-raw", suffix="mjpeg", codec="mjpeg", pix_fmt="yuvj444p"),
    Format(name="vp8-webm", suffix="webm", codec="libvpx"),
    Format(name="vp9-alpha", suffix="webm", codec="libvpx-vp9", pix_fmt="yuva420p"),
    Format(name="ffv1-grey", suffix="mkv", codec="ffv1", pix_fmt="gray"),
    Format(name="ffv1-16bit", suffix="mkv", codec="ffv1", pix_fmt="gray16le"),
    Format(name="png-alpha", suffix="mov", codec="png", pix_fmt="rgba"),
    Format(name="qtrle-alpha", suffix="mov", codec="qtrle", pix_fmt="argb"),
    Format(name="raw-avi", suffix="avi", codec="rawvideo", pix_fmt="bgr24"),
    Format(name="gif", suffix="gif", codec="gif", pix_fmt="rgb8"),
    Format(name="y4m", suffix="y4m", codec="wrapped_avframe"),
    Format(name="one-pixel", suffix="mkv", codec="ffv1", size_hw=(1, 1)),
    Format(name="odd-size", suffix="avi", codec="mjpeg", pix_fmt="yuvj444p", size_hw=(37, 53)),
    Format(name="times-back", suffix="mkv", codec="mjpeg", pix_fmt="yuvj420p", back=True),
    Format(name="8k", suffix="avi", codec="mjpeg", pix_fmt="yuvj420p", size_hw=HUGE_HW, frames=2),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sound:
    """A video before its damage.

    Attributes:
        format: How it was made.
        data: Its file.
        frames: What reading it gives.
    """

    format: Format
    data: bytes
    frames: tuple[np.ndarray, ...]


def picture(number: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A ramp with a bright bar that moves: ``(H, W, 3)`` uint8 BGR."""
    height, width = size_hw
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(20, 200, width, dtype=np.uint8)
    image[..., 1] = np.linspace(20, 200, height, dtype=np.uint8)[:, None]
    at = number * max(1, width // 16) % width
    image[:, at : at + max(1, width // 8), 2] = 240
    return image


def write_format(path: Path, made: Format) -> Path:
    """Write a sound video with bare PyAV."""
    container, more = ("mp4", {"movflags": "frag_keyframe+empty_moov"}) if made.suffix == "fmp4" else (None, {})
    with av.open(str(path), "w", format=container, container_options=more) as out:
        stream = out.add_stream(made.codec, rate=25, options=dict(made.options))
        stream.height, stream.width = made.size_hw
        stream.pix_fmt = made.pix_fmt
        for number in range(made.frames):
            image = av.VideoFrame.from_ndarray(picture(number, made.size_hw), format="bgr24")
            image.pts = number
            image.time_base = Fraction(1, 25)
            for packet in stream.encode(image):
                if made.back and number >= made.frames // 2:
                    packet.pts = packet.dts = (packet.pts or 0) - made.frames // 3
                with contextlib.suppress(av.error.FFmpegError) if made.back else contextlib.nullcontext():
                    out.mux(packet)
        out.mux(stream.encode(None))
    return path


def sound_videos(folder: Path, names: tuple[str, ...] = ()) -> Iterator[Sound]:
    """All formats that this build of FFmpeg can write, and read back whole."""
    for made in (each for each in FORMATS if not names or each.name in names):
        path = folder / f"{made.name}.{made.suffix}"
        try:
            write_format(path, made)
        except (av.error.FFmpegError, ValueError, LookupError):
            continue
        with av.open(str(path)) as video:
            frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
        yield Sound(format=made, data=path.read_bytes(), frames=tuple(frames))


def cut_at_percent(video: bytes, rng: np.random.Generator) -> bytes:
    return video[: len(video) * int(rng.integers(0, 101)) // 100]


def flip_bits(video: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(video)
    for at in rng.integers(0, len(video), pick(rng, (1, 4, 32, 256))):
        changed[int(at)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_header(video: bytes, rng: np.random.Generator) -> bytes:
    head = min(len(video), 600)
    return flip_bits(video[:head], rng) + video[head:]


def lose_packets(video: bytes, rng: np.random.Generator) -> bytes:
    """What a lossy network does: blocks of 188 bytes are missing, zero, doubled or in another order."""
    blocks = [video[at : at + 188] for at in range(0, len(video), 188)]
    for _ in range(pick(rng, (1, 3, 10))):
        at, other = (int(v) for v in rng.integers(0, len(blocks), 2))
        match pick(rng, ("drop", "zero", "double", "swap")):
            case "drop" if len(blocks) > 2:
                del blocks[at]
                break
            case "zero":
                blocks[at] = bytes(len(blocks[at]))
            case "double":
                blocks.insert(at, blocks[at])
            case _:
                blocks[at], blocks[other] = blocks[other], blocks[at]
    return b"".join(blocks)


def noise_tail(video: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(video)))
    return video[:at] + rng.bytes(min(len(video) - at, 100_000))


def join_other(video: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Another video behind it, or in the middle of it: size, pixel format and codec change."""
    at = len(video) if rng.random() < 0.6 else int(rng.integers(len(video)))
    return video[:at] + other


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "cut": cut_at_percent, "flip": flip_bits, "header": flip_header, "packets": lose_packets, "noise": noise_tail,
}  # fmt: skip


def prepare(folder: Path, seed: int, kinds: tuple[str, ...] = (), formats: tuple[str, ...] = ()) -> Judge:
    """Write the sound videos, and start the server for streams."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.setrecursionlimit(1000)
    sounds = list(sound_videos(folder, formats))
    names = kinds or ("sound", "sound-audio", *DAMAGES, "join", "stream")
    serve = functools.cache(lambda: _Server(folder))

    def judge(number: int) -> Verdict:
        rng = np.random.default_rng((seed, number))
        kind = note_kind(folder, pick(rng, names))
        sound = pick(rng, sounds)
        damage = pick(rng, tuple(DAMAGES)) if kind in ("stream", "join") else kind
        video = sound.data if kind.startswith("sound") else DAMAGES.get(damage, cut_at_percent)(sound.data, rng)
        if kind == "join":
            video = join_other(sound.data, rng, pick(rng, sounds).data)
        path = folder / f"case.{sound.format.suffix}"
        path.write_bytes(video)
        if kind == "sound-audio":
            path = write_sound_only(folder / "case.mka", rng)
        address = serve().address(path.name) if kind == "stream" else str(path)
        outcome, detail = _judged(address, sound, kind, damage, rng)
        return Verdict(kind=kind, outcome=outcome, detail=f"{sound.format.name}: {detail}")

    return judge


def write_sound_only(path: Path, rng: np.random.Generator) -> Path:
    """A file without a picture, cut somewhere."""
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        out.mux(stream.encode(silence))
    path.write_bytes(cut_at_percent(path.read_bytes(), rng))
    return path


class _Server:
    """Serves the folder over HTTP on loopback, each file once as it is."""

    def __init__(self, folder: Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"


def _judged(address: str, sound: Sound, kind: str, damage: str, rng: np.random.Generator) -> tuple[Outcome, str]:
    frames: list[np.ndarray] = []
    options = InputOptions(timeout_s=3, reconnect=None)
    last_seq = -1
    codec_motion = rng.random() < 0.2 and sound.format.codec in ("libx264", "mpeg4", "mpeg2video")
    try:
        with open_source(address, input_options=options, codec_motion=codec_motion) as source:
            for frame in source:
                image = frame.image
                if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                    return "wrong", f"a frame of {image.shape} {image.dtype}"
                if frame.seq <= last_seq:
                    return "wrong", f"frame {frame.seq} after {last_seq}"
                last_seq = frame.seq
                if len(frames) < 2 * FRAMES and image.size < 10**6:
                    frames.append(image)
                if last_seq > MAX_FRAMES:
                    return "wrong", f"{last_seq} frames of a video of {FRAMES}"
            damaged = source.damaged
    except EdgeVsegError as exc:
        return "refused", f"{type(exc).__name__}: {exc}"
    except BaseException:
        return "uncaught", traceback.format_exc()[-600:]
    return _true_frames(frames, damaged, sound, kind, damage)


def _true_frames(
    frames: list[np.ndarray], damaged: str | None, sound: Sound, kind: str, damage: str
) -> tuple[Outcome, str]:
    """Whether the frames are those of the sound video, as far as the damage lets one know."""
    expected = [image for image in sound.frames if image.size < 10**6]
    if kind == "sound":
        same = len(frames) == len(expected) and all(map(np.array_equal, frames, expected))
        return ("right", "") if same and damaged is None else ("wrong", f"{len(frames)} frames, damaged: {damaged}")
    if damage == "cut" and kind in ("cut", "stream") and damaged is None:
        # Nothing says that an end is missing: all but what lies at the cut is as it was.
        pairs = list(zip(frames[:-2], expected, strict=False))
        if kind == "cut" and not all(np.array_equal(a, b) for a, b in pairs):
            return "wrong", "a frame before the cut is another one, and nothing is said"
    return "right", damaged or ""
