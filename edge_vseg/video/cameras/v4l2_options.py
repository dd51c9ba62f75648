"""The options of FFmpeg's V4L2 input, which says nothing of a name that it does not know."""

from __future__ import annotations

import difflib
from urllib.parse import parse_qsl

from edge_vseg.errors import OptionError

_OWN = (
    "standard channel video_size pixel_format input_format framerate list_formats list_standards timestamps ts"
    " use_libv4l2"
)
_GENERIC = (
    "analyzeduration audio_preload avioflags avoid_negative_ts chunk_duration chunk_size codec_whitelist"
    " correct_ts_overflow cryptokey dump_separator duration_probesize err_detect f_err_detect f_strict fdebug fflags"
    " flush_packets format_whitelist formatprobesize fpsprobesize indexmem max_delay max_interleave_delta"
    " max_probe_packets max_streams max_ts_probe metadata_header_padding output_ts_offset packetsize probesize"
    " protocol_blacklist protocol_whitelist rtbufsize seek2any skip_estimate_duration_from_pts skip_initial_bytes"
    " start_time_realtime strict use_wallclock_as_timestamps"
)
OWN_OPTIONS = frozenset(_OWN.split())
"""Those of the input; PyAV has no list of them."""
GENERIC_OPTIONS = frozenset(_GENERIC.split())
"""Those of every input."""


def read_v4l2_query(query: str, name: str) -> dict[str, str]:
    """The options in an address's query.

    Args:
        query: Such as ``video_size=640x480&framerate=30``.
        name: The address, for messages.

    Raises:
        OptionError: If V4L2 has no option of a name, or one has no value.
    """
    found = dict(parse_qsl(query, keep_blank_values=True))
    for key, value in found.items():
        if key not in OWN_OPTIONS | GENERIC_OPTIONS:
            near = difflib.get_close_matches(key, OWN_OPTIONS | GENERIC_OPTIONS, n=2)
            known = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(OWN_OPTIONS))}."
            raise OptionError(f"{name}: V4L2 has no option {key!r}; {known} InputOptions(ffmpeg=…) takes any name")
        if not value:
            raise OptionError(f"{name}: option {key!r} has no value; give {key}=VALUE")
    return found
