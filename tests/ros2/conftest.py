"""Nodes at work on topics inside this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_node import LocalTransport, Running


@pytest.fixture
def start(reference_bundle: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(transport: LocalTransport, **options: Any) -> Running:
        started.append(Running(reference_bundle, transport, **options))
        return started[-1]

    yield begin
    for each in started:
        each.close()
