"""The corpus of the fuzzer, and damage to it, through every reader: a named error or a true value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz_run import mutated
from fuzz_targets import CORPUS, TARGETS, refuses

INPUTS = [path for name in TARGETS for path in sorted((CORPUS / name).iterdir())]
DAMAGED = 300


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_of_the_corpus(path: Path) -> None:
    assert refuses(TARGETS[path.parent.name], path.read_bytes()) is not path.name.startswith("good")


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs(name: str) -> None:
    rng = np.random.default_rng(5)
    inputs = [path.read_bytes() for path in sorted((CORPUS / name).iterdir()) if path.name.startswith("good")]
    refused = [refuses(TARGETS[name], mutated(inputs[at % len(inputs)], rng)) for at in range(DAMAGED)]
    assert 0 < sum(refused) < DAMAGED, "the damage must reach both answers"
