"""Which streams may be opened by address: none, unless the owner of this machine lists their hosts.

A server that opens any address can be made to reach what only it can reach (server-side request forgery): routers, databases, cloud
metadata. Cameras are in private networks too, so it cannot be told from an address whether it is one. The owner lists hosts in
the environment of the app, which no page can change. FFmpeg gets the protocols and formats that it may use: none that reads files
or opens further addresses (playlists).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from smolvlm_core.errors import LensError

ALLOWED = "SMOLVLM_LENS_STREAMS"  # hosts, with or without a port, separated by spaces or commas
SCHEMES = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_FORMATS = "rtsp,rtp,sdp,mpjpeg,mjpeg,mpegts,matroska,webm,mov,mp4,flv,ogg,h264,hevc"
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp", "protocol_whitelist": "rtsp,rtsps,tcp,tls,rtp,udp"},
    "http": {"protocol_whitelist": "http,https,tcp,tls", "max_redirects": "0"},
}


@dataclass(frozen=True)
class StreamAddress:
    """An address that may be opened. `name` has the host alone, with its port if there is one: cameras take passwords in paths too."""

    url: str = field(repr=False)  # it can contain a password
    name: str = ""

    @property
    def options(self) -> dict[str, str]:
        """For FFmpeg."""
        return {**_OPTIONS["rtsp" if self.url.lower().startswith("rtsp") else "http"], "format_whitelist": _FORMATS}


def allowed_hosts() -> frozenset[str]:
    """Those that the owner listed, in lower case. Empty: streams are off."""
    return frozenset(os.environ.get(ALLOWED, "").replace(",", " ").lower().split())


def check_address(url: str, allowed: Collection[str]) -> StreamAddress:
    """The address of a stream, where it may be opened.

    Args:
        allowed: "host" for all its ports, or "host:port".

    Raises:
        LensError: streams are off, it is not an address of a stream, or its host is not listed.
    """
    if not allowed:
        raise LensError(
            "Streams by address are off: this app would contact any address that is typed.",
            f"Whoever starts the app can list the hosts of cameras in {ALLOWED}.",
        )
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise LensError("This is not an address of a stream.", "Use one like rtsp://192.168.1.20/stream.") from error
    if parts.scheme not in SCHEMES or not host or any(ord(char) <= 32 for char in url.strip()):
        raise LensError("This is not an address of a stream.", f"It begins with one of: {', '.join(SCHEMES)}.")
    if not {host, f"{host}:{port or SCHEMES[parts.scheme]}"} & set(allowed):
        raise LensError(f"{host} is not listed in {ALLOWED}.", f"Listed: {', '.join(sorted(allowed))}.")
    shown = f"[{host}]" if ":" in host else host
    return StreamAddress(url.strip(), f"{shown}{f':{port}' if port else ''}"[:200])
