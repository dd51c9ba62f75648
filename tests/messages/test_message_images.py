"""Images in messages, against pixels computed one by one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_vseg.errors import MessageError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import ENCODINGS, jpeg_image, raw_image, to_bgr

HEADER = ros.Header(stamp=ros.Time(sec=5), frame_id="cam")
PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def padded(pixels: np.ndarray, encoding: str, padding: int, width: int = 8, height: int = 6) -> ros.Image:
    rows = pixels.reshape(pixels.shape[0], -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return ros.Image(
        header=HEADER, height=height, width=width, encoding=encoding, step=data.shape[1], data=data.reshape(-1)
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("bgr8", [0, 1, 2]), ("rgb8", [2, 1, 0]), ("bgra8", [0, 1, 2, 0]), ("rgba8", [2, 1, 0, 0]), ("8UC3", [0, 1, 2])],
)
def test_packed_colours(encoding: str, channels: list[int], padding: int) -> None:
    message = padded(PICTURE[:, :, channels], encoding, padding)
    np.testing.assert_array_equal(to_bgr(message), PICTURE)


def test_bgr8_is_not_copied() -> None:
    message = raw_image(PICTURE, "bgr8", HEADER)
    assert np.shares_memory(to_bgr(message), message.data)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding: str) -> None:
    grey = PICTURE[:, :, 0]
    np.testing.assert_array_equal(to_bgr(padded(grey, encoding, 3)), np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("uyvy", "UYVY"), ("yuv422", "UYVY"), ("yuyv", "YUYV"), ("yuv422_yuy2", "YUYV"), ("nv12", "UV"), ("nv21", "VU")],
)
@pytest.mark.parametrize("bgr", [(200, 60, 40), (20, 180, 90), (30, 40, 220)])
def test_yuv_of_one_colour(encoding: str, order: str, bgr: tuple[int, int, int]) -> None:
    """BT.601 in its studio range, from the standard's formula."""
    blue, green, red = (value / 255 for value in bgr)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    values = {"Y": 16 + 219 * luma, "U": 128 + 224 * (blue - luma) / 1.772, "V": 128 + 224 * (red - luma) / 1.402}
    rounded = {name: round(value) for name, value in values.items()}
    if encoding.startswith("nv"):
        plane = np.tile(np.array([rounded[name] for name in order], np.uint8), (3, 4))
        pixels = np.vstack([np.full((6, 8), rounded["Y"], np.uint8), plane])
    else:
        pixels = np.tile(np.array([rounded[name] for name in order], np.uint8), (6, 4))
    found = to_bgr(padded(pixels, encoding, 0))
    assert found.shape == (6, 8, 3)
    assert np.abs(found.astype(int) - bgr).max() <= 3


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_mosaic_of_one_colour(encoding: str) -> None:
    color = {"b": 200, "g": 120, "r": 30}
    tile = np.array([color[letter] for letter in encoding[6:10]], np.uint8).reshape(2, 2)
    found = to_bgr(padded(np.tile(tile, (3, 4)), encoding, 0))
    np.testing.assert_array_equal(found[2:4, 2:6], np.broadcast_to([200, 120, 30], (2, 4, 3)))


def test_jpeg_and_png() -> None:
    smooth = cv2.resize(PICTURE[:2, :2], (64, 48), interpolation=cv2.INTER_LINEAR)
    message = jpeg_image(smooth, HEADER)
    assert (message.format, bytes(message.data[:2])) == ("jpeg", b"\xff\xd8")
    assert np.abs(to_bgr(message).astype(int) - smooth).mean() < 4
    png = np.asarray(cv2.imencode(".png", smooth)[1], np.uint8)
    np.testing.assert_array_equal(to_bgr(ros.CompressedImage(header=HEADER, format="png", data=png)), smooth)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff"], ids=["empty", "text", "start"])
def test_a_damaged_jpeg_is_a_named_error(data: bytes) -> None:
    message = ros.CompressedImage(header=HEADER, format="jpeg", data=np.frombuffer(data, np.uint8))
    with pytest.raises(MessageError, match=r"format 'jpeg' and \d+ bytes cannot be decoded"):
        to_bgr(message)


def test_an_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(MessageError, match=r"'16UC1' cannot be read; known: bgr8, .*nv21"):
        to_bgr(raw_image(np.zeros((4, 4), np.uint16), "16UC1", HEADER))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("width", [0, 8])
def test_bytes_that_do_not_fit_the_size_are_refused(encoding: str, width: int) -> None:
    data = np.zeros(13, np.uint8)
    message = ros.Image(header=HEADER, height=6, width=width, encoding=encoding, step=width * 4, data=data)
    with pytest.raises(MessageError, match="check the camera driver"):
        to_bgr(message)


def test_an_odd_width_of_half_colours_is_refused() -> None:
    with pytest.raises(MessageError, match="7x6 image cannot be of encoding uyvy"):
        to_bgr(padded(np.zeros((6, 14), np.uint8), "uyvy", 0, width=7))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_arrays(dtype: type) -> None:
    pixels = np.arange(24).reshape(4, 6).astype(dtype)[:, ::2]
    message = raw_image(pixels, "any", HEADER)
    assert (message.height, message.width, message.step) == (4, 3, 3 * np.dtype(dtype).itemsize)
    np.testing.assert_array_equal(message.data.view(dtype).reshape(4, 3), pixels)
    assert message.header is HEADER
