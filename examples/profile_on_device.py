"""Profile a bundle on the device from Python, and refuse a release that has become slower.

    python examples/profile_on_device.py street.evseg drive.mp4 --deadline-ms 15 --seconds 60 --before last.json

Writes profile.json and profile.html beside the bundle. With --before, the profile of an earlier release on the same
device, it exits with 3 if the median, p95 or p99 got worse by more than a tenth, or more than half a percent more
frames miss the deadline. On the command line the same is `edge-vseg profile` and `edge-vseg compare`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_vseg.analysis.comparison import Limits, compare_files
from edge_vseg.analysis.profiling import ProfileOptions, profile_video
from edge_vseg.analysis.profiling.profile_page import write_profile_page
from edge_vseg.scheduling.policies import Deadline


def main() -> None:
    """Profile, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="a video, which begins anew when it is over, or the number of a camera")
    parser.add_argument("--deadline-ms", type=float, default=15.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--before", type=Path, help="profile.json of an earlier release")
    given = parser.parse_args()
    written = given.bundle.with_name("profile.json")
    if given.before is not None and given.before.resolve() == written.resolve():
        sys.exit(f"{written} would be replaced by the new profile: give --before under another name")
    options = ProfileOptions(policy=Deadline(milliseconds=given.deadline_ms), seconds=given.seconds, threads=2)
    run = profile_video(given.bundle, given.video, options)
    found = run.profile
    written.write_bytes(found.to_json())
    write_profile_page(given.bundle.with_name("profile.html"), run)
    print(f"{found.frames} frames, {found.dropped} dropped; p99 {found.latency_ms.p99:.1f} ms")
    print(f"over the deadline: {found.miss_share:.2%}")
    for cause, count in found.causes.items():
        print(f"  {count} x {cause}")
    if given.before is not None:
        compared = compare_files(given.before, written, Limits(regression=10.0, drop=0.5, missed=0.5))
        for row in compared.regressions:
            print(f"worse: {row.name} {row.before:.2f} -> {row.after:.2f}")
        print("\n".join(compared.failures))
        sys.exit(3 if compared.regressions or compared.failures else 0)


if __name__ == "__main__":
    main()
