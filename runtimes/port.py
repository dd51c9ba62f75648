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
    """Inputs and outputs of a graph, as the manifest declares them.

    A whole network has one of each; a slice may have several.
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
        provider: Short name of an execution provider (ONNX Runtime), device (OpenVINO) or delegate (TFLite), such as
            ``cpu``, ``xnnpack``, ``cuda``, ``tensorrt``, ``GPU`` or ``AUTO``, or the path of an external delegate;
            empty for the runtime's CPU default.
        provider_options: Handed to the provider as they are.
    """

    threads: int = 0
    provider: str = ""
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise OptionError if the number of threads is negative."""
        if self.threads < 0:
            raise OptionError(
                f"threads must be 0 (the runtime's choice) or more, got {self.threads}; give the number of cores to use"
            )


class Session(Protocol):
    """An open graph; one thread at a time may use it."""

    @property
    def provider(self) -> str:
        """The provider, device or delegate that is really active."""
        ...

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the graph.

        Args:
            inputs: The spec's inputs by name, with its shapes and dtypes. Quantized inputs hold stored values: the
                caller quantizes and dequantizes.

        Returns:
            The spec's outputs by name; :func:`~edge_vseg.runtimes.checked_run.run_checked` looks whether they are what
            the spec says. The arrays belong to the caller: later runs do not change them, and they stay valid after
            ``close``.

        Raises:
            SessionError: If the inputs do not match the spec, the runtime fails, or the session is closed.
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

        Cheap: reads package metadata and does not load the backend.

        Raises:
            BackendMissingError: If it is not installed; the message has the pip command.
            BackendVersionError: If it is installed but cannot work here.
        """
        ...

    def providers(self) -> tuple[str, ...]:
        """Short names of the providers in this installation, including the CPU default.

        Their libraries and hardware may still be missing, which opening a graph finds out.

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
            OptionError: If the provider does not take one of ``options.provider_options``.
            ProviderError: If the requested provider is not available, or not active after loading.
            SessionError: If the graph cannot be loaded or does not match ``spec``.
        """
        ...
