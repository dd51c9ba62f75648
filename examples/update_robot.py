"""Update the bundle of a robot, then segment a video with it: signed bundles only, whatever becomes of the update.

    edge-vseg keygen release
    edge-vseg sign street-7.evseg --key release.pem --version 7
    mkdir keys && cp release.pub.pem keys
    python examples/update_robot.py street.evseg street-7.evseg drive.mp4 --keys keys

The new bundle comes from a folder, such as a stick, or from the HTTPS address of an index. If it is not there, cannot
be fetched, is not signed, is older, or does not work on this machine, the robot says why and goes on with what it has.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.errors import BundleError, OptionError
from edge_vseg.trust import TrustPolicy
from edge_vseg.update import UpdateOptions, install_update


def update(bundle: Path, origin: str, keys: Path) -> None:
    """Install the newest release; the bundle stays as it is if that fails."""
    try:
        report = install_update(bundle, origin, UpdateOptions(keys=keys))
    except (BundleError, OptionError) as error:
        print(f"not updated: {type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(f"{report.status}: {report.release.name}, version {report.release.version}")


def main() -> None:
    """Update, and segment the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="where the robot's bundle is, or will be")
    parser.add_argument("origin", help="folder of a signed bundle, or https:// address of an index")
    parser.add_argument("video", help="video, image folder or camera number")
    parser.add_argument("--keys", type=Path, required=True, help="folder of trusted public keys")
    arguments = parser.parse_args()
    update(arguments.bundle, arguments.origin, arguments.keys)
    options = OpenOptions(trust=TrustPolicy(keys=arguments.keys))
    with Segmenter.open(arguments.bundle, options=options) as segmenter, open_source(arguments.video) as frames:
        count = sum(1 for _ in map(segmenter, frames))
    print(f"{count} frames with {arguments.bundle.resolve().name}")


if __name__ == "__main__":
    main()
