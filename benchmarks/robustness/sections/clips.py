"""Clips of every container, damaged, with headers that lie, and playlists that name other files and web addresses."""

from __future__ import annotations

import random
import socket
import struct
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.robustness.section import Section, mutated

# Container, codec, pixel format, options of the container.
CLIPS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("mp4", "libx264", "yuv420p", {}),
    ("mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("mov", "mpeg4", "yuv420p", {}),
    ("mkv", "libx264", "yuv420p", {}),
    ("webm", "libvpx-vp9", "yuv420p", {}),
    ("avi", "mpeg4", "yuv420p", {}),
    ("gif", "gif", "rgb8", {}),
    ("mkv", "libx265", "yuv420p10le", {}),
)
FRAMES, SIZE = 24, (96, 64)
EXTREMES = (0, 1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Names of boxes and chunks before fields that are worth a lie: counts, sizes, lengths, times, references.
BOXES = (
    *(
        b"mvhd",
        b"tkhd",
        b"mdhd",
        b"stsz",
        b"stts",
        b"ctts",
        b"stsc",
        b"stco",
        b"stss",
        b"avc1",
        b"mp4v",
        b"elst",
        b"dref",
    ),
    *(b"trun", b"tfhd", b"mvex", b"avih", b"strh", b"strf", b"idx1", b"movi", b"moov", b"mdat", b"hdlr", b"avcC"),
)
MATROSKA_IDS = (b"\xb0", b"\xba", b"\x44\x89", b"\x2a\xd7\xb1", b"\x63\xa2", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b")
PORT = b"00000"  # stands for the port of a server that counts who connects
SECRET = "SECRETFILE"  # stands for the path of a whole clip beside
PLAYLISTS = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:00000/a.ts\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nSECRETFILE\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile 'http://127.0.0.1:00000/a.mp4'\n",
    "ffconcat version 1.0\nfile 'SECRETFILE'\n",
    "file 'SECRETFILE'\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 00000 RTP/AVP 96\n",
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation '
    'id="1" bandwidth="1"><BaseURL>http://127.0.0.1:00000/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "RTSPtextRTSP://127.0.0.1:00000/a",
    "[playlist]\nFile1=http://127.0.0.1:00000/a.mp4\n",
    "concat:SECRETFILE|http://127.0.0.1:00000/a.mp4",
)


class Case(NamedTuple):
    """`way`: how it is read; the first is the app's own."""

    extension: str
    data: bytes
    way: str
    is_playlist: bool


class Fetched(Exception):
    """A playlist's address or file was opened: a fault."""


class Clips(Section):
    name, full_count = "clips", 2000

    def case(self, number: int, dice: random.Random) -> Case:
        extension, codec, pixels, options = CLIPS[number % len(CLIPS)]
        way = ("even", "scenes", "bytes", "times", "OpenCV", "decord", "even")[number % 7]
        if number % 20 == 19:
            return Case(extension, _playlist(dice), way, True)
        data = _whole(extension, codec, pixels, tuple(options.items()))
        if number % 3 == 0:
            data = _with_lies(data, dice)
        elif dice.random() < 0.98:
            data = mutated(data, dice)
        return Case(extension, data, way, False)

    def start(self, folder: Path) -> None:
        self._connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._count, daemon=True).start()
        self._secret = folder / "secret.mp4"
        self._secret.write_bytes(_whole("mp4", "libx264", "yuv420p", ()))
        self.attempt(Case("mp4", self._secret.read_bytes(), "even", False), folder)

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections += 1
            connection.close()

    def attempt(self, case: Case, folder: Path) -> str:
        port = str(self._listener.getsockname()[1]).zfill(5).encode()
        data = case.data
        if case.is_playlist:
            data = data.replace(PORT, port).replace(SECRET.encode(), str(self._secret).encode())
        path = folder / f"clip.{case.extension}"
        path.write_bytes(data)
        before = self._connections
        try:
            frames = _frames(path, data, case.way)
        finally:
            if self._connections > before:
                raise Fetched("a connection was made")
        if case.is_playlist and frames:
            raise Fetched("another file was read")
        return "used" if frames else "no frames"

    def stop(self) -> None:
        self._listener.close()


def _frames(path: Path, data: bytes, way: str) -> int:
    from smolvlm_core.video import sample_clip, take_frames
    from smolvlm_core.video.decoders.base import MAX_FRAME_EDGE
    from smolvlm_core.video.decoders.choice import DECODERS

    match way:
        case "even" | "scenes":
            return len(sample_clip(path, 4, strategy=way).frames)
        case "bytes":
            return len(sample_clip(data, 3).frames)
        case "times":
            return len(take_frames(path, (0.0, 0.5, 1.7, 1e6)).frames)
    try:
        clip = DECODERS[way](path)
    except ImportError:  # it is not installed
        return 0
    try:
        return len(list(clip.frames_at((0.0, 1.0, 2.0), MAX_FRAME_EDGE)))
    finally:
        clip.close()


@cache
def _whole(extension: str, codec: str, pixels: str, options: tuple[tuple[str, str], ...]) -> bytes:
    import av
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{extension}"
        with av.open(str(path), "w", options=dict(options)) as container:
            quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            stream: Any = container.add_stream(codec, rate=8, options=quiet)
            stream.width, stream.height, stream.pix_fmt = *SIZE, pixels
            for number in range(FRAMES):
                image = np.full((SIZE[1], SIZE[0], 3), number * 10, np.uint8)
                image[:, number * 4 : number * 4 + 8] = (255, 0, 0)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        return path.read_bytes()


def _with_lies(data: bytes, dice: random.Random) -> bytes:
    """One to four fields after a known name set to extremes."""
    changed = bytearray(data)
    if data[:3] == b"GIF":
        for _ in range(dice.randint(1, 3)):
            struct.pack_into(
                "<H", changed, dice.choice((6, 8, *_after(data, b"\x2c", dice, 4))), dice.choice(EXTREMES[:4])
            )
        return bytes(changed)
    names = [name for name in (MATROSKA_IDS if data[:4] == b"\x1aE\xdf\xa3" else BOXES) if name in data]
    order = "<" if data[:4] == b"RIFF" else ">"
    for _ in range(dice.randint(1, 4)):
        name = dice.choice(names)
        at = data.index(name) + len(name) + dice.choice((-8, 0, 1, 4, 8, 12, 16, 20, 24, 32, 36, 76))
        if 0 <= at <= len(data) - 4:
            struct.pack_into(f"{order}I", changed, at, dice.choice(EXTREMES))
    return bytes(changed)


def _after(data: bytes, mark: bytes, dice: random.Random, most: int) -> list[int]:
    """Places of width and height in image descriptors."""
    at = data.find(mark, 13)
    return [at + offset for offset in (1, 3, 5, 7)[:most] if 0 < at + offset < len(data) - 2]


def _playlist(dice: random.Random) -> bytes:
    """As it is, or after the first bytes of a clip, by which the app takes files for clips."""
    text = dice.choice(PLAYLISTS).encode()
    head = dice.choice(
        (b"", b"", b"\0\0\0\x08free", b"\0\0\0\x0cftypmp42", b"\x1aE\xdf\xa3", b"RIFF\xff\xff\xff\0AVI ", b"GIF89a")
    )
    return head + text


SECTION = Clips()
