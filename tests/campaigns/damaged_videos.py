"""Read thousands of damaged videos and streams: each gives true frames or a named error, in time and in little memory.

python tests/campaigns/damaged_videos.py --cases 5000
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what pytest does
from video_cases import prepare
from workers import Limits, command_line, report, run_cases, several


def main() -> int:
    """Run the campaign; 1 if a case is bad."""
    given = command_line(__doc__ or "", 5_000)
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
