"""Judge thousands of mutated bundles: each is refused by a named error, or gives the labels of the sound one.

    python tests/campaigns/mutated_bundles.py --cases 20000

A case is drawn by its number and the seed alone: ``--first 4711 --cases 1`` repeats it.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what pytest does
from bundle_cases import prepare
from workers import Limits, command_line, report, run_cases, several


def main() -> int:
    """Run the campaign; 1 if a case is bad."""
    given = command_line(__doc__ or "", 20_000)
    kinds = tuple(filter(None, given.kinds.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        tally = run_cases(
            functools.partial(prepare, kinds=kinds),
            Path(folder) / "cases",
            given.seed,
            several(given.first, given.cases),
            Limits(seconds=given.seconds, memory_gb=given.memory_gb),
        )
    return report(tally)


if __name__ == "__main__":
    sys.exit(main())
