"""What a service is to read: checked without opening it, with absolute paths, and with its credentials told apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.errors import OptionError
from edge_vseg.machine.service_unit import DeviceAccess
from edge_vseg.video.address import public_address, scheme_of
from edge_vseg.video.cameras.ros_topic import parse_topic
from edge_vseg.video.cameras.standard_input import is_standard_input
from edge_vseg.video.options import DEFAULT_INPUT_OPTIONS
from edge_vseg.video.resolving import ReadOptions, resolve

_SCHEMES = ("v4l2", "csi", "gst", "ros2", "file")
_OPTIONS = ReadOptions(strict=False, image_fps=None, codec_motion=False, input=DEFAULT_INPUT_OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSource:
    """A source as a service names it.

    Attributes:
        address: With an absolute path.
        shown: The same for people, without credentials.
        secret: Whether the address may hold credentials.
        devices: What must be open to it.
        is_local: Whether it needs no network.
        paths: Of recordings.
        warnings: What is not as it should be now, and may be later.
    """

    address: str
    shown: str
    secret: bool = False
    devices: DeviceAccess = "none"
    is_local: bool = True
    paths: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def check_service_source(source: str) -> ServiceSource:
    """Check a source of a service.

    Raises:
        OptionError: If it is standard input, or malformed.
        VideoError: If a file is not there, or is no video.
    """
    if is_standard_input(source):
        raise OptionError("a service has no standard input; give a camera, a stream or a file")
    source = source.strip()
    scheme, colon, rest = source.partition(":")
    if colon and scheme.lower() in _SCHEMES:  # names of files are left as they are
        source = f"{scheme.lower()}:{rest}"
    plan = resolve(source, _OPTIONS)
    if scheme_of_network(source) is not None:
        secret = public_address(source) != source
        return ServiceSource(address=source, shown=plan.name, secret=secret, is_local=False)
    if source.startswith("gst:"):
        # The pipeline may hold a password anywhere, open any device, and reach any host.
        return ServiceSource(address=source, shown=plan.name, secret=True, devices="all", is_local=False)
    if plan.pace == "topic":
        local = parse_topic(source).interface == "lo"
        return ServiceSource(address=source, shown=plan.name, is_local=local)
    if source.startswith("csi:"):
        return ServiceSource(address=source, shown=plan.name, devices="all")
    if plan.pace == "camera":
        address = source if source.startswith("v4l2:") else plan.name
        return ServiceSource(
            address=address, shown=plan.name, devices="cameras", warnings=_absent(Path(plan.name), plan.name)
        )
    return _recording(source, plan.name)


def join_service_sources(sources: Mapping[str, ServiceSource]) -> ServiceSource:
    """Several sources as one, whose address is what ``EDGE_VSEG_SOURCES`` holds: words ``NAME=ADDRESS``.

    Raises:
        OptionError: If one of them is secret, so that the variable is needed, and one holds a space.
    """
    found = list(sources.values())
    secret = any(each.secret for each in found)
    if secret and any(re.search(r"\s", each.address) for each in found):
        raise OptionError(
            "sources with credentials are handed over in one variable, where a space divides them; give each camera"
            " whose address has a space a service of its own"
        )
    widest: tuple[DeviceAccess, ...] = ("all", "cameras", "none")
    return ServiceSource(
        address=" ".join(f"{name}={each.address}" for name, each in sources.items()),
        shown=", ".join(each.shown for each in found),
        secret=secret,
        devices=next(access for access in widest if access in {each.devices for each in found}),
        is_local=all(each.is_local for each in found),
        paths=tuple(path for each in found for path in each.paths),
        warnings=tuple(warning for each in found for warning in each.warnings),
    )


def scheme_of_network(source: str) -> str | None:
    """The scheme of a network address; ``None`` for devices, pipelines and paths."""
    prefix, colon, _ = source.partition(":")
    return None if not colon or prefix.lower() in ("file", "v4l2", "csi", "gst") else scheme_of(source)


def _absent(device: Path, name: str) -> tuple[str, ...]:
    return () if device.exists() else (f"{name} is not plugged in now; the service will wait for it",)


def _recording(source: str, name: str) -> ServiceSource:
    match = re.fullmatch(r"(file:(?://)?)?([^?]*)(\?.*)?", source) if source.startswith("file:") else None
    given = match[2] if match else source
    address = f"file:{Path(given).absolute()}{match[3] or ''}" if match else str(Path(given).absolute())
    warnings = (f"{name} is a recording, and the service is started again at its end: add -- --repeat",)
    return ServiceSource(
        address=address, shown=name, paths=(Path(name.partition(":")[0]).absolute(),), warnings=warnings
    )
