"""Messages as bytes and schemas, against rosbags, mcap-ros2-support and ROS 2's own generator."""

from __future__ import annotations

import numpy as np
import pytest
from mcap_ros2._dynamic import generate_dynamic
from message_types import ALL, as_reference, fill, reference_types, same

from edge_vseg.errors import MessageError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import decode_message, encode_message
from edge_vseg.messages.fields import Message
from edge_vseg.messages.schema import schema_text, type_hash

each_kind = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def store():
    return reference_types()


@each_kind
def test_rosbags_reads_our_bytes(kind: type[Message], store) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        message = fill(kind, rng)
        data = encode_message(message)
        assert len(data) % 4 == 0
        assert same(message, store.deserialize_cdr(data, kind.type_name))


@each_kind
@pytest.mark.parametrize("little_endian", [True, False], ids=["little", "big"])
def test_we_read_the_bytes_of_rosbags(kind: type[Message], little_endian: bool, store) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        message = fill(kind, rng)
        data = bytes(store.serialize_cdr(as_reference(message, store), kind.type_name, little_endian=little_endian))
        assert same(message, decode_message(kind, data))


@each_kind
def test_mcap_ros2_support_reads_bytes_by_our_schema(kind: type[Message]) -> None:
    if kind is ros.Time:
        pytest.skip("its reader has this one built in, with another sign")
    decode = generate_dynamic(kind.type_name, schema_text(kind))[kind.type_name]
    rng = np.random.default_rng(3)
    for _ in range(10):
        message = fill(kind, rng)
        if "stamp" not in str(message) or "sec=-" not in str(message):
            assert same(message, decode(encode_message(message)))


@each_kind
def test_type_hash_is_that_of_rosbags(kind: type[Message], store) -> None:
    assert type_hash(kind) == store.hash_rihs01(kind.type_name)


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        (ros.Time, "b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197"),
        (ros.Header, "f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01"),
        (ros.VisionClass, "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a"),
        (ros.LabelInfo, "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"),
    ],
)
def test_type_hash_is_that_of_ros(kind: type[Message], digest: str) -> None:
    """What ROS 2's generator rosidl_generator_c wrote into the code of a built vision_msgs."""
    assert type_hash(kind) == f"RIHS01_{digest}"


def example() -> ros.Image:
    header = ros.Header(stamp=ros.Time(sec=1, nanosec=2), frame_id="cam")
    return ros.Image(header=header, height=2, width=3, encoding="mono8", step=3, data=np.arange(6, dtype=np.uint8))


def test_an_image_is_not_copied_when_it_is_decoded() -> None:
    data = bytearray(encode_message(example()))
    message = decode_message(ros.Image, data)
    assert not message.data.flags.writeable
    data[data.index(bytes(range(6)))] = 77
    assert message.data[0] == 77


def test_every_truncation_is_a_named_error() -> None:
    data = encode_message(example())
    last = data.index(bytes(range(6))) + 6
    for end in range(last):
        with pytest.raises(MessageError, match="sensor_msgs/msg/Image"):
            decode_message(ros.Image, data[:end])


def test_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(4)
    info = fill(ros.DiagnosticArray, rng)
    data = encode_message(info)
    for _ in range(500):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = rng.integers(0, 256)
        try:
            decode_message(ros.DiagnosticArray, bytes(damaged))
        except MessageError:
            continue


@pytest.mark.parametrize("header", [b"", b"\0\1", b"\0\3\0\0", b"\0\7\0\0"], ids=["none", "short", "PL", "XCDR2"])
def test_other_encodings_are_refused(header: bytes) -> None:
    with pytest.raises(MessageError, match="expected plain CDR"):
        decode_message(ros.Time, header + (bytes(8) if len(header) == 4 else b""))


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MessageError, match=r"builtin_interfaces/msg/Time: a value does not fit"):
        encode_message(ros.Time(sec=2**40))


@pytest.mark.parametrize("time_ns", [0, 1, 1_700_000_000_123_456_789, 999_999_999, 10**9])
def test_stamps_keep_nanoseconds(time_ns: int) -> None:
    assert ros.Time.from_ns(time_ns).total_ns == time_ns
