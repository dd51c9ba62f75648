"""The port that every inference runtime implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_vseg.bundle.manifest import TensorSpec
from edge_vseg.errors import OptionError
from edge_vseg.types import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """Inputs and outputs of the graph to open, as the manifest promises them.

    A whole network has one of each; a slice of one may have several.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, *, input: TensorSpec, output: TensorSpec) -> GraphSpec:
        """A graph with one input and one output."""
        return cls(inputs=(input,), outputs=(output,))

    @property
    def input(self) -> TensorSpec:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How to open a graph.

    Attributes:
        threads: Worker threads; 0 leaves the choice to the runtime.
        provider: Execution provider (ONNX Runtime), device (OpenVINO) or delegate (TFLite) by its
            short name, such as ``cpu``, ``xnnpack``, ``cuda``, ``tensorrt``, ``GPU``, ``AUTO``, or the path of an
            external delegate; empty for the runtime's CPU default.
        provider_options: Handed to the provider as they are.
    """

    threads: int = 0
    provider: str = ""
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a negative number of threads."""
        if self.threads < 0:
            raise OptionError(f"threads must be 0 (the runtime's choice) or more, got {self.threads}")


class Session(Protocol):
    """An open graph; one thread at a time may use it."""

    @property
    def provider(self) -> str:
        """The provider, device or delegate that is really active."""
        ...

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Compute the outputs that the spec names.

        Args:
            inputs: The spec's inputs by name, with the spec's shapes and dtypes. A quantized graph
                takes stored values: quantizing and dequantizing are the caller's part.

        Returns:
            The spec's outputs by name. The arrays belong to the caller: a later ``run`` does not
            change them, and they outlive ``close``.

        Raises:
            SessionError: If the inputs do not fit, the runtime fails, or the session is closed.
        """
        ...

    def close(self) -> None:
        """Release the graph; calling it twice does nothing."""
        ...


class Runtime(Protocol):
    """An inference runtime.

    Attributes:
        name: What users and manifests call it.
        extra: The extra of edge-vseg that installs it; empty if it needs none.
    """

    name: str
    extra: str

    def version(self) -> str:
        """The installed distribution and its version, such as ``onnxruntime-gpu 1.22.0``.

        Cheap: reads metadata and does not load the backend.

        Raises:
            BackendMissingError: If it is not installed; the message has the pip line.
            BackendVersionError: If it is installed but cannot work here.
        """
        ...

    def providers(self) -> tuple[str, ...]:
        """Short names of the providers that this installation has, the CPU default among them.

        Whether a provider's libraries and hardware are there too shows when a graph is opened with it.

        Raises:
            BackendMissingError: If the runtime is not installed.
            BackendVersionError: If it is installed but cannot work here.
        """
        ...

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> Session:
        """Open a graph and check it against its spec.

        Raises:
            BackendMissingError: If the runtime is not installed.
            BackendVersionError: If it is installed but cannot work here.
            OptionError: If ``options.provider_options`` holds what the provider cannot take.
            ProviderError: If the provider asked for is not available, or not active after loading.
            SessionError: If the graph cannot be loaded or disagrees with ``spec``.
        """
        ...
