"""Profile a bundle on the device, and fail if it is slower than the previous release.

    python examples/profile_on_device.py street.evseg drive.mp4 --deadline-ms 15 --seconds 60 --before last.json

Writes profile.json and profile.html next to the bundle. With --before, the latency profile of an earlier release on the
same device, it exits with code 3 if the median, p95 or p99 is more than 10 % slower, or if the share of missed
deadlines rose by more than 0.5 percentage points. On the command line: `edge-vseg profile` and `edge-vseg compare`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_vseg import Deadline
from edge_vseg.analysis.comparison import Limits, compare_files
from edge_vseg.analysis.profiling import ProfileOptions, profile_video
from edge_vseg.analysis.profiling.profile_page import write_profile_page


def main() -> None:
    """Profile, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video, played in a loop, or camera number")
    parser.add_argument("--deadline-ms", type=float, default=15.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--before", type=Path, help="profile.json of an earlier release")
    arguments = parser.parse_args()
    path = arguments.bundle.with_name("profile.json")
    if arguments.before is not None and arguments.before.resolve() == path.resolve():
        sys.exit(f"{path} will be replaced by the new profile; rename the file for --before")
    options = ProfileOptions(policy=Deadline(milliseconds=arguments.deadline_ms), seconds=arguments.seconds, threads=2)
    run = profile_video(arguments.bundle, arguments.video, options)
    profile = run.profile
    path.write_bytes(profile.to_json())
    write_profile_page(arguments.bundle.with_name("profile.html"), run)
    print(f"{profile.frames} frames, {profile.dropped} dropped; p99 {profile.latency_ms.p99:.1f} ms")
    print(f"over the deadline: {profile.miss_share:.2%}")
    for cause, count in profile.causes.items():
        print(f"  {count} x {cause}")
    if arguments.before is not None:
        compared = compare_files(arguments.before, path, Limits(regression=10.0, drop=0.5, missed=0.5))
        for row in compared.regressions:
            print(f"worse: {row.name} {row.before:.2f} -> {row.after:.2f}")
        print("\n".join(compared.failures))
        sys.exit(3 if compared.regressions or compared.failures else 0)


if __name__ == "__main__":
    main()
