"""A clip's packets through PyAV: what the file contains, when each frame is shown, where to start decoding. Does not decode."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from smolvlm_core.errors import MediaError
from smolvlm_core.times import length_text
from smolvlm_core.video.clip import PacketFacts
from smolvlm_core.video.decoders.base import DecoderError, Source, check_cancelled, name_of, opened, size_of

if TYPE_CHECKING:
    import av

    Packet = av.Packet[av.VideoStream]

MAX_THREADS = 4  # each keeps frames of its own: more would take much memory on 4K
MAX_REORDER = 17  # H.264 and H.265 reorder over 16 frames at most
# A file is only read as one of these, whatever its name: others (playlists) make FFmpeg open further files.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
INDEXED = ("mov", "avi")  # containers that list every frame
COUNT_UNINDEXED_BYTES = 64 << 20  # smaller files without an index are read through once, for exact frame numbers
AVI_CHUNK_HEADER = 8  # bytes: the index points to the header, a packet's position to what follows it
LAST = 1 << 62  # later than any frame
NOTHING = (-LAST, 0)


@dataclass
class Group:
    """Times (in the stream's units, ascending) that are decoded from one keyframe. `key` None: from the start of the file."""

    key: int | None
    targets: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Ascending times of the packets from a keyframe to the last time of a group, without those that an edit list hides.
    `first_dts`: the keyframe's place in the index."""

    pts: list[int]
    first_dts: int | None

    def shown_at(self, target: int) -> int:
        return self.pts[max(0, bisect_right(self.pts, target) - 1)]


class ClipFile:
    """Look up `stream` each time: reading may open the file again, and objects of the closed file must not be used.

    `first_pts`, the time of the first frame shown, is set by the caller that decodes it.
    """

    def __init__(self, source: Source) -> None:
        import av

        self._av, self._source = av, source
        self._seekable = True
        self.first_pts = 0
        self.first_packet_pts: int | None = None
        self.notes: tuple[str, ...] = ()
        self._open()
        self.tick = float(self.stream.time_base or Fraction(1, 1000))  # seconds a unit of time
        rate = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        self.fps = rate if 0.001 < rate < 1001 else 0.0
        self.is_avi = str(self._container.format.name) == "avi"
        # Fragmented MP4 has no count of its frames, and its list grows as it is read.
        self._is_indexed = str(self._container.format.name).startswith(INDEXED) and self.stream.frames > 0
        # AVI has no presentation times. Where frames are reordered, the times that FFmpeg derives may be out of order: only
        # the order in which the decoder returns the frames is right.
        self.is_timed = not self.is_avi or not self.stream.codec_context.reorder_depth

    def _open(self) -> None:
        av = self._av
        try:
            self._container = av.open(
                opened(self._source), options={"format_whitelist": DEMUXERS}, metadata_errors="replace"
            )
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise DecoderError(f"PyAV cannot read {name_of(self._source)}.") from error
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in self._container.streams.video if not s.disposition & cover]
        if not streams:
            nothing = not self._container.streams.audio
            self._container.close()
            if nothing:
                raise DecoderError(f"PyAV finds nothing in {name_of(self._source)}.")
            raise MediaError(f"{name_of(self._source)} contains only audio.", "Choose a file with video.")
        self.stream = streams[0]
        for other in self._container.streams:
            if other is not self.stream:
                other.discard = av.stream.Discard.all
        if self.stream.codec_context is None:
            self._container.close()
            raise DecoderError(f"PyAV does not know the codec of {name_of(self._source)}.")
        self._fresh = True
        context = self.stream.codec_context
        context.thread_type, context.thread_count = "FRAME", min(MAX_THREADS, os.cpu_count() or 1)

    def seconds(self, pts: int) -> float:
        return (pts - self.first_pts) * self.tick

    def close(self) -> None:
        self._container.close()

    def packets(self, key: int | None) -> Iterator[Packet]:
        """In decoding order from the keyframe at or before `key` (None: the start) to the end, or to where the file cannot
        be read on. Seeks at once, and may change `stream`."""
        if not self._fresh or key is not None:
            self._go_to(key)
        self._fresh = False
        return self._read_on(started=key is None)

    def _read_on(self, started: bool) -> Iterator[Packet]:
        at_start = started
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._av.error.FFmpegError, OSError):
                return
            started = started or packet.is_keyframe
            if packet.size and started and not self._is_misplaced(packet):
                if at_start and not packet.is_discard:
                    self.first_packet_pts, at_start = self.time_of(packet), False
                yield packet

    def time_of(self, packet: Packet) -> int | None:
        return packet.pts if packet.pts is not None else packet.dts

    def _is_misplaced(self, packet: Packet) -> bool:
        """In AVI, after a damaged part, packets get the times of the lost ones. The index says where each should be."""
        if not self.is_avi or packet.dts is None or packet.pos is None:
            return False
        entries = self.stream.index_entries
        found = entries.search_timestamp(packet.dts, backward=True, any_frame=True)
        entry = entries[found] if found >= 0 else None
        return bool(entry and entry.timestamp == packet.dts and packet.pos != entry.pos + AVI_CHUNK_HEADER)

    def _go_to(self, key: int | None) -> None:
        """Opens the file again for its start, or where it cannot seek."""
        if key is not None and self._seekable:
            try:
                self._container.seek(key, stream=self.stream)
                return
            except (self._av.error.FFmpegError, OSError):
                self._seekable = False
        self._container.close()
        self._open()

    def keyframe_before(self, target: int) -> int | None:
        """Where to start decoding for `target`. None: at the start of the file."""
        back = 0
        while self._seekable and target - back > self.first_pts:
            packet = next(self.packets(target - back), None)
            at = self.time_of(packet) if packet is not None else None
            if at is not None and at <= target:
                return at if at > self.first_pts else None
            back = back * 2 or max(1, round(1 / self.tick))  # the seek went too far: the file has no index
        return None

    def window(self, group: Group, cancel: threading.Event | None = None) -> Window:
        pts: list[int] = []
        first_dts, later = None, 0
        for number, packet in enumerate(self.packets(group.key)):
            check_cancelled(cancel)
            first_dts = packet.dts if number == 0 else first_dts
            at = self.time_of(packet)
            if at is not None and not packet.is_discard:
                pts.append(at)
                later += at > group.targets[-1]
            past = self.is_timed and packet.dts is not None and packet.dts > group.targets[-1]
            if past or later > MAX_REORDER:
                break
        return Window(sorted(pts), first_dts)

    def find_end(self) -> tuple[int, int]:
        """Time and duration of the last frame in the file, whatever its header claims."""
        claimed = self.stream.duration
        if claimed is None and self._container.duration is not None:
            claimed = round(self._container.duration / self._av.time_base / self.tick)
        if claimed is None or claimed <= 0:
            self.notes += ("the header gives no length, so the file was read to its end",)
            return max(self._last_frame(None), (self.first_pts, 0))
        end = self.first_pts + claimed
        found = self._last_frame(end)
        if found == NOTHING:
            found = self._last_frame(self._last_readable(end))
        found = max(found, (self.first_pts, 0))
        said, real = claimed * self.tick, self.seconds(sum(found))
        before = max(0.0, self.first_pts * self.tick)  # some containers include it, some do not
        if said - real - before > max(0.5, said / 50):
            self.notes += (f"the file says {length_text(said)}, but only the first {length_text(real)} can be read",)
        return found

    def _last_frame(self, near: int | None) -> tuple[int, int]:
        """Time and duration of the last frame after the keyframe before `near`, or NOTHING."""
        best = NOTHING
        for packet in self.packets(near):
            at = self.time_of(packet)
            if at is not None and not packet.is_discard and at > best[0]:
                best = (at, packet.duration or 0)
        return best

    def _last_readable(self, end: int) -> int:
        """In an incomplete file: the last time, to a second, from which packets can be read."""
        low, high = self.first_pts, end
        while high - low > 1 / self.tick:
            middle = (low + high) // 2
            low, high = (middle, high) if next(self.packets(middle), None) is not None else (low, middle)
        return low

    def count_frames(self, last_pts: int, last_ticks: int) -> None:
        """Prepare `frame_index`: which frames an edit list hides, or every time of a small file without an index."""
        entries = self.stream.index_entries if self._is_indexed else ()
        if last_ticks > 0 and (last_pts - self.first_pts) / last_ticks + 1 == len(entries):
            entries = ()  # it lists as many frames of equal length as there are: none is hidden
        self._hidden = [number for number, entry in enumerate(entries) if entry.is_discard]
        is_small = size_of(self._source) <= COUNT_UNINDEXED_BYTES
        self._all_pts = self.window(Group(None, [LAST])).pts if is_small and not self._is_indexed else None

    def frame_index(self, window: Window, pts: int) -> int:
        """Exact where the container lists its frames or was read through. Otherwise counted at the average rate."""
        if self._all_pts is not None:
            return max(0, bisect_right(self._all_pts, pts) - 1)
        if self._is_indexed and self.is_timed and window.first_dts is not None:
            entries = self.stream.index_entries
            before: int = entries.search_timestamp(window.first_dts, backward=True, any_frame=True)
            if before >= 0:
                return before - bisect_left(self._hidden, before) + bisect_left(window.pts, pts)
        return max(0, round(self.seconds(pts) * self.fps))

    def packet_facts(self, cancel: threading.Event | None = None) -> Iterator[PacketFacts]:
        """Every compressed frame of the clip, in decoding order. Reads the whole file."""
        for packet in self.packets(None):
            check_cancelled(cancel)
            at = self.time_of(packet)
            if at is not None and not packet.is_discard:
                yield PacketFacts(self.seconds(at), packet.size, packet.is_keyframe)
