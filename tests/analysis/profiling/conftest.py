"""Time as a test sets it."""

from __future__ import annotations

import pytest
from board_files import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
