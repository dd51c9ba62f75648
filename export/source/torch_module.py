"""Open a torch module by its factory, load its weights safely, and turn it into ONNX."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import EdgeVsegError, ModelFileError, WeightsError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.graph.onnx_file import read_model_bytes
from edge_vseg.export.quiet import quiet
from edge_vseg.export.source.module_fingerprint import module_fingerprint
from edge_vseg.export.source.output_choice import ChosenOutput, Output, choose_output, flatten_outputs
from edge_vseg.export.source.own_labels import read_own_labels
from edge_vseg.export.source.own_normalization import read_normalization
from edge_vseg.export.source.own_stages import RunStages, read_own_stages
from edge_vseg.export.source.own_words import own_words
from edge_vseg.export.source.quantized_layers import refuse_quantized
from edge_vseg.export.source.source_network import TRAINED
from edge_vseg.export.source.traced_graph import evaluated, to_float_weights, trace_graph, uncompiled
from edge_vseg.export.source.user_error import not_traced, user_error
from edge_vseg.types import Size

Run = Callable[[NDArray[np.float32]], NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSource:
    """A torch module with its weights.

    Attributes:
        fingerprint: Hash of its weights, its structure and the user's own source code that it comes from.
        module: The module in evaluation mode, giving the one output that is taken.
        try_out: Runs it on a black image of a size, and gives the output that is taken; ModelFileError if it fails.
        trace: Gives its ONNX graph at an input size; ModelFileError if it cannot be traced. Takes seconds.
        run: Runs the module itself.
        run_stages: Runs the module and gives the outputs of those of its ``stages()`` that may be carried over, in
            order; ``None`` for a module without such stages.
        normalization: What the module, or its factory, says of itself in an attribute of that name; else ``None``.
        labels: The classes, likewise.
        notes: What whoever exports it should know.
    """

    fingerprint: str
    module: torch.nn.Module
    try_out: Callable[[Size], ChosenOutput]
    trace: Callable[[Size], onnx.ModelProto]
    run: Run
    run_stages: RunStages | None
    normalization: Normalization | None
    labels: tuple[Label, ...] | None
    notes: tuple[str, ...] = ()


class _OneOutput(torch.nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """Takes one tensor out of whatever a network gives: a tensor, a sequence, or a mapping.

    Args:
        network: The network.
        wanted: Name of the output; empty to choose it when the network first runs.
        classes: Number of classes, if it is known.
    """

    def __init__(self, network: torch.nn.Module, wanted: str, classes: int | None) -> None:
        super().__init__()
        self.network = network
        self.wanted, self.classes = wanted, classes
        self.chosen: ChosenOutput | None = None
        self.place = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = dict(flatten_outputs(self.network(image)))
        if not found:
            raise ModelFileError("the network gives no tensor; it must give scores (1, C, H, W)")
        if self.chosen is None:
            outputs = [
                Output(name=name, shape=tuple(tensor.shape), whole=not tensor.is_floating_point())
                for name, tensor in found.items()
            ]
            self.chosen = choose_output(outputs, self.wanted, self.classes, tuple(image.shape[2:]))
            self.place = list(found).index(self.chosen.name)
        return found[self.chosen.name]


def open_torch(
    source: str,
    weights: Path | None,
    output_name: str = "",
    classes: int | None = None,
    normalization: Normalization | None = None,
) -> TorchSource:
    """Call the factory and load the weights.

    Args:
        source: ``package.module:factory`` or ``path/file.py:factory``; the factory takes no arguments. Or weights that
            ``edge-vseg-train`` wrote.
        weights: ``.safetensors``, or a state dict saved by torch; ``None`` keeps the factory's weights.
        output_name: The output to take; empty for the one that looks most like scores.
        classes: Number of classes, if it is known, to tell scores by.
        normalization: What was asked for; ``None`` for what the network says of itself.

    Raises:
        ModelFileError: If the factory cannot be found or fails, or nothing was asked for and what it says of its
            network cannot be understood.
        WeightsError: If the weights are unsafe to read or do not fit.
    """
    factory, homes = _trained(Path(source)) if source.lower().endswith(TRAINED) else _find_factory(source)
    network = uncompiled(_call_factory(factory, source))
    norm, norm_note = own_words(read_normalization, network, factory, source, normalization)
    labels, labels_note = own_words(read_own_labels, network, factory, source, classes)
    if weights is not None:
        to_float_weights(network)  # so that it takes all digits of what is loaded
        _load_weights(network, weights)
    refuse_quantized(network, source)
    wrapped = evaluated(_OneOutput(network, output_name, classes))
    run_stages, stages_note = read_own_stages(network)
    fingerprint = module_fingerprint(network, homes)

    def try_out(size_hw: Size) -> ChosenOutput:
        image = torch.zeros(1, 3, *size_hw)
        try:
            with _quiet_torch(), torch.no_grad():
                try:
                    wrapped(image)
                except RuntimeError:  # weights in another precision, for an input that nobody brings to it
                    if not to_float_weights(network):
                        raise
                    wrapped(image)
        except EdgeVsegError:
            raise
        except Exception as exc:  # the user's code
            raise ModelFileError(
                f"{source} does not run on an image of {size_hw[0]}x{size_hw[1]}: {user_error(exc)};"
                " it must take one (1, 3, H, W) float image: give the --input-size that it was trained at, or export a"
                " module around it that makes other channels of these three"
            ) from exc
        chosen: ChosenOutput = wrapped.chosen
        return chosen

    def trace(size_hw: Size) -> onnx.ModelProto:
        try_out(size_hw)  # what fails without torch.export says so in its own words
        try:
            with _quiet_torch(), torch.no_grad():
                example = torch.zeros(1, 3, *size_hw)
                return trace_graph(wrapped, network, example, wrapped.place)
        except Exception as exc:  # tracing runs the user's code, which may raise anything
            raise ModelFileError(
                f"{source} runs, but cannot be exported to ONNX at {size_hw[0]}x{size_hw[1]}: {not_traced(exc)}"
            ) from exc

    def run(value: NDArray[np.float32]) -> NDArray[np.generic]:
        with torch.no_grad():
            return np.asarray(wrapped(torch.from_numpy(value)))

    return TorchSource(
        fingerprint=fingerprint,
        module=wrapped,
        try_out=try_out,
        trace=trace,
        run=run,
        run_stages=run_stages,
        normalization=norm,
        labels=labels,
        notes=tuple(note for note in (norm_note, labels_note, stages_note) if note),
    )


def _find_factory(source: str) -> tuple[Callable[[], Any], list[str]]:
    """The factory, and the names of the modules it was found in and comes from."""
    place, _, name = source.rpartition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it: the network lies where the command is typed
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        factory: Callable[[], Any] = getattr(module, name)
    except ModelFileError:
        raise
    except Exception as exc:  # importing runs the user's code, which may raise anything
        raise ModelFileError(f"{source}: {exc}; give package.module:factory or path/file.py:factory") from exc
    return factory, [module.__name__, str(getattr(factory, "__module__", module.__name__))]


def _trained(path: Path) -> tuple[Callable[[], torch.nn.Module], list[str]]:
    from edge_vseg.export.reference.zoo import read_network

    return lambda: read_network(path), []


def _call_factory(factory: Callable[[], Any], source: str) -> torch.nn.Module:
    try:
        network = factory()
    except WeightsError:
        raise
    except Exception as exc:  # the user's code
        raise ModelFileError(f"{source}() failed: {user_error(exc)}") from exc
    if not isinstance(network, torch.nn.Module):
        raise ModelFileError(f"{source}() gave {type(network).__name__}; expected a torch.nn.Module")
    return network


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelFileError(f"no Python file at {path}; check the path")
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        sys.path.insert(0, beside)  # as `python file.py` has it: the file may import what lies beside it
    # A name of its own: the user's file may be called like a module that is loaded already.
    name = f"edge_vseg_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_weights(network: torch.nn.Module, path: Path) -> None:
    state = _read_state(path)
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}  # saved by DataParallel
    if any("_orig_mod." in key for key in state) and not any("_orig_mod." in key for key in network.state_dict()):
        state = {key.replace("_orig_mod.", ""): value for key, value in state.items()}  # saved by torch.compile
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as exc:
        raise WeightsError(
            f"weights {path} do not fit the network: {_sizes_told(exc)}; the factory makes another variant of it than"
            " the one they were trained in, such as one for another number of classes"
        ) from exc
    if missing or unexpected:
        raise WeightsError(
            f"weights {path} do not fit the network: {len(missing)} missing ({', '.join(missing[:3])}),"
            f" {len(unexpected)} unexpected ({', '.join(unexpected[:3])})"
        )


def _sizes_told(exc: RuntimeError) -> str:
    """Torch's message without its heading: a line for each tensor of another size, of which two tell enough."""
    heading, *lines = [line.strip().rstrip(".") for line in str(exc).splitlines() if line.strip()]
    told = "; ".join(lines[:2]) or heading
    return f"{told}; and {len(lines) - 2} more" if len(lines) > 2 else told


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        read_model_bytes(path)
    except ModelFileError as exc:
        raise WeightsError(str(exc).replace("model", "weights file", 1)) from exc
    if path.suffix == ".safetensors":
        import safetensors.torch

        try:
            return dict(safetensors.torch.load_file(path))
        except Exception as exc:  # safetensors raises its own SafetensorError
            raise WeightsError(f"weights {path} are damaged or no safetensors file: {first_line(exc)}") from exc
    try:
        with _quiet_torch():
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # of a damaged file torch makes OSError, AssertionError and almost any other kind
        raise WeightsError(
            f"weights {path} are damaged or hold more than tensors, and reading them could run code;"
            " save a state dict: torch.save(network.state_dict(), path), or use .safetensors"
        ) from exc
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"weights {path} hold no state dict; save network.state_dict()")
    return state


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep torch's advice to its own developers off the terminal: warnings, log lines and printed graphs."""
    levels = {log: log.level for log in _torchs_loggers()}
    for log in levels:
        log.setLevel(logging.CRITICAL + 1)
    try:
        with quiet():
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def _torchs_loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.items()
    inside = [log for name, log in known if name.startswith("torch.") and isinstance(log, logging.Logger)]
    return [logging.getLogger("torch"), *inside]
