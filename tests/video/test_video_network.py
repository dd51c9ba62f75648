"""Network sources, over real sockets of this machine."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from synthetic_video import number_of, numbered, write_video

from edge_vseg.errors import OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.video import InputOptions, ReconnectOptions, open_source
from edge_vseg.video.address import public_address, scheme_of, stream_options


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """Serves a file, an endless stream, and errors."""
    film = write_video(
        tmp_path / "film.mp4", [numbered(i) for i in range(12)], container={"movflags": "faststart"}
    ).read_bytes()
    stream = write_video(
        tmp_path / "s.mjpeg",
        [numbered(i) for i in range(12)],
        codec="mjpeg",
        pix_fmt="yuvj420p",
        container_format="mjpeg",
    ).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = {"/film.mp4": film, "/stream.mjpeg": stream}.get(self.path.partition("?")[0])
            if body is None:
                self.send_error(403 if "secret" in self.path else 404)
                return
            self.send_response(200)
            if body is film:
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_a_film_over_http_is_read_whole(server):
    with open_source(f"{server}/film.mp4?token=abc") as source:
        assert not source.is_live
        assert source.name == f"{server}/film.mp4"
        assert [number_of(frame.image) for frame in source] == list(range(12))


def test_a_stream_without_duration_is_live(server):
    with open_source(f"{server}/stream.mjpeg", input_options=InputOptions(reconnect=None)) as source:
        assert source.is_live
        assert source.fps is None, "FFmpeg's guess is no rate"
        numbers = [number_of(frame.image) for frame in source]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 11


def test_live_can_be_switched_off(server):
    with open_source(f"{server}/stream.mjpeg", live=False, max_frames=5) as source:
        assert not source.is_live
        assert [number_of(frame.image) for frame in source] == [0, 1, 2, 3, 4]


def test_server_errors(server):
    with pytest.raises(VideoNotFoundError, match="404"):
        open_source(f"{server}/nothing.mp4")
    with pytest.raises(VideoDecodeError, match="403"):
        open_source(f"{server}/secret.mp4")


def test_connection_refused_hides_the_password():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(VideoNotFoundError, match="refused") as caught:
        open_source(f"rtsp://admin:hunter2@127.0.0.1:{port}/stream?key=abc")
    assert str(caught.value).startswith(f"rtsp://127.0.0.1:{port}/stream: ")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_server_timeout(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(VideoNotFoundError, match=r"no answer within 0\.3 s"):
            open_source(address, input_options=InputOptions(timeout_s=0.3))


def test_a_live_stream_over_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = threading.Event()

    def send() -> None:
        with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as out:
            stream = out.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            stream.codec_context.gop_size = 3
            number = 0
            while not stop.wait(0.01):
                picture = av.VideoFrame.from_ndarray(numbered(number % 256), format="bgr24")
                picture.pts, picture.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(picture))
                number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with open_source(f"udp://127.0.0.1:{port}", max_frames=6) as source:
            assert source.is_live
            frames = list(source)
    finally:
        stop.set()
        sender.join()
    assert len(frames) == 6
    seqs = [frame.seq for frame in frames]
    assert seqs == sorted(set(seqs))
    assert {frame.image.shape for frame in frames} == {(64, 96, 3)}


def broadcast(folder: Path, stop: threading.Event) -> None:
    """Write HLS segments of a third of a second, as fast as they would be filmed at 100 frames per second."""
    options = {"hls_time": "0.3", "hls_list_size": "6", "hls_flags": "delete_segments"}
    with av.open(str(folder / "live.m3u8"), "w", format="hls", options=options) as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "8", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        number = 0
        while not stop.wait(0.01):
            picture = av.VideoFrame.from_ndarray(numbered(number % 256), format="bgr24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
            number += 1


class Folder(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_hls_is_live_until_the_broadcast_is_over(tmp_path):
    stop = threading.Event()
    encoder = threading.Thread(target=broadcast, args=(tmp_path, stop))
    encoder.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Folder, directory=str(tmp_path))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        try:
            wait_until(lambda: _list(tmp_path).count(".ts") >= 2)
            quick = ReconnectOptions(first_s=0.02, cap_s=0.05, stall_s=5)
            address = f"http://127.0.0.1:{httpd.server_port}/live.m3u8"
            with open_source(address, input_options=InputOptions(reconnect=quick)) as source:
                assert source.is_live
                assert [next(source).image.shape for _ in range(5)] == [(64, 96, 3)] * 5
                stop.set()
                encoder.join()
                assert "ENDLIST" in _list(tmp_path)
                wait_until(lambda: "the broadcast is over" in source.connection.reason)
        finally:
            stop.set()
            encoder.join()
            httpd.shutdown()
            thread.join()


def _list(folder: Path) -> str:
    path = folder / "live.m3u8"
    return path.read_text() if path.exists() else ""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("source", "scheme"),
    [("rtsp://a/b", "rtsp"), ("HTTPS://a/b", "https"), ("clip.mp4", None), ("c:clip.mp4", None), ("/a/b:c", None)],
)
def test_schemes(source, scheme):
    assert scheme_of(source) == scheme


@pytest.mark.parametrize("source", ["ftp://a/b.mp4", "concat://a|b", "lavfi://testsrc"])
def test_unknown_schemes_are_refused(source):
    with pytest.raises(OptionError, match="known: http://"):
        open_source(source)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:p@ss@cam.local:554/s/1?token=x#y", "rtsp://cam.local:554/s/1"),
        ("rtsp://cam.local/user=bo_password=hunter2_channel=1_stream=0.sdp", None),
        ("rtsp://cam.local/a;pwd=hunter2;user=bo/live", "rtsp://cam.local/a;pwd=***;user=***/live"),
        ("rtsp://bo:hun/ter2@cam.local/live", "rtsp://cam.local/live"),
        ("rtsp://bo:hun#ter2@cam.local/live", "rtsp://cam.local/live"),
        ("rtsp://bo:hun?ter2@cam.local/live", "rtsp://cam.local/live"),
        ("http://cam.local:80/mail@home", "http://home"),
        ("http://[fe80::1]:80/mail@home", "http://home"),
    ],
)
def test_public_address_has_no_credentials(address, shown):
    shown = shown or "rtsp://cam.local/user=***_password=***_channel=1_stream=0.sdp"
    assert public_address(address) == shown


def test_rtsp_uses_tcp():
    assert stream_options("rtsp")["rtsp_transport"] == "tcp"
    assert stream_options("http") == {}


@pytest.mark.parametrize("source", [97, "97", "/dev/video97"])
def test_a_missing_camera(source):
    with pytest.raises(VideoNotFoundError, match="there is no camera /dev/video97"):
        open_source(source)


def test_a_device_that_is_not_a_camera():
    with pytest.raises(VideoDecodeError, match="the camera cannot be opened"):
        open_source("/dev/null")


def test_a_timeout_has_to_be_positive():
    with pytest.raises(OptionError, match="timeout_s must be positive"):
        InputOptions(timeout_s=0)
