"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast, get_args

import typer

from edge_vseg.bundle.labels import named_labels, plain_labels, read_labels
from edge_vseg.bundle.manifest import Label, Precision
from edge_vseg.errors import OptionError
from edge_vseg.motion import CODEC
from edge_vseg.scheduling.policies import ALIASES, POLICIES, Policy, limits_of, make_policy
from edge_vseg.trust.policy import MACHINE_KEYS, TRUSTED_KEYS_VARIABLE, TrustPolicy, machine_policy
from edge_vseg.types import Borders, Size

if TYPE_CHECKING:
    from edge_vseg.export import Normalization

BundleArgument: TypeAlias = Annotated[Path, typer.Argument(help="Directory of the bundle.")]
RuntimeOption: TypeAlias = Annotated[
    str, typer.Option("--runtime", help="auto (fastest on this machine), onnxruntime, openvino or tflite.")
]
PrecisionOption: TypeAlias = Annotated[str, typer.Option("--precision", help="auto, int8, float or float16.")]
ProviderOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--provider", help="Execution provider (ONNX Runtime), device (OpenVINO) or delegate (TFLite); CPU by default."
    ),
]
ProviderOptionsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--provider-option",
        metavar="NAME=VALUE",
        help="Handed to the provider, such as trt_engine_cache_enable=1; may be repeated.",
    ),
]
BordersOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--borders",
        help="interpolated, or guided: between classes along the edges of the image (1-2 ms a new map).",
        show_default="the bundle's own, or interpolated",
    ),
]
CompanionOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--companion",
        help="Bundle of a fast network with the same classes, fused with old maps by the policies deadline and async.",
    ),
]
FollowOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--follow",
        metavar="CLASSES",
        help="Classes of things, such as car,pedestrian, to find by their looks where the motion has lost them.",
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int, typer.Option("--threads", help="Worker threads; 0 leaves the choice to the runtime.", min=0)
]
PolicyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help=f"Policy that schedules frames: {', '.join(POLICIES)}.",
        show_default="the bundle's own, or every frame",
    ),
]
SettingOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Policy parameter, such as period_frames=4; may be repeated."),
]
DeadlineOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--deadline-ms", help="Milliseconds per frame; selects the policy deadline.", min=0.1),
]
CpuShareOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--cpu-share",
        help="With --deadline-ms: share of the machine that the network may use, such as 0.5; 1 by default.",
    ),
]
MaxAgeOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--max-age", help="With --deadline-ms: never show a map of an image that is older, in ms.", min=1.0),
]
MaxFramesOption: TypeAlias = Annotated[
    int | None, typer.Option("--max-frames", help="Stop after this many frames.", min=1)
]
HtmlOption: TypeAlias = Annotated[Path | None, typer.Option("--html", help="HTML report to write.", metavar="FILE")]
PlotsOption: TypeAlias = Annotated[
    Path | None, typer.Option("--plots", help="Folder for the report's plots as PNG files; needs --html.")
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
TrustedOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--trusted",
        metavar="KEYS",
        help=f"Folder of public keys: only bundles signed by one of them. Else {TRUSTED_KEYS_VARIABLE},"
        f" or {MACHINE_KEYS} if it exists.",
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def parse_precision(text: str) -> Precision | None:
    """Read ``--precision``; ``None`` for ``auto``.

    Raises:
        OptionError: If it is neither ``auto`` nor a precision.
    """
    if text not in ("auto", *get_args(Precision)):
        raise OptionError(f"--precision {text!r}: expected auto, int8, float or float16")
    return None if text == "auto" else cast(Precision, text)


def parse_borders(text: str | None) -> Borders | None:
    """Read ``--borders``; ``None`` if it is not given.

    Raises:
        OptionError: If it is neither ``interpolated`` nor ``guided``.
    """
    if text not in (None, *get_args(Borders)):
        raise OptionError(f"--borders {text!r}: expected interpolated or guided")
    return cast("Borders | None", text)


def read_trust(trusted: Path | None) -> TrustPolicy | None:
    """Read ``--trusted``; ``None`` leaves it to the rule of this machine."""
    return None if trusted is None else TrustPolicy(keys=trusted)


def require_trusted(trusted: Path | None) -> TrustPolicy:
    """Read ``--trusted``, or the rule of this machine.

    Raises:
        OptionError: If there is neither.
    """
    policy = read_trust(trusted) or machine_policy()
    if policy is None:
        raise OptionError(
            f"whose bundles may be installed? Give --trusted KEYS, set {TRUSTED_KEYS_VARIABLE}, or put public keys into"
            f" {MACHINE_KEYS}"
        )
    return policy


def parse_duration(option: str, text: str, *, least: float = 1.0) -> float:
    """Read a time such as ``90s``, ``5m``, ``12h`` or ``30d``; a bare number is seconds.

    Raises:
        OptionError: If it is none, or shorter than ``least`` seconds, or longer than a hundred years.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else -1.0
    if not least <= seconds <= 36525 * 86400:
        raise OptionError(f"{option} {text!r}: expected a time such as 90s, 5m, 12h or 30d")
    return seconds


def parse_size(option: str, text: str) -> Size:
    """Read ``HxW``.

    Raises:
        OptionError: If it is not two positive integers.
    """
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise OptionError(f"{option} {text!r}: expected HEIGHTxWIDTH, such as 360x480")
    return int(match[1]), int(match[2])


def check_output(path: Path | None, *, force: bool) -> None:
    """Check that a file can be written, before anything that takes time; ``None`` passes.

    Raises:
        OptionError: If it exists and ``force`` is false, is a folder, or its folder is missing or cannot be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise OptionError(f"{path} exists and is not replaced; give another name, or --force to replace it")
    if not path.parent.is_dir():
        raise OptionError(f"{path}: there is no folder {path.parent}; create it first")
    if path.is_file() or not path.exists():  # a device, such as /dev/stdout, is written itself
        _check_writable(path, path.parent)


def _check_writable(path: Path, folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise OptionError(f"{path} cannot be written: {folder.absolute()} allows no new files; choose another place")


def check_new_folder(option: str, folder: Path | None) -> None:
    """Check that a folder is new or empty, and can be written; ``None`` passes.

    Raises:
        OptionError: If it holds files, is a file, or cannot be made.
    """
    if folder is None:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} exists and is not an empty folder; give a new one with {option}")
    nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    _check_writable(folder, nearest)


def check_report(html: Path | None, plots: Path | None, *, force: bool) -> None:
    """Check that a report and its plots can be written, before anything that takes time.

    Raises:
        OptionError: If ``--plots`` is given without ``--html``, or a file or folder cannot be written.
    """
    check_output(html, force=force)
    if plots is None:
        return
    if html is None:
        raise OptionError("--plots writes the plots of the report; give --html too")
    from edge_vseg.analysis.report.figures import check_folder

    check_folder(plots)


def read_policy(
    name: str | None,
    settings: Sequence[str] | None,
    deadline_ms: float | None,
    cpu_share: float | None = None,
    max_age_ms: float | None = None,
) -> Policy | None:
    """Read ``--policy``, ``--set``, ``--deadline-ms``, ``--cpu-share`` and ``--max-age``; ``None`` without any of them.

    Raises:
        OptionError: If they contradict each other, or the policy does not have the parameter.
    """
    name = name or ("deadline" if deadline_ms is not None else None)
    name = ALIASES.get(name, name) if name is not None else None
    for option, value in (("--cpu-share", cpu_share), ("--max-age", max_age_ms)):
        if value is not None and name != "deadline":
            raise OptionError(f"{option} is for the policy deadline; give --deadline-ms, too")
    if name is None:
        if settings:
            raise OptionError("--set is a parameter of a policy; name one with --policy")
        return None
    parameters = dict(_parse_setting(text) for text in settings or ())
    if deadline_ms is not None:
        if name != "deadline":
            raise OptionError(f"--deadline-ms is for the policy deadline, not for {name!r}; leave one of them out")
        parameters["milliseconds"] = deadline_ms
    elif name == "deadline" and "milliseconds" not in parameters:
        raise OptionError("the policy deadline needs --deadline-ms")
    for key, value in (("cpu_share", cpu_share), ("max_age_ms", max_age_ms)):
        if value is not None:
            parameters[key] = value
    return make_policy(name, **parameters)


def deadline_of(policy: Policy | None) -> float | None:
    """The deadline of a policy in milliseconds; ``None`` if it has none."""
    return None if policy is None else limits_of(policy).deadline_ms


def needs_codec_motion(policy: Policy | None) -> bool:
    """Whether frames must carry the motion vectors of their video's codec."""
    return policy is not None and policy.motion == CODEC


def _parse_setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise OptionError(f"--set {text!r}: expected NAME=VALUE, such as period_frames=4")
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def parse_provider_options(given: Sequence[str] | None) -> dict[str, str]:
    """Read ``--provider-option``, by name; see :func:`parse_pairs`."""
    return parse_pairs("--provider-option", given, example="trt_engine_cache_enable=1")


def parse_pairs(option: str, given: Sequence[str] | None, *, example: str) -> dict[str, str]:
    """Read an option of the form NAME=VALUE that may be repeated.

    Raises:
        OptionError: If one is no NAME=VALUE, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OptionError(f"{option} {text!r}: expected NAME=VALUE, such as {example}")
        if name in found:
            raise OptionError(f"{option} gives {name} twice, as {found[name]!r} and {value!r}; leave one out")
        found[name] = value
    return found


def parse_labels(classes: str | None) -> tuple[Label, ...] | None:
    """A network's classes, by the name of a dataset or from a ``.json`` file; ``None`` without either."""
    found = parse_classes(classes)
    return None if found is None else plain_labels(found)


def parse_classes(classes: str | None) -> tuple[Label, ...] | None:
    """The same classes to read a dataset in: some may be made of several of its own."""
    if classes is None:
        return None
    return read_labels(Path(classes)) if classes.endswith(".json") else named_labels(classes)


def parse_three(option: str, text: str) -> tuple[float, float, float]:
    """One number for all channels, or three.

    Raises:
        OptionError: If it is neither.
    """
    try:
        values = [float(part) for part in re.split(r"[,\s]+", text.strip())]
    except ValueError as exc:
        raise OptionError(f"{option} {text!r}: expected 1 or 3 numbers, such as 127.5 or 123.7,116.3,103.5") from exc
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise OptionError(f"{option} {text!r}: expected 1 or 3 numbers, got {len(values)}")
    return values[0], values[1], values[2]


def parse_normalization(mean: str | None, scale: str | None, color: str | None) -> Normalization | None:
    """What ``--mean``, ``--scale`` and ``--color`` say; ``None`` if none of them is given.

    Raises:
        OptionError: If one of them cannot be read.
    """
    from edge_vseg.export import Normalization

    if mean is None and scale is None and color is None:
        return None
    color = "rgb" if color is None else color
    if color not in ("rgb", "bgr"):
        raise OptionError(f"--color {color!r}: expected rgb or bgr")
    return Normalization(
        mean=parse_three("--mean", "0" if mean is None else mean),
        scale=parse_three("--scale", "1" if scale is None else scale),
        color="rgb" if color == "rgb" else "bgr",
    )


def parse_names(text: str) -> tuple[str, ...]:
    """Names between commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
