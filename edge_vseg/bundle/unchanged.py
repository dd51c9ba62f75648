"""Whether an open bundle is still the one that was opened: an update may have put another one in its place."""

from __future__ import annotations

import hashlib

from edge_vseg.bundle.reading import MANIFEST_NAME, Bundle
from edge_vseg.errors import BundleFileError


def check_unchanged(bundle: Bundle) -> None:
    """Check that the bundle was not replaced since it was opened.

    Raises:
        BundleFileError: If its manifest is another one, or gone.
    """
    try:
        data = (bundle.root / MANIFEST_NAME).read_bytes()
    except OSError as exc:
        raise BundleFileError(f"{bundle.root} cannot be read any more: {exc.strerror}; open the bundle again") from exc
    if hashlib.sha256(data).hexdigest() != bundle.sha256:
        raise BundleFileError(
            f"{bundle.root} was replaced by another bundle since it was opened; close the segmenter, and open it again"
        )
