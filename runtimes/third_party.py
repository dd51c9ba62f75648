"""A third party's runtime behind the port: whatever its code raises becomes one of our errors, as built-in ones do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edge_vseg.errors import BackendError, OptionError, SessionError
from edge_vseg.runtimes.port import GraphSpec, Runtime, Session, SessionOptions
from edge_vseg.types import Tensor

T = TypeVar("T")


class ThirdPartyRuntime:
    """A runtime around that of another package.

    One that fails is one candidate less for ``auto``, and not the end of it. An interrupt is let through.

    Args:
        name: What users and manifests call it: the entry point's name.
        inner: The package's own.
    """

    def __init__(self, name: str, inner: Runtime) -> None:
        self.name, self.extra = name, inner.extra
        self._inner = inner

    def version(self) -> str:
        """See :class:`~edge_vseg.runtimes.port.Runtime`."""
        return self._asked("version", self._inner.version)

    def providers(self) -> tuple[str, ...]:
        """See :class:`~edge_vseg.runtimes.port.Runtime`."""
        return self._asked("providers", self._inner.providers)

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> Session:
        """See :class:`~edge_vseg.runtimes.port.Runtime`."""
        with _translated(f"runtime {self.name!r} cannot open {path}", SessionError):
            session = self._inner.open(path, spec, options)
            missing = [name for name in ("provider", "run", "close") if not hasattr(session, name)]
            if missing:
                raise SessionError(
                    f"runtime {self.name!r} opens {path} as a {type(session).__name__} without {', '.join(missing)};"
                    " it must implement edge_vseg.runtimes.Session"
                )
            return _ThirdPartySession(self.name, session)

    def _asked(self, what: str, question: Callable[[], T]) -> T:
        with _translated(f"runtime {self.name!r} does not tell its {what}", BackendError):
            return question()


class _ThirdPartySession:
    def __init__(self, runtime: str, inner: Session) -> None:
        self._runtime, self._inner = runtime, inner

    @property
    def provider(self) -> str:
        return self._inner.provider

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        with _translated(f"runtime {self._runtime!r} failed", SessionError):
            return self._inner.run(inputs)

    def close(self) -> None:
        with _translated(f"runtime {self._runtime!r} cannot close a graph", SessionError):
            self._inner.close()


@contextmanager
def _translated(what: str, kind: type[BackendError]) -> Iterator[None]:
    try:
        yield
    except (BackendError, OptionError):
        raise
    except Exception as exc:  # third-party code may raise anything
        raise kind(
            f"{what}: {type(exc).__name__}: {exc}; update or remove its package, or choose another runtime"
        ) from exc
