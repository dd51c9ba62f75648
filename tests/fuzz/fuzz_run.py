"""Fuzz a reader: with atheris, led by coverage; without it, by damaging the corpus at random.

    python tests/fuzz/fuzz_run.py --target manifest --seconds 60
    python tests/fuzz/fuzz_run.py --cases 1000000          # each target in turn

An input that fails is left beside the corpus's, as ``crash-…``, and becomes a test of its own there.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what pytest does
from damage import damaged_bytes, damaged_json, pick

CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("manifest", "device_profile", "labels", "address", "comparison")
MAX_BYTES = 20_000
RECORD = "EDGE_VSEG_FUZZ_COUNTS"
"""File in which a child counts."""


def main() -> int:
    """Run the targets in turn; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, action="append", help="all in turn by default")
    parser.add_argument("--seconds", type=int, default=0, help="for each target; 0 for no limit")
    parser.add_argument("--cases", type=int, default=0, help="for each target; 0 for no limit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("atheris", "random"), default=None)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.seconds and not given.cases:
        given.seconds = 60
    engine = given.engine or ("atheris" if importlib.util.find_spec("atheris") else "random")
    if given.one:
        return fuzz_with_atheris(given.target[0], given.seconds, given.cases, given.seed)
    failed = 0
    for name in given.target or TARGETS:
        if engine == "random":
            failed |= fuzz_at_random(name, given.seconds, given.cases, given.seed)
        else:
            limits = ["--seconds", str(given.seconds), "--cases", str(given.cases), "--seed", str(given.seed)]
            command = [sys.executable, __file__, "--one", "--target", name, *limits]
            failed |= _fuzz_in_child(name, command)
    return int(bool(failed))


def _fuzz_in_child(name: str, command: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="edge-vseg-fuzz-") as folder:
        record, log = Path(folder) / "counts", Path(folder) / "log"
        with log.open("wb") as out:
            code = subprocess.run(
                command, check=False, stdout=out, stderr=out, env=os.environ | {RECORD: str(record), "TMPDIR": folder}
            ).returncode
        tried, refused = map(int, record.read_text().split()) if record.exists() else (0, 0)
        print(f"{name}: {tried} tried, {refused} refused, {tried - refused} right, {int(bool(code))} uncaught, atheris")
        if code:
            print(log.read_text(errors="replace")[-3000:])
        sys.stdout.flush()
    return code


def fuzz_at_random(name: str, seconds: float, cases: int, seed: int) -> int:
    """Damage the corpus again and again; 1 at the first input that fails."""
    from fuzz_targets import TARGETS as CHECKS
    from fuzz_targets import refuses

    rng = np.random.default_rng(seed)
    corpus = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    started, tried, refused = time.monotonic(), 0, 0
    while (not cases or tried < cases) and (not seconds or time.monotonic() - started < seconds):
        data = mutated(pick(rng, corpus), rng)
        try:
            refused += refuses(CHECKS[name], data)
        except Exception:
            path = CORPUS / name / f"crash-{seed}-{tried}"
            path.write_bytes(data)
            print(f"{name}: {path} fails")
            raise
        tried += 1
    print(f"{name}: {tried} tried, {refused} refused, {tried - refused} right, 0 uncaught, random", flush=True)
    return 0


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy, as JSON or as bytes."""
    return (damaged_json if rng.random() < 0.6 else damaged_bytes)(data, rng)


def fuzz_with_atheris(name: str, seconds: int, cases: int, seed: int) -> int:
    """Let libFuzzer lead; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["edge_vseg", "json"]):
        from fuzz_targets import TARGETS as CHECKS
        from fuzz_targets import refuses
    counts = {"tried": 0, "refused": 0}

    def one(data: bytes) -> None:
        counts["tried"] += 1
        counts["refused"] += refuses(CHECKS[name], data)
        if counts["tried"] % 64 == 0 or counts["tried"] == cases:  # libFuzzer leaves no chance at the end
            record.write_text(f"{counts['tried']} {counts['refused']}")

    def mutate(data: bytes, max_size: int, mutation_seed: int) -> bytes:
        rng = np.random.default_rng(mutation_seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return mutated(data, rng)[:max_size]

    record = Path(os.environ[RECORD])
    found = tempfile.mkdtemp(prefix="edge-vseg-corpus-")
    limits = [f"-max_total_time={seconds + 1}"] if seconds else []
    limits += [f"-atheris_runs={cases}"] if cases else []
    options = ["-timeout=10", "-rss_limit_mb=2048", f"-max_len={MAX_BYTES}", f"-seed={seed}", "-print_final_stats=1"]
    crashes = f"-artifact_prefix={CORPUS / name}/"
    atheris.Setup([sys.argv[0], found, str(CORPUS / name), *limits, *options, crashes], one, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
