"""Weights of the reference networks: input normalisation, shipped weights, reading and writing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from edge_vseg.bundle.labels import named_labels, parse_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError, WeightsError
from edge_vseg.export.reference.zoo.packed_weights import pack_weights, unpack_weights
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.files import write_whole

NORMALIZATION = TwoBranch.normalization
"""Input normalisation of all reference networks."""

ASSETS = Path(str(resources.files("edge_vseg.export.reference"))) / "assets"
INDEX = "weights.json"
_METADATA_KEY = "edge_vseg"
"""The only metadata key; safetensors writes several keys in no fixed order."""
_BORROWED = {"context.stem.": "stem.", "context.branch.": "context."}
"""Names of the weights that a network with its own stem has from another, and their names there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedWeights:
    """Weights that come with the package.

    Attributes:
        network: Its name, such as ``small``.
        file: Name in ``export/reference/assets``.
        sha256: Hash of the file.
        miou: mIoU on CamVid val in percent, float, every frame inferred.
        iou: IoU per class in percent.
        commands: The commands that trained them, in order.
    """

    network: str
    file: str
    sha256: str
    miou: float
    iou: dict[str, float]
    commands: tuple[str, ...]


def shipped() -> dict[str, ShippedWeights]:
    """The weights that come with the package, by network."""
    rows: list[dict[str, Any]] = json.loads((ASSETS / INDEX).read_text(encoding="utf-8"))
    return {row["network"]: ShippedWeights(**row | {"commands": tuple(row["commands"])}) for row in rows}


def pretrained(name: str) -> TwoBranch:
    """A network with the shipped weights, in evaluation mode.

    Raises:
        WeightsError: If there are no shipped weights for it, or the file is damaged.
    """
    known = shipped()
    if name not in known:
        raise WeightsError(
            f"edge_vseg has no weights for {name!r}, only for {', '.join(known)};"
            f" train them with: edge-vseg-train CAMVID_DIR -o RUN --network {name}, and export"
            f" edge_vseg.export.reference.zoo:untrained_{name} --weights RUN/weights.safetensors"
        )
    path = ASSETS / known[name].file
    if not path.is_file() or _sha256(path) != known[name].sha256:
        raise WeightsError(f"{path} is missing or damaged; install the package again")
    return read_network(path)


def read_network(path: Path) -> TwoBranch:
    """Read a network that :func:`write_weights` wrote; in evaluation mode.

    Raises:
        WeightsError: If the file is missing, damaged, or of an unknown network.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = unpack_weights(safetensors.torch.load_file(path))
    except Exception as exc:  # safetensors raises its own SafetensorError, and OSError
        raise WeightsError(f"weights {path} are missing, damaged or not a safetensors file: {exc}") from exc
    facts = _facts(metadata)
    if "context_from" in facts:
        state |= _borrow(path, facts["context_from"])
    name = facts.get("network", metadata.get("network", ""))
    if not isinstance(name, str) or name not in SPECS:
        raise WeightsError(f"weights {path} do not belong to a reference network; known: {', '.join(SPECS)}")
    labels = _labels(facts, path)
    network = TwoBranch(replace(SPECS[name], classes=len(labels)))
    network.labels = labels
    try:
        network.load_state_dict(state)
    except RuntimeError as exc:
        raise WeightsError(f"weights {path} do not fit {name}: {str(exc).splitlines()[-1].strip()}") from exc
    network.eval()
    return network


def write_weights(
    path: Path,
    network: TwoBranch,
    facts: Mapping[str, str],
    context_from: Path | None = None,
    *,
    in_8_bits: bool = False,
) -> None:
    """Write weights as float16 safetensors, atomically; equal weights give identical files.

    Args:
        path: Target file in an existing folder.
        network: The network; its ``spec.name`` and ``labels`` are stored for :func:`read_network`.
        facts: Further metadata.
        context_from: A file in the same folder with the same stem and context, as training with ``frozen`` leaves them:
            they are not written again, and this file is needed to read the new one.
        in_8_bits: Write large convolutions in int8, which is hardly less exact; see
            :mod:`~edge_vseg.export.reference.zoo.packed_weights`.

    Raises:
        WeightsError: If that file's stem or context are others.
        OutputError: If it cannot be written.
    """
    state = {
        key: value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for key, value in network.state_dict().items()
    }
    extra: dict[str, Any] = dict(facts)
    if context_from is not None:
        extra["context_from"] = {"file": context_from.name, "sha256": _sha256(context_from)}
        for key, value in _borrow(context_from, extra["context_from"]).items():
            ours = state.pop(key, None)
            if ours is None or not torch.equal(ours, value.to(ours.dtype)):
                raise WeightsError(f"{network.spec.name} has another context than {context_from}; write it whole")
    if in_8_bits:
        state = pack_weights(state)
    labels = [{"name": label.name, "color": list(label.color)} for label in network.labels]
    text = json.dumps({**extra, "network": network.spec.name, "labels": labels}, sort_keys=True)
    write_whole(path, safetensors.torch.save(state, metadata={_METADATA_KEY: text}))


def _borrow(path: Path, source: Any) -> dict[str, torch.Tensor]:
    """Stem and context from the file that another one leaves them to."""
    wanted = source if isinstance(source, dict) else {}
    other = path.with_name(Path(str(wanted.get("file", ""))).name or "weights.safetensors")
    if not other.is_file() or _sha256(other) != wanted.get("sha256"):
        raise WeightsError(f"weights {path} need the context in {other}, which is missing or another; put it there")
    state = unpack_weights(safetensors.torch.load_file(other))
    return {
        ours + key.removeprefix(theirs): value
        for ours, theirs in _BORROWED.items()
        for key, value in state.items()
        if key.startswith(theirs)
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of itself; nothing if it is not ours. Files of version 0.1 name the network elsewhere."""
    try:
        facts = json.loads(metadata.get(_METADATA_KEY, "{}"))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _labels(facts: Mapping[str, Any], path: Path) -> tuple[Label, ...]:
    """The classes; CamVid's in files that name none, which are from before others could be trained."""
    if "labels" not in facts:
        return named_labels("camvid")
    try:
        return parse_labels(facts["labels"], f"weights {path}")
    except OptionError as exc:
        raise WeightsError(str(exc)) from exc
