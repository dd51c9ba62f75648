"""The stages that a torch module names itself, some of which may be carried over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vseg.export.source.user_error import user_error

RunStages = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
_PARTS = ("module", "inputs", "output", "reusable")


def read_own_stages(network: torch.nn.Module) -> tuple[RunStages | None, str]:
    """What runs the stages that a module's method ``stages()`` names, as that of the reference networks does.

    Many a backbone has an attribute of that name that means something else: its layers, or how many there are.

    Returns:
        A function that runs the stages and gives the outputs of the reusable ones, in order; ``None`` without such
        stages. And a note if there is a method ``stages()`` that is ignored; else empty.
    """
    method = getattr(network, "stages", None)
    if not callable(method) or isinstance(method, torch.nn.Module):
        return None, ""
    try:
        stages = list(method())
        _require_chain(stages)
    except Exception as exc:  # the user's code, which may raise anything and give anything
        return None, f"its method stages() does not name parts that may be carried over, and is ignored: {_why(exc)}"

    def run(value: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        tensors, reusable = {"image": torch.from_numpy(value)}, []
        with torch.no_grad():
            for stage in stages:
                tensors[stage.output] = stage.module(*(tensors[name] for name in stage.inputs))
                if stage.reusable:
                    reusable.append(np.asarray(tensors[stage.output], np.float32))
        return reusable

    return run, ""


class _NoStageError(Exception):
    """What a method ``stages()`` gives are no stages."""


def _require_chain(stages: Sequence[Any]) -> None:
    """Raise _NoStageError unless each is a stage that reads the image or what stages before it gave."""
    known = {"image"}
    for stage in stages:
        if missing := [name for name in _PARTS if not hasattr(stage, name)]:
            raise _NoStageError(f"it gives {type(stage).__name__} without {', '.join(missing)}")
        if not callable(stage.module) or isinstance(stage.inputs, str) or not isinstance(stage.output, str):
            raise _NoStageError(f"it gives {type(stage).__name__} that takes no named tensors and gives none")
        if unknown := set(stage.inputs) - known:
            raise _NoStageError(f"a stage reads {', '.join(sorted(map(str, unknown)))}, which none before it gives")
        known.add(stage.output)


def _why(exc: Exception) -> str:
    return str(exc) if isinstance(exc, _NoStageError) else user_error(exc)
