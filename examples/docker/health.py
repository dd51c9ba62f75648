"""HEALTHCHECK of the images: exit code 0 while `edge-vseg serve` says that its labels are fresh."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0


def main() -> int:
    """Ask /health on this machine's loopback; the token comes from the same variable as the server's."""
    request = urllib.request.Request(f"http://127.0.0.1:{os.environ.get('EDGE_VSEG_PORT', '8080')}/health")
    if token := os.environ.get("EDGE_VSEG_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as exc:
        print(f"{exc.code}: {exc.read().decode()}")
        return 1
    except OSError as exc:
        print(f"no answer: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
