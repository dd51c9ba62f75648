"""OpenVINO behind the port.

On a CPU, float layers run in float32. By default OpenVINO uses bfloat16 or float16 on CPUs that have them, and labels
then differ between machines and from the parity report (1 % of the pixels of a road segmentation network on noise, for
1.7 times the speed). To allow that, give
``provider_options={"INFERENCE_PRECISION_HINT": "bf16"}``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_vseg.errors import ProviderError, SessionError
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.graph_checks import (
    FoundTensor,
    backend_failures,
    check_feed,
    check_file,
    check_graph,
    short_reason,
    utf8_path,
)
from edge_vseg.runtimes.packages import Package, load_module, require_package
from edge_vseg.runtimes.port import GraphSpec, SessionOptions
from edge_vseg.types import Tensor

TELEMETRY = "openvino_telemetry"
PERF_COUNT = "PERF_COUNT"
WRONG_INT8_ON_ARM = ((2025, 4), (2026, 0))
VIRTUAL_DEVICES = ("AUTO", "HETERO", "MULTI")


class OpenVinoRuntime:
    """OpenVINO; devices ``CPU``, ``GPU``, ``NPU``, ``AUTO``, and forms like ``GPU.1`` and ``AUTO:NPU,CPU``."""

    name = "openvino"
    extra = "openvino"

    def version(self) -> str:
        """See :meth:`Runtime.version`."""
        return str(self._package())

    def providers(self) -> tuple[str, ...]:
        """See :meth:`Runtime.providers`."""
        return (*self._core().available_devices, "AUTO")

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> OpenVinoSession:
        """Open an ``.xml`` (with its ``.bin`` beside it) or an ``.onnx`` file.

        ``options.threads`` applies to the device ``CPU`` only.

        Raises: See :meth:`Runtime.open`.
        """
        core = self._core()
        device = options.provider.upper() or "CPU"
        _check_device(device, tuple(core.available_devices))
        check_file(path, ".xml", ".onnx")
        with backend_failures(f"openvino cannot read {path}", "export the bundle again, or update openvino"):
            try:
                model = core.read_model(path)
            except UnicodeEncodeError:  # of older versions, at a name that newer ones take
                model = core.read_model(utf8_path(path))
            inputs, outputs = _found(model.inputs), _found(model.outputs)
        positions = check_graph(path, spec, inputs, outputs)
        _check_int8_kernels(model, self._package())
        with backend_failures(
            f"openvino cannot compile {path.name} for device {device}",
            f"devices here: {', '.join(self.providers())}",
            SessionError if device == "CPU" else ProviderError,
        ):
            if model.is_dynamic():
                shapes = {at: list(tensor.shape) for at, tensor in zip(positions[0], spec.inputs, strict=True)}
                model.reshape(shapes)
                check_graph(path, spec, _found(model.inputs), _found(model.outputs))
            compiled = core.compile_model(model, device, _config(device, options))
            session = OpenVinoSession(compiled, spec, positions)
        _check_active(device, session.provider)
        return session

    def _core(self) -> Any:
        return _core(self._package())

    def _package(self) -> Package:
        return require_package("openvino", ("openvino",), runtime=self.name, extra=self.extra)


class OpenVinoSession:
    """A graph compiled by OpenVINO."""

    def __init__(self, compiled: Any, spec: GraphSpec, positions: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._spec = spec
        self._inputs, self._outputs = positions
        self._device = _execution_devices(compiled)

    @property
    def provider(self) -> str:
        """See :attr:`Session.provider`; ``AUTO`` may move to another device while it runs."""
        if self._compiled is not None:
            self._device = _execution_devices(self._compiled)
        return self._device

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See :meth:`Session.run`."""
        if self._request is None:
            raise SessionError("the session is closed; open the graph again")
        feed = dict(zip(self._inputs, check_feed(self._spec, inputs), strict=True))
        with backend_failures("openvino failed to run the graph", "open it again, or try another runtime"):
            results = self._request.infer(feed, share_inputs=True, share_outputs=True)
            # A shared output is the request's buffer, which the next frame overwrites.
            return {
                tensor.name: np.array(results[at]) for tensor, at in zip(self._spec.outputs, self._outputs, strict=True)
            }

    def profiling_info(self) -> list[Any]:
        """OpenVINO's ``ProfilingInfo`` of every node, of a graph opened with ``provider_options={PERF_COUNT: "YES"}``.

        Raises:
            SessionError: If the session is closed, or the device has no counters.
        """
        if self._request is None:
            raise SessionError("the session is closed; open the graph again")
        try:
            return list(self._request.get_profiling_info())
        except RuntimeError as exc:
            raise SessionError(
                f"openvino has no profile of the graph: {short_reason(exc)}; open it with {PERF_COUNT}=YES"
            ) from exc

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._request = None
        self._compiled = None


def import_openvino(package: Package) -> ModuleType:
    """Import openvino without its telemetry.

    ``import openvino`` reports to a server if its dependency openvino-telemetry is installed. openvino works without
    it, so it is hidden during the import. This has no effect if other code imported openvino first.
    """
    if "openvino" in sys.modules or TELEMETRY in sys.modules:
        return load_module("openvino", package)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
    try:
        return load_module("openvino", package)
    finally:
        del sys.modules[TELEMETRY]


@functools.lru_cache(maxsize=1)
def _core(package: Package) -> Any:
    # One for the process: each new Core loads the device plugins again.
    return import_openvino(package).Core()


def _config(device: str, options: SessionOptions) -> dict[str, str]:
    config = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        config |= {"NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = str(options.threads)
    return config | dict(options.provider_options)


def _check_device(device: str, available: tuple[str, ...]) -> None:
    kind, _, listed = device.partition(":")
    names = listed.split(",") if listed else [] if kind == "AUTO" else [kind]
    for name in (n.lstrip("-") for n in names):  # AUTO:-GPU means any but the GPU
        if not any(name == here or name == here.partition(".")[0] for here in available):
            raise ProviderError(
                f"openvino has no device {name!r} here; it has: {', '.join((*available, 'AUTO'))};"
                " install the device's driver, or choose one of these"
            )


def _check_int8_kernels(model: Any, package: Package) -> None:
    """Refuse what gives wrong labels without a word.

    In 2025.4 and 2026.0 int8 convolutions on Arm applied one scale to all output channels: half of the pixels of a
    street had another class than on x86. Found under QEMU on a Cortex-A72 and A76; OpenVINO's pull request 33040 mends
    it.
    """
    on_arm = cpu_features().architecture == "arm64"
    if on_arm and package.release[:2] in WRONG_INT8_ON_ARM and any(_is_rounding(op) for op in model.get_ops()):
        raise SessionError(
            f"int8 graphs give wrong labels in {package} on Arm; install another version: pip install -U openvino;"
            " or open the float graph"
        )


def _is_rounding(op: Any) -> bool:
    return bool(op.get_type_name() == "FakeQuantize")


def _check_active(requested: str, active: str) -> None:
    if requested.partition(":")[0] in VIRTUAL_DEVICES:
        return
    if not active.startswith(requested):
        raise ProviderError(
            f"openvino was asked for device {requested} but runs the graph on {active}; choose that device,"
            " or check the driver"
        )


def _execution_devices(compiled: Any) -> str:
    return ",".join(compiled.get_property("EXECUTION_DEVICES"))


def _found(ports: Any) -> list[FoundTensor]:
    return [
        FoundTensor(
            names=(*sorted(port.get_names()), port.get_node().get_friendly_name()),
            shape=tuple(None if dim.is_dynamic else dim.get_length() for dim in port.get_partial_shape()),
            dtype=_dtype(port.get_element_type()),
        )
        for port in ports
    ]


def _dtype(element: Any) -> str:
    try:
        return str(np.dtype(element.to_dtype()))
    except RuntimeError:  # types that numpy lacks, such as u4
        return str(element)
