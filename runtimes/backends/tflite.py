"""TFLite behind the port: LiteRT (ai-edge-litert) if it is installed, else tflite-runtime.

``provider`` is empty for TFLite's default (XNNPACK; without it and with a warning if it refuses the file), ``xnnpack``
to require it, ``builtin`` to disable it, or the path of an external delegate's shared library, such as
``libedgetpu.so.1`` for a Coral.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_vseg.bundle.manifest import Quantization
from edge_vseg.errors import BackendMissingError, BackendVersionError, OptionError, ProviderError, SessionError
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.runtimes.graph_checks import (
    FoundTensor,
    backend_failures,
    check_feed,
    check_file,
    check_graph,
    short_reason,
    utf8_path,
)
from edge_vseg.runtimes.native_log import quiet_stderr
from edge_vseg.runtimes.packages import Package, find_package, load_module
from edge_vseg.runtimes.port import GraphSpec, SessionOptions
from edge_vseg.types import Tensor

log = logging.getLogger(__name__)
LITERT_FOR_NUMPY_2 = (1, 1)
DEFAULT_THREADS = 4
_MODULES = {
    "ai_edge_litert": ("ai-edge-litert", "ai-edge-litert-nightly"),
    "tflite_runtime": ("tflite-runtime", "tflite-runtime-nightly"),
}


class TfliteRuntime:
    """LiteRT or tflite-runtime; providers ``xnnpack``, ``builtin``, or an external delegate's path."""

    name = "tflite"
    extra = "litert"

    def version(self) -> str:
        """See :meth:`Runtime.version`."""
        return str(self._package()[1])

    def providers(self) -> tuple[str, ...]:
        """See :meth:`Runtime.providers`; external delegates are files and not listed."""
        self._package()
        return ("xnnpack", "builtin")

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> TfliteSession:
        """Open a ``.tflite`` file.

        The spec may use a tensor's own name or its name in the file's signature. ``options.threads`` 0 uses up to 4 of
        the usable cores: TFLite's default is one thread. ``options.provider_options`` go to an external delegate.

        Raises: See :meth:`Runtime.open`.
        """
        module, package = self._package()
        backend = load_module(f"{module}.interpreter", package)
        external = _is_library(options.provider)
        if options.provider and not external and options.provider not in self.providers():
            raise ProviderError(
                f"tflite has no provider {options.provider!r}; known: {', '.join(self.providers())},"
                " or the path of an external delegate (lib….so)"
            )
        if options.provider_options and not external:
            raise OptionError(
                f"provider {options.provider!r} takes no options, got {', '.join(options.provider_options)};"
                " only external delegates do"
            )
        check_file(path)
        utf8_path(path)
        with quiet_stderr():
            delegate = _load_delegate(backend, options) if external else None
            interpreter, active = _prepare(backend, path, spec, options, delegate)
        with backend_failures(f"tflite cannot load {path}", "export the bundle again, or update the runtime"):
            inputs, outputs = _found(interpreter, "input"), _found(interpreter, "output")
        positions = check_graph(path, spec, [t for t, _ in inputs], [t for t, _ in outputs])
        indices = tuple(inputs[at][1] for at in positions[0]), tuple(outputs[at][1] for at in positions[1])
        return TfliteSession(interpreter, spec, indices, active)

    def _package(self) -> tuple[str, Package]:
        found = {m: p for m, names in _MODULES.items() if (p := find_package(m, names)) is not None}
        return choose_package(found, Package(name="numpy", version=np.__version__))


class TfliteSession:
    """A graph in a TFLite interpreter."""

    def __init__(
        self, interpreter: Any, spec: GraphSpec, indices: tuple[tuple[int, ...], tuple[int, ...]], provider: str
    ) -> None:
        self._interpreter = interpreter
        self._spec = spec
        self._inputs, self._outputs = indices
        self._provider = provider

    @property
    def provider(self) -> str:
        """See :attr:`Session.provider`."""
        return self._provider

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See :meth:`Session.run`."""
        if self._interpreter is None:
            raise SessionError("the session is closed; open the graph again")
        feed = check_feed(self._spec, inputs)
        with backend_failures("tflite failed to run the graph", "open it again, or try another runtime"):
            for index, array in zip(self._inputs, feed, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            outputs = [self._interpreter.get_tensor(index) for index in self._outputs]  # copies, so the caller's own
        return {tensor.name: output for tensor, output in zip(self._spec.outputs, outputs, strict=True)}

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._interpreter = None


def choose_package(found: Mapping[str, Package], numpy: Package) -> tuple[str, Package]:
    """Choose the module to use, and check that it works with the installed numpy before importing it.

    Old versions of both packages link numpy 1's C interface. Under numpy 2 their import prints a traceback on standard
    error, and the first model fails with ``_ARRAY_API not found``.

    Args:
        found: Installed distributions by module: ``ai_edge_litert`` and ``tflite_runtime``.
        numpy: The installed numpy.

    Raises:
        BackendMissingError: If neither is installed.
        BackendVersionError: If the chosen one does not work with this numpy.
    """
    for module in _MODULES:
        if module not in found:
            continue
        package = found[module]
        too_old = module == "tflite_runtime" or package.release < LITERT_FOR_NUMPY_2
        if numpy.release >= (2,) and package.release and too_old:
            raise BackendVersionError(
                f"{package} does not work with {numpy}: pip install -U 'edge-vseg[litert]'"
                " for a TFLite that does, or pip install 'edge-vseg[tflite-runtime]' for numpy below 2"
            )
        return module, package
    raise BackendMissingError(
        "runtime 'tflite' needs ai-edge-litert or tflite-runtime, and neither is installed:"
        " pip install 'edge-vseg[litert]', or pip install 'edge-vseg[tflite-runtime]' where numpy is below 2"
    )


def _prepare(
    backend: ModuleType, path: Path, spec: GraphSpec, options: SessionOptions, delegate: Any
) -> tuple[Any, str]:
    """The interpreter, ready to run, and its active provider."""
    try:
        interpreter, delegate_is_used = _allocate(backend, path, spec, options, delegate)
    except Exception as exc:  # a damaged file makes it raise anything: IndexError, MemoryError, OverflowError
        if delegate:
            raise ProviderError(
                f"delegate {options.provider} cannot run {path.name}: {short_reason(exc)}; use a graph"
                " compiled for it, or another provider"
            ) from exc
        return _prepare_builtin(backend, path, spec, options, exc), "builtin"
    if delegate and not delegate_is_used:
        raise ProviderError(
            f"delegate {options.provider} takes no operator of {path.name}, so the CPU would run them all;"
            " use a graph compiled for it, or another provider"
        )
    if delegate:
        return interpreter, options.provider
    active = "xnnpack" if _has_delegated_operator(interpreter) else "builtin"
    if options.provider and active != options.provider:
        raise ProviderError(
            f"tflite was asked for {options.provider} but runs {path.name} with {active}: XNNPACK is not in this"
            " build, or supports none of the graph's operators; leave the provider empty to accept that"
        )
    return interpreter, active


def _allocate(
    backend: ModuleType, path: Path, spec: GraphSpec, options: SessionOptions, delegate: Any
) -> tuple[Any, bool]:
    """An interpreter with its tensors, and whether it used the external delegate."""
    resolver = backend.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    if options.provider != "builtin":
        resolver = backend.OpResolverType.AUTO
    interpreter = backend.Interpreter(
        model_path=utf8_path(path),
        experimental_delegates=[delegate] if delegate else None,
        num_threads=options.threads or min(DEFAULT_THREADS, usable_cores()),
        experimental_op_resolver_type=resolver,
    )
    # TFLite applies XNNPACK in allocate_tensors: delegated before that means the external delegate.
    delegate_is_used = _has_delegated_operator(interpreter)
    _resize(interpreter, spec)
    interpreter.allocate_tensors()
    return interpreter, delegate_is_used


def _prepare_builtin(
    backend: ModuleType, path: Path, spec: GraphSpec, options: SessionOptions, refusal: Exception
) -> Any:
    """The interpreter without XNNPACK, which refuses the whole file where one of its operators fails.

    Raises:
        ProviderError: If it runs so, but XNNPACK was asked for.
        SessionError: If it does not.
    """
    try:
        if options.provider == "builtin":
            raise refusal
        interpreter, _ = _allocate(backend, path, spec, replace(options, provider="builtin"), None)
    except Exception as exc:  # as above
        raise SessionError(
            f"tflite cannot load {path}: {short_reason(exc)}; export the bundle again, or update the runtime"
        ) from exc
    if options.provider:
        raise ProviderError(
            f"XNNPACK cannot run {path.name}: {short_reason(refusal)}; leave the provider empty to run it without,"
            " which is slower"
        ) from refusal
    log.warning("XNNPACK cannot run %s: %s; it runs without, which is slower", path.name, short_reason(refusal))
    return interpreter


def _is_library(provider: str) -> bool:
    return "/" in provider or provider.endswith(".so") or ".so." in provider


def _load_delegate(backend: ModuleType, options: SessionOptions) -> Any:
    try:
        # If the backend's own loader fails, it leaves an object whose destructor fails, too.
        library = ctypes.CDLL(options.provider)
        for symbol in ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"):
            getattr(library, symbol)
        return backend.load_delegate(options.provider, dict(options.provider_options))
    except (OSError, ValueError, AttributeError) as exc:
        raise ProviderError(
            f"delegate {options.provider} cannot be loaded: {short_reason(exc)};"
            " check the path, that its device is connected, and that this user may open it"
        ) from exc


def _has_delegated_operator(interpreter: Any) -> bool:
    return any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def _resize(interpreter: Any, spec: GraphSpec) -> None:
    """Resize a dynamic input to the spec's shape."""
    for detail in interpreter.get_input_details():
        shape = tuple(int(dim) for dim in detail["shape_signature"])
        if -1 in shape and len(spec.inputs) == 1 and len(shape) == len(spec.input.shape):
            interpreter.resize_tensor_input(detail["index"], spec.input.shape)


def _found(interpreter: Any, kind: str) -> list[tuple[FoundTensor, int]]:
    """Tensors and their indices; a tensor has its own name and those in the signatures."""
    details = getattr(interpreter, f"get_{kind}_details")()
    aliases: dict[int, list[str]] = {}
    for key in interpreter.get_signature_list():
        # The runner must be dropped at once: invoke() fails while one exists.
        signature = getattr(interpreter.get_signature_runner(key), f"get_{kind}_details")()
        for name, detail in signature.items():
            aliases.setdefault(detail["index"], []).append(name)
    return [
        (
            FoundTensor(
                names=(*aliases.get(detail["index"], ()), detail["name"]),
                shape=tuple(int(dim) for dim in detail["shape"]),
                dtype=np.dtype(detail["dtype"]).name,
                quantization=_quantization(detail),
            ),
            detail["index"],
        )
        for detail in details
    ]


def _quantization(detail: Mapping[str, Any]) -> Quantization | None:
    scale, zero_point = detail["quantization"]
    return Quantization(scale=float(scale), zero_point=int(zero_point)) if scale > 0 else None
