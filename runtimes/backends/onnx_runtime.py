"""ONNX Runtime behind the port.

Threads do not spin while they wait for work, unlike ONNX Runtime's default. Measured with a float DeepLabv3 257x257 and
2 threads on two x86 cores, medians of 25 runs: on an idle machine spinning changes the latency by -14 to +4 % and, at a
frame every 45 ms, doubles the CPU time (54 instead of 23 ms per frame). With about one core busy, such as with a
camera's decoder, it adds 70 to 100 % back to back (32 to 43 instead of 19 to 22 ms), and 0 to 85 % with pauses of 30
ms. ``provider_options={"session.intra_op.allow_spinning": "1"}`` turns spinning on.

IO binding with preallocated outputs made no difference for outputs up to 5.5 MB. ``run`` allocates each output, so it
belongs to the caller.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_vseg.errors import OptionError, ProviderError, SessionError
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

logger = logging.getLogger(__name__)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-migraphx",
    "onnxruntime-rocm",
)
DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
}
SPINNING = "session.intra_op.allow_spinning"
QDQ_IN_FLOAT = "session.disable_quant_qdq"
RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_LOG_ERRORS_ONLY = 3


class OnnxRuntime:
    """ONNX Runtime; providers ``cpu``, ``xnnpack``, ``openvino``, ``cuda`` and ``tensorrt``."""

    name = "onnxruntime"
    extra = "onnxruntime"

    def version(self) -> str:
        """See :meth:`Runtime.version`."""
        return str(self._package())

    def providers(self) -> tuple[str, ...]:
        """See :meth:`Runtime.providers`."""
        available = self._load().get_available_providers()
        return tuple(short for short, full in PROVIDERS.items() if full in available)

    def open(
        self, path: Path, spec: GraphSpec, options: SessionOptions, *, profile_to: Path | None = None
    ) -> OnnxSession:
        """Open an ``.onnx`` file.

        Keys of ``options.provider_options`` that begin with ``session.`` are session configuration entries; the others
        go to the provider. ``profile_to`` turns the profiler on and is the prefix of its file's path; see
        :meth:`OnnxSession.end_profiling`.

        Raises: See :meth:`Runtime.open`.
        """
        backend = self._load()
        provider = self._pick_provider(options.provider)
        check_file(path, ".onnx")
        session = _create(backend, path, provider, options, self.providers(), profile_to)
        active = session.get_providers()[0]
        if active != PROVIDERS[provider]:
            raise ProviderError(
                f"onnxruntime could not start {PROVIDERS[provider]} and uses {active} instead; install the"
                f" libraries it needs, or choose another provider: {', '.join(self.providers())}"
            )
        _require_share(session, provider, path)
        check_graph(path, spec, _found(session.get_inputs()), _found(session.get_outputs()))
        return OnnxSession(session, spec, provider)

    def _pick_provider(self, requested: str) -> str:
        provider = requested or "cpu"
        available = self.providers()
        if provider in available:
            return provider
        here = f"{self.version()} here has {', '.join(available)}"
        if provider not in PROVIDERS:
            raise ProviderError(f"onnxruntime has no provider {requested!r}; known: {', '.join(PROVIDERS)}; {here}")
        raise ProviderError(
            f"provider {requested!r} is not in this build of ONNX Runtime ({here});"
            " install the build that has it, such as onnxruntime-gpu or onnxruntime-openvino"
        )

    def _package(self) -> Package:
        return require_package("onnxruntime", DISTRIBUTIONS, runtime=self.name, extra=self.extra)

    def _load(self) -> ModuleType:
        backend = load_module("onnxruntime", self._package())
        # Official Windows builds send usage events by default; elsewhere this does nothing.
        backend.disable_telemetry_events()
        return backend


class OnnxSession:
    """A graph open in ONNX Runtime."""

    def __init__(self, session: Any, spec: GraphSpec, provider: str) -> None:
        self._session = session
        self._spec = spec
        self._provider = provider

    @property
    def provider(self) -> str:
        """See :attr:`Session.provider`."""
        return self._provider

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See :meth:`Session.run`."""
        if self._session is None:
            raise SessionError("the session is closed; open the graph again")
        check_feed(self._spec, inputs)
        names = [tensor.name for tensor in self._spec.outputs]
        with backend_failures("onnxruntime failed to run the graph", "open it again, or try another runtime"):
            outputs = self._session.run(names, inputs)
        return dict(zip(names, outputs, strict=True))

    def end_profiling(self) -> Path:
        """Stop the profiler of a graph opened with ``profile_to``, and return the path of its file.

        Raises:
            SessionError: If the session is closed, or was opened without a profiler.
        """
        written = self._session.end_profiling() if self._session is not None else ""
        if not written:
            raise SessionError(
                "there is no profile: the graph was opened without profile_to, or is closed; open it with profile_to"
            )
        return Path(written)

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._session = None


def _create(
    backend: ModuleType,
    path: Path,
    provider: str,
    options: SessionOptions,
    available: tuple[str, ...],
    profile_to: Path | None,
) -> Any:
    entries = {SPINNING: "0"} | {k: v for k, v in options.provider_options.items() if k.startswith("session.")}
    chosen = {k: v for k, v in options.provider_options.items() if not k.startswith("session.")}
    if provider == "cpu" and chosen:
        raise OptionError(
            f"provider 'cpu' takes no options, got {', '.join(chosen)}; session entries begin with 'session.'"
        )
    file = utf8_path(path)
    settings = backend.SessionOptions()
    settings.graph_optimization_level = backend.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = _LOG_ERRORS_ONLY
    settings.intra_op_num_threads = options.threads
    if profile_to is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_to)
    if provider == "xnnpack":
        # XNNPACK has its own thread pool, and two pools would compete for the cores.
        settings.intra_op_num_threads = 1
        if options.threads:
            chosen = {"intra_op_num_threads": str(options.threads)} | chosen
    if provider != "cpu" and hasattr(backend.InferenceSession, "get_provider_graph_assignment_info"):
        entries[RECORD_ASSIGNMENT] = "1"
    try:
        for key, value in entries.items():
            settings.add_session_config_entry(key, value)
        chain = [(PROVIDERS[provider], chosen)] + [(PROVIDERS[p], {}) for p in _fallbacks(provider, available)]
        # Without enable_fallback=0 the Python layer retries on the CPU and only prints a line.
        return backend.InferenceSession(file, settings, providers=chain, enable_fallback=0)
    except Exception as exc:  # its exceptions share no base class below Exception
        if provider == "cpu":
            raise SessionError(
                f"onnxruntime cannot load {path}: {short_reason(exc)}; export the bundle again, or update onnxruntime"
            ) from exc
        raise ProviderError(
            f"onnxruntime cannot open {path.name} with provider {provider!r}: {short_reason(exc)};"
            f" providers here: {', '.join(available)}"
        ) from exc


def _fallbacks(provider: str, available: tuple[str, ...]) -> tuple[str, ...]:
    """Fallback providers for nodes that the chosen one cannot run, best first."""
    if provider == "cpu":
        return ()
    return ("cuda", "cpu") if provider == "tensorrt" and "cuda" in available else ("cpu",)


def _require_share(session: Any, provider: str, path: Path) -> None:
    """Raise ProviderError if an active provider runs no node at all (ONNX Runtime 1.24 and later report it)."""
    read_assignment = getattr(session, "get_provider_graph_assignment_info", None)
    if provider == "cpu" or read_assignment is None:
        return
    nodes = [(part.ep_name, len(part.get_nodes())) for part in read_assignment()]
    own = sum(count for name, count in nodes if name == PROVIDERS[provider])
    total = sum(count for _, count in nodes)
    if own == 0:
        raise ProviderError(
            f"provider {provider!r} can run none of the {total} nodes of {path.name}, so the CPU would run"
            " them all; choose another variant or provider"
        )
    logger.info("%s: %d of %d nodes run on %s", path.name, own, total, provider)


def _found(args: Any) -> list[FoundTensor]:
    return [
        FoundTensor(
            names=(arg.name,),
            shape=tuple(dim if isinstance(dim, int) else None for dim in arg.shape),
            dtype=DTYPES.get(arg.type, arg.type),
        )
        for arg in args
    ]
