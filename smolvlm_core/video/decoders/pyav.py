"""PyAV: exact frames at the cost of the frames asked for, however long the clip is.

For each group of times that one keyframe serves, the packets are read twice: first without decoding, which tells the exact
time of every frame there, then through the decoder, which may skip what no wanted frame needs.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from smolvlm_core.errors import MediaError
from smolvlm_core.video.clip import ClipFacts, Frame, LostFrame, PacketFacts
from smolvlm_core.video.decoders.base import (
    MAX_FRAME_EDGE,
    DecoderError,
    Source,
    check_cancelled,
    check_pixels,
    name_of,
    opened,
    size_of,
)
from smolvlm_core.video.decoders.pixels import HDR_CURVES, orientation_of, pixels_of

if TYPE_CHECKING:
    import av

    Packet = av.Packet[av.VideoStream]

MAX_THREADS = 4  # each holds frames of its own: more would cost memory on 4K
MAX_REORDER = 17  # H.264 and H.265 reorder over 16 frames at most
# Whatever its name says, a file is only read as one of these: others (playlists) make FFmpeg open further files.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
INDEXED = ("mov", "avi")  # containers that list every frame
COUNT_UNINDEXED_BYTES = 64 << 20  # up to here other files are read through once, for exact frame numbers
# Codecs whose frames say for certain that no other needs them. (In H.265 a frame of a higher temporal layer may.)
SKIPPABLE = ("h264", "mpeg4")

AVI_CHUNK_HEADER = 8  # bytes: the index points at it, a packet's position is behind it
LAST = 1 << 62  # later than any frame
NOTHING = (-LAST, 0)


@dataclass
class Group:
    """Times (in the stream's units, ascending) that are decoded from one keyframe; `key` None: from the file's start."""

    key: int | None
    targets: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Times, ascending, of the packets from a keyframe to a group's last time, without those that an edit list hides.
    `first_dts`: where it stands in the index."""

    pts: list[int]
    first_dts: int | None

    def shown_at(self, target: int) -> int:
        return self.pts[max(0, bisect_right(self.pts, target) - 1)]


class PyAvClip:
    def __init__(self, source: Source) -> None:
        import av

        self._av, self._source = av, source
        self._seekable, self._timed = True, True
        self.notes: tuple[str, ...] = ()
        self._open()
        try:
            self._read()
        except BaseException:
            self.close()
            raise

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
            raise MediaError(f"{name_of(self._source)} has no pictures.", "Choose a clip that has more than sound.")
        self._stream = streams[0]
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = av.stream.Discard.all
        if self._stream.codec_context is None:
            raise DecoderError(f"PyAV does not know the codec of {name_of(self._source)}.")
        self._fresh = True
        context = self._stream.codec_context
        context.thread_type, context.thread_count = "FRAME", min(MAX_THREADS, os.cpu_count() or 1)

    def _read(self) -> None:
        """What holds for the whole clip: its first frame, its real end, its facts. `self._stream` is looked up each time:
        reading may open the file again, and what belonged to the closed one must not be touched."""
        context = self._stream.codec_context
        check_pixels(self._source, context.width, context.height)
        self._tick = float(self._stream.time_base or Fraction(1, 1000))  # seconds a unit of time
        aspect = self._stream.sample_aspect_ratio or context.sample_aspect_ratio
        self._pixel_aspect = float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        first = next(self._decoded(self._packets(None), None), None)
        if first is None or first.pts is None:
            raise DecoderError(f"PyAV finds no frame in {name_of(self._source)}.")
        self._orientation = orientation_of(first)
        # AVI has no presentation times. Where frames are reordered, what is made up in their place may be out of order; only
        # the order in which the decoder gives the frames is right.
        self._timed = not self._is_avi() or not context.reorder_depth
        self._first_pts: int = first.pts
        last_pts, last_ticks = self._find_end()
        self._fps = rate if 0.001 < rate < 1001 else 1 / (last_ticks * self._tick) if last_ticks > 0 else 25.0
        self._all_pts = self._count_unindexed()
        entries = self._stream.index_entries if self._is_indexed() else ()
        self._hidden = [number for number, entry in enumerate(entries) if entry.is_discard]
        self._tell_oddities(first)
        self.facts = self._facts(first, last_pts, last_ticks)

    def _tell_oddities(self, first: av.VideoFrame) -> None:
        if first.interlaced_frame:
            self.notes += ("it is interlaced: of each frame one field is shown",)
        if first.color_trc in HDR_CURVES:
            self.notes += ("it is HDR: its colours are brought to the ordinary range",)

    def _facts(self, first: av.VideoFrame, last_pts: int, last_ticks: int) -> ClipFacts:
        width, height = max(1, round(first.width * self._pixel_aspect)), first.height
        if self._orientation.transpose:
            width, height = height, width
        last_window = self._window(Group(self._keyframe_before(last_pts), [last_pts]))
        return ClipFacts(
            self._seconds(last_pts) + (last_ticks * self._tick if last_ticks > 0 else 1 / self._fps),
            width,
            height,
            self._fps,
            self._frame_index(last_window, last_pts) + 1,
            self._orientation.degrees_clockwise,
            "PyAV",
            self._stream.codec_context.codec.canonical_name,
            size_of(self._source),
            self._first_pts * self._tick,
            self._seconds(last_pts),
        )

    def _seconds(self, pts: int) -> float:
        return (pts - self._first_pts) * self._tick

    def _is_indexed(self) -> bool:
        return str(self._container.format.name).startswith(INDEXED)

    def _is_avi(self) -> bool:
        return str(self._container.format.name) == "avi"

    # --- packets, without decoding -----------------------------------------------------------------------------------

    def _packets(self, key: int | None) -> Iterator[Packet]:
        """In decoding order from the keyframe at or before `key` (None: the start) to the end, or to where the file cannot
        be read on."""
        if not self._fresh or key is not None:
            self._go_to(key)
        self._fresh = False
        packets = self._container.demux(self._stream)
        started = key is None
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._av.error.FFmpegError, OSError):
                return
            started = started or packet.is_keyframe
            if packet.size and started and not self._is_misplaced(packet):
                yield packet

    def _time_of(self, packet: Packet) -> int | None:
        return packet.pts if packet.pts is not None else packet.dts

    def _is_misplaced(self, packet: Packet) -> bool:
        """In AVI, after a damaged part, packets get the times of the lost ones: its index tells where each should lie."""
        if not self._is_avi() or packet.dts is None or packet.pos is None:
            return False
        entries = self._stream.index_entries
        found = entries.search_timestamp(packet.dts, backward=True, any_frame=True)
        return bool(found >= 0 and packet.pos != entries[found].pos + AVI_CHUNK_HEADER)

    def _go_to(self, key: int | None) -> None:
        """Opened again where the start is wanted or the file cannot be wound back."""
        if key is not None and self._seekable:
            try:
                self._container.seek(key, stream=self._stream)
                return
            except (self._av.error.FFmpegError, OSError):
                self._seekable = False
        self._container.close()
        self._open()

    def _keyframe_before(self, target: int) -> int | None:
        """Where to start decoding for `target`; None: at the file's start."""
        back = 0
        while self._seekable and target - back > self._first_pts:
            packet = next(self._packets(target - back), None)
            at = self._time_of(packet) if packet is not None else None
            if at is not None and at <= target:
                return at if at > self._first_pts else None
            back = back * 2 or max(1, round(1 / self._tick))  # landed too late: the file has no index
        return None

    def _window(self, group: Group, cancel: threading.Event | None = None) -> Window:
        pts: list[int] = []
        first_dts, later = None, 0
        for number, packet in enumerate(self._packets(group.key)):
            check_cancelled(cancel)
            first_dts = packet.dts if number == 0 else first_dts
            at = self._time_of(packet)
            if at is not None and not packet.is_discard:
                pts.append(at)
                later += at > group.targets[-1]
            past = self._timed and packet.dts is not None and packet.dts > group.targets[-1]
            if past or later > MAX_REORDER:
                break
        return Window(sorted(pts), first_dts)

    def _find_end(self) -> tuple[int, int]:
        """Time and duration of the last frame that is in the file, whatever its header says."""
        claimed = self._stream.duration
        if claimed is None and self._container.duration is not None:
            claimed = round(self._container.duration / self._av.time_base / self._tick)
        if claimed is None or claimed <= 0:
            self.notes += ("its header gives no length: it was read to its end",)
            return self._last_frame(None)
        end = self._first_pts + claimed
        found = self._last_frame(end)
        if found == NOTHING:
            found = self._last_frame(self._last_readable(end))
        found = max(found, (self._first_pts, 0))
        said, real = claimed * self._tick, self._seconds(sum(found))
        before = max(0.0, self._first_pts * self._tick)  # some containers count it in, some do not
        if said - real - before > max(0.5, said / 50):
            self.notes += (f"it says it lasts {said:.1f} s, but its pictures end after {real:.1f} s",)
        return found

    def _last_frame(self, near: int | None) -> tuple[int, int]:
        """Time and duration of the last frame after the keyframe before `near`, or NOTHING."""
        best = NOTHING
        for packet in self._packets(near):
            at = self._time_of(packet)
            if at is not None and not packet.is_discard and at > best[0]:
                best = (at, packet.duration or 0)
        return best

    def _last_readable(self, end: int) -> int:
        """In a file that was cut off: the last time, to a second, from which packets can be read."""
        low, high = self._first_pts, end
        while high - low > 1 / self._tick:
            middle = (low + high) // 2
            low, high = (middle, high) if next(self._packets(middle), None) is not None else (low, middle)
        return low

    def _count_unindexed(self) -> list[int] | None:
        if self._is_indexed() or size_of(self._source) > COUNT_UNINDEXED_BYTES:
            return None
        return self._window(Group(None, [LAST])).pts

    def _frame_index(self, window: Window, pts: int) -> int:
        """Exact where the container lists its frames or was read through; else counted at the average rate."""
        if self._all_pts is not None:
            return max(0, bisect_right(self._all_pts, pts) - 1)
        if self._is_indexed() and self._timed and window.first_dts is not None:
            entries = self._stream.index_entries
            before: int = entries.search_timestamp(window.first_dts, backward=True, any_frame=True)
            if before >= 0:
                return before - bisect_left(self._hidden, before) + bisect_left(window.pts, pts)
        return max(0, round(self._seconds(pts) * self._fps))

    def packets(self, cancel: threading.Event | None = None) -> Iterator[PacketFacts]:
        """Every compressed frame of the clip, in decoding order: the whole file is read, nothing is decoded."""
        for packet in self._packets(None):
            check_cancelled(cancel)
            at = self._time_of(packet)
            if at is not None and not packet.is_discard:
                yield PacketFacts(self._seconds(at), packet.size, packet.is_keyframe)

    # --- frames ------------------------------------------------------------------------------------------------------

    def frames_at(
        self, times_seconds: Sequence[float], max_edge: int = MAX_FRAME_EDGE, cancel: threading.Event | None = None
    ) -> Iterator[Frame | LostFrame]:
        groups: list[Group] = []
        for time in times_seconds:
            check_cancelled(cancel)
            target = self._first_pts + int(time / self._tick + 1e-3)
            key = self._keyframe_before(target)
            if not groups or groups[-1].key != key:
                groups.append(Group(key))
            groups[-1].targets.append(target)
        for group in groups:
            yield from self._decode_group(group, max_edge, cancel)

    def _decode_group(self, group: Group, max_edge: int, cancel: threading.Event | None) -> Iterator[Frame | LostFrame]:
        window = self._window(group, cancel)
        if not window.pts:
            yield from (LostFrame(self._seconds(target)) for target in group.targets)
            return
        if not self._timed:
            yield from self._decode_untimed(group, window, max_edge, cancel)
            return
        wanted = [window.shown_at(target) for target in group.targets]
        done = 0
        for frame in self._decoded(self._packets(group.key), set(wanted), cancel):
            while done < len(wanted) and (frame.pts or 0) > wanted[done]:
                yield LostFrame(self._seconds(wanted[done]))
                done += 1
            if done < len(wanted) and frame.pts == wanted[done]:
                made = self._frame(frame, wanted[done], window, max_edge)
                while done < len(wanted) and frame.pts == wanted[done]:
                    yield made
                    done += 1
        yield from (LostFrame(self._seconds(pts)) for pts in wanted[done:])

    def _decode_untimed(
        self, group: Group, window: Window, max_edge: int, cancel: threading.Event | None
    ) -> Iterator[Frame]:
        targets = list(group.targets)
        held: tuple[int, av.VideoFrame] | None = None
        for pts, frame in self._put_in_order(self._decoded(self._packets(group.key), None, cancel)):
            while targets and held is not None and pts > targets[0]:
                yield self._frame(held[1], held[0], window, max_edge)
                targets.pop(0)
            if not targets:
                return
            held = pts, frame
        if held is not None:
            yield from (self._frame(held[1], held[0], window, max_edge) for _ in targets)

    def _put_in_order(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The same frames, and their times in rising order."""
        waiting: deque[av.VideoFrame] = deque()
        times: list[int] = []
        for frame in frames:
            waiting.append(frame)
            heappush(times, frame.pts or 0)
            if len(waiting) > MAX_REORDER:
                yield heappop(times), waiting.popleft()
        while waiting:
            yield heappop(times), waiting.popleft()

    def _decoded(
        self, packets: Iterator[Packet], wanted: set[int] | None, cancel: threading.Event | None = None
    ) -> Iterator[av.VideoFrame]:
        """Frames in the order they are shown. With `wanted` (their times), others may be left out. Frames that come after
        one that failed are built on it: `_broken` tells from there on."""
        self._broken = False
        context = self._stream.codec_context
        can_skip = wanted is not None and context.codec.canonical_name in SKIPPABLE
        missing = set(wanted or ())
        try:
            for packet in packets:
                check_cancelled(cancel)
                if can_skip:
                    context.skip_frame = "DEFAULT" if packet.pts in missing else "NONREF"
                yield from self._outputs(packet)
                missing.discard(packet.pts)
                if wanted and not missing:
                    break
            yield from self._outputs(None)
        finally:
            context.skip_frame = "DEFAULT"
            context.flush_buffers()

    def _outputs(self, packet: Packet | None) -> list[av.VideoFrame]:
        try:
            return [frame for frame in self._stream.codec_context.decode(packet) if frame.pts is not None]
        except (self._av.error.FFmpegError, OSError):
            self._broken = True
            return []  # its frame is missing, which is seen by its time

    def _frame(self, frame: av.VideoFrame, pts: int, window: Window, max_edge: int) -> Frame:
        return Frame(
            self._seconds(pts),
            self._frame_index(window, pts),
            pixels_of(frame, self._orientation, self._pixel_aspect, max_edge),
            "PyAV",
            frame.is_corrupt or self._broken,
        )

    def close(self) -> None:
        self._container.close()
