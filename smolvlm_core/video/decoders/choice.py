"""Which decoder reads a file: the best that is installed and can read it. Knows file signatures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from smolvlm_core.errors import MediaError
from smolvlm_core.reading import check_file, read_head
from smolvlm_core.video.decoders.base import Clip, DecoderError, Source, name_of, size_of
from smolvlm_core.video.decoders.isolated import IsolatedClip
from smolvlm_core.video.decoders.pyav import PyAvClip

logger = logging.getLogger(__name__)

VIDEO_EXTENSIONS = ("mp4", "mov", "m4v", "mkv", "webm", "avi", "gif")
HEAD_BYTES = 12
PACKAGE = "smolvlm_core.video.decoders"
DECODERS: dict[str, Callable[[Source], Clip]] = {
    "PyAV": PyAvClip,
    "OpenCV": partial(IsolatedClip, "OpenCV", f"{PACKAGE}.opencv:OpenCvClip"),
    "decord": partial(IsolatedClip, "decord", f"{PACKAGE}.decord:DecordClip"),
}
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"moof", b"styp")


def is_clip(head: bytes) -> bool:
    """By the first 12 bytes. Playlists, which make decoders open other files, do not count."""
    return (
        head[4:8] in MP4_BOXES
        or head[:4] == b"\x1aE\xdf\xa3"  # Matroska and WebM
        or (head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"))
        or head[:6] in (b"GIF87a", b"GIF89a")
    )


def is_clip_file(path: Path) -> bool:
    """Raises MediaError where it is no file or cannot be read."""
    return is_clip(read_head(path, MediaError, HEAD_BYTES))


def open_clip(source: Source) -> Clip:
    """Open a clip, from a path or its bytes, with the first decoder that can. Its facts name the decoder.

    Raises:
        MediaError: empty, not a clip, audio only, or no installed decoder reads it.
    """
    return next(open_with_each(source))


def open_with_each(source: Source) -> Iterator[Clip]:
    """The clip as each installed decoder opens it, best first.

    Raises:
        MediaError: as `open_clip`, and after the last decoder.
    """
    _check_head(source)
    failures: list[str] = []
    for name, decoder in DECODERS.items():
        try:
            clip = decoder(source)
        except ImportError:
            logger.info("%s is not installed", name)
        except DecoderError as error:
            failures.append(str(error))
        else:
            if failures:
                clip.notes = (*clip.notes, f"read with {name}: {' '.join(failures)}")
            yield clip
    raise MediaError(
        f"{name_of(source)} cannot be read as a clip: it is damaged, incomplete, or in a format that no installed decoder reads.",
        f"Save or copy it again, or convert it to one of: {', '.join(VIDEO_EXTENSIONS)}.",
    )


def _check_head(source: Source) -> None:
    if isinstance(source, Path):
        check_file(source, MediaError)
    if size_of(source) == 0:
        raise MediaError(f"{name_of(source)} is empty.", "Choose another file.")
    head = read_head(source, MediaError, HEAD_BYTES) if isinstance(source, Path) else source[:HEAD_BYTES]
    if not is_clip(head):
        raise MediaError(f"{name_of(source)} is not a clip.", f"Use one of: {', '.join(VIDEO_EXTENSIONS)}.")
