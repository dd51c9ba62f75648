"""The options of FFmpeg's inputs, which says nothing of a name that it does not know."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable

from edge_vseg.video.cameras.v4l2_options import GENERIC_OPTIONS, OWN_OPTIONS

log = logging.getLogger(__name__)

_OWN = (
    "aa_fixed_key activation_bytes advanced_editlist allowed_extensions allowed_media_types allowed_segment_extensions"
    " audible_fixed_key audible_iv audible_key auth_type auto_convert bandwidth bit_rate block buffer_size ca_file"
    " cafile cert cert_file cert_pem ch_layout channels chars_per_frame code_size compute_pcr connect content_type"
    " cookies crtc_id decryption_iv decryption_key decryption_keys default_delay default_fps device draw_mouse dscp"
    " dumpgraph eia608_extract enable_drefs end end_offset export_all export_path_metadata export_xmp extension_picky"
    " external_sock ffrtmphttp_tls fifo_size fix_teletext_pts flv_full_metadata flv_ignore_prevtag flv_metadata follow"
    " follow_mouse format format_modifier frame_rate frame_size frames_per_packet ftp-anonymous-password ftp-password"
    " ftp-user gateway grab_x grab_y graph graph_file hca_highkey hca_lowkey hca_subkey headers http_multiple"
    " http_persistent http_proxy http_seekable icy ignore_chapters ignore_editlist ignore_length ignore_loop"
    " initial_pause initial_request_size interleaved_read iv key key_file key_pem kind linespeed listen listen_timeout"
    " live live_start_index local_addr local_port local_rtcpport local_rtpport localaddr localport localrtcpport"
    " localrtpport location loop m3u8_hold_counters max_file_size max_fps max_gif_delay max_packet_size max_port"
    " max_redirects max_reload max_size max_stts_delta merge_alpha merge_pmt_versions method min_delay min_port mode"
    " mtu multiple_requests no_resync_search offset overrun_nonfatal pattern_type pkt_size plane_id post_data"
    " prefer_x_start raw_packet_size read_ahead_limit reconnect reconnect_at_eof reconnect_delay_max"
    " reconnect_delay_total_max reconnect_max_retries reconnect_on_http_error reconnect_on_network_error"
    " reconnect_streamed recv_buffer_size referer region_border reorder_queue_size request_size respect_retry_after"
    " resync_size reuse reuse_socket rtcp_port rtcpport rtmp_app rtmp_buffer rtmp_conn rtmp_flashver rtmp_listen"
    " rtmp_live rtmp_pageurl rtmp_playpath rtmp_subscribe rtmp_swfhash rtmp_swfsize rtmp_swfurl rtmp_swfverify"
    " rtmp_tcurl rtp_flags rtsp_flags rtsp_transport safe sample_rate scan_all_pmts sdp_flags seek_streams_individually"
    " seekable seg_format_options seg_max_retry segment_time_metadata select_region send_buffer_size short_seek_size"
    " show_region skip_unknown_pmt sources srtp_in_params srtp_in_suite start start_number start_number_range"
    " start_time strict_mime_boundary stride sub_name subfps tcp_keepalive tcp_mss tcp_nodelay timeout tls_verify"
    " ts_from_file ttl type udplite_coverage use_absolute_path use_mfra_for use_odml use_srtp use_tfdt user_agent"
    " usetoc verify verifyhost window_id write_to_source x y rw_timeout"
)
_SRT = (
    "connect_timeout enforced_encryption ffs inputbw iptos ipttl kmpreannounce kmrefreshrate latency linger lossmaxttl"
    " maxbw messageapi minversion mss nakreport oheadbw passphrase payload_size pbkeylen peerlatency rcvbuf rcvlatency"
    " smoother sndbuf snddropdelay srt_streamid streamid tlpktdrop transtype tsbpd"
)
KNOWN_OPTIONS = GENERIC_OPTIONS | OWN_OPTIONS | frozenset(_OWN.split()) | frozenset(_SRT.split())
"""Those of FFmpeg 8's formats, devices and protocols; PyAV has no list of them, and its builds have no SRT."""


def warn_of_unknown(names: Iterable[str]) -> None:
    """Name the options that FFmpeg will not look at; no error, since another FFmpeg may know them.

    Args:
        names: Of ``InputOptions(ffmpeg=...)``.
    """
    for name in names:
        if name not in KNOWN_OPTIONS:
            near = difflib.get_close_matches(name, KNOWN_OPTIONS, n=2)
            log.warning(
                "InputOptions(ffmpeg=...): no input of FFmpeg is known to have an option %r, and it is ignored then%s",
                name, f"; did you mean {' or '.join(near)}?" if near else "",
            )  # fmt: skip
