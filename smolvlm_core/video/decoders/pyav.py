"""PyAV: exact frames, at a cost that depends on the requested frames and not on the length of the clip.

For each group of times that one keyframe serves, the packets are read twice: first without decoding, which gives the exact
time of every frame there, then through the decoder, which may skip what no requested frame needs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from smolvlm_core.times import length_text
from smolvlm_core.video.clip import ClipFacts, Frame, LostFrame, PacketFacts
from smolvlm_core.video.decoders import hdr
from smolvlm_core.video.decoders.base import (
    MAX_FRAME_EDGE,
    DecoderError,
    Source,
    check_cancelled,
    check_pixels,
    name_of,
    size_of,
)
from smolvlm_core.video.decoders.pixels import orientation_of, pixels_of
from smolvlm_core.video.decoders.pyav_file import MAX_REORDER, ClipFile, Group, Window

if TYPE_CHECKING:
    import av

    Packet = av.Packet[av.VideoStream]

# Codecs that mark the frames that no other frame needs. (In H.265, a frame of a higher temporal layer may still need them.)
SKIPPABLE = ("h264", "mpeg4")
LONGEST_REORDER_SECONDS = 0.7  # the first packet may be shown slightly before or after others
RETRIES = 2  # from earlier keyframes


class PyAvClip:
    def __init__(self, source: Source) -> None:
        import av

        self._errors = (av.error.FFmpegError, OSError)
        self._file = ClipFile(source)
        try:
            self.facts = self._read_facts(source)
        except BaseException:
            self.close()
            raise
        self.notes = self._file.notes

    def _read_facts(self, source: Source) -> ClipFacts:
        file, context = self._file, self._file.stream.codec_context
        check_pixels(source, context.width, context.height)
        aspect = file.stream.sample_aspect_ratio or context.sample_aspect_ratio
        self._pixel_aspect = float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
        first = next(self._decoded(file.packets(None), None), None)
        if first is None or first.pts is None:
            raise DecoderError(f"PyAV finds no frame in {name_of(source)}.")
        self._orientation = orientation_of(first)
        file.first_pts = first.pts
        lost = (first.pts - (first.pts if file.first_packet_pts is None else file.first_packet_pts)) * file.tick
        if lost > LONGEST_REORDER_SECONDS:
            file.notes += (
                f"the first {length_text(lost)} are too damaged to decode; times count from the first frame that can be read",
            )
        last_pts, last_ticks = file.find_end()
        file.fps = file.fps or (1 / (last_ticks * file.tick) if last_ticks > 0 else 25.0)
        file.count_frames(last_pts, last_ticks)
        if first.interlaced_frame:
            file.notes += ("the clip is interlaced: one field of each frame is shown",)
        if first.color_trc in (hdr.PQ, hdr.HLG):
            file.notes += ("the clip is HDR: its colours are converted to standard dynamic range",)
        width, height = max(1, round(first.width * self._pixel_aspect)), first.height
        if self._orientation.transpose:
            width, height = height, width
        last_window = file.window(Group(file.keyframe_before(last_pts), [last_pts]))
        return ClipFacts(
            file.seconds(last_pts) + (last_ticks * file.tick if last_ticks > 0 else 1 / file.fps),
            width,
            height,
            file.fps,
            file.frame_index(last_window, last_pts) + 1,
            self._orientation.degrees_clockwise,
            "PyAV",
            file.stream.codec_context.codec.canonical_name,
            size_of(source),
            file.first_pts * file.tick,
            file.seconds(last_pts),
        )

    def packets(self, cancel: threading.Event | None = None) -> Iterator[PacketFacts]:
        return self._file.packet_facts(cancel)

    def frames_at(
        self, times_seconds: Sequence[float], max_edge: int = MAX_FRAME_EDGE, cancel: threading.Event | None = None
    ) -> Iterator[Frame | LostFrame]:
        groups: list[Group] = []
        for time in times_seconds:
            check_cancelled(cancel)
            target = self._file.first_pts + int(time / self._file.tick + 1e-3)
            key = self._file.keyframe_before(target)
            if not groups or groups[-1].key != key:
                groups.append(Group(key))
            groups[-1].targets.append(target)
        for group in groups:
            yield from self._decode_group(group, max_edge, cancel)

    def _decode_group(self, group: Group, max_edge: int, cancel: threading.Event | None) -> Iterator[Frame | LostFrame]:
        window = self._file.window(group, cancel)
        if not window.pts:
            yield from (LostFrame(self._file.seconds(target)) for target in group.targets)
            return
        if not self._file.is_timed:
            yield from self._decode_untimed(group, window, max_edge, cancel)
            return
        key, missing = group.key, [window.shown_at(target) for target in group.targets]
        for _ in range(1 + RETRIES):
            missing = yield from self._decode_wanted(key, missing, window, max_edge, cancel)
            if not missing or key is None:
                break
            # Not every keyframe decodes on its own (H.264 with intra refresh, splices): begin one earlier.
            key = self._file.keyframe_before(key - 1)
        yield from (LostFrame(self._file.seconds(pts)) for pts in missing)

    def _decode_wanted(
        self, key: int | None, wanted: list[int], window: Window, max_edge: int, cancel: threading.Event | None
    ) -> Generator[Frame, None, list[int]]:
        """Yields the frames shown at the wanted times. Returns the times whose frame did not come."""
        lost: list[int] = []
        left = deque(wanted)
        for frame in self._decoded(self._file.packets(key), set(wanted), cancel):
            while left and (frame.pts or 0) > left[0]:
                lost.append(left.popleft())
            if left and frame.pts == left[0]:
                result = self._frame(frame, left[0], window, max_edge)
                while left and frame.pts == left[0]:
                    left.popleft()
                    yield result
        return [*lost, *left]

    def _decode_untimed(
        self, group: Group, window: Window, max_edge: int, cancel: threading.Event | None
    ) -> Iterator[Frame]:
        targets = list(group.targets)
        current: tuple[int, av.VideoFrame] | None = None
        for pts, frame in self._put_in_order(self._decoded(self._file.packets(group.key), None, cancel)):
            while targets and current is not None and pts > targets[0]:
                yield self._frame(current[1], current[0], window, max_edge)
                targets.pop(0)
            if not targets:
                return
            current = pts, frame
        if current is not None:
            yield from (self._frame(current[1], current[0], window, max_edge) for _ in targets)

    def _put_in_order(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The same frames, with their times in ascending order."""
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
        """Frames in the order they are shown. With `wanted` (their times), others may be left out.

        Frames after a failed or damaged one depend on it, up to the next keyframe: see `_is_damaged`.
        """
        self._broken_since: int | None = None
        context = self._file.stream.codec_context
        can_skip = wanted is not None and context.codec.canonical_name in SKIPPABLE
        missing = set(wanted or ())
        try:
            for packet in packets:
                check_cancelled(cancel)
                if can_skip:
                    context.skip_frame = "DEFAULT" if packet.pts in missing else "NONREF"
                yield from self._outputs(packet, self._file.time_of(packet))
                missing.discard(packet.pts)
                if wanted and not missing:
                    break
            yield from self._outputs(None, None)
        finally:
            context.skip_frame = "DEFAULT"
            context.flush_buffers()

    def _outputs(self, packet: Packet | None, pts: int | None) -> list[av.VideoFrame]:
        try:
            return [frame for frame in self._file.stream.codec_context.decode(packet) if frame.pts is not None]
        except self._errors:
            if self._broken_since is None:
                self._broken_since = pts if pts is not None else 0
            return []  # its frame is missing, which shows in the times

    def _frame(self, frame: av.VideoFrame, pts: int, window: Window, max_edge: int) -> Frame:
        return Frame(
            self._file.seconds(pts),
            self._file.frame_index(window, pts),
            pixels_of(frame, self._orientation, self._pixel_aspect, max_edge),
            "PyAV",
            self._is_damaged(frame, pts),
        )

    def _is_damaged(self, frame: av.VideoFrame, pts: int) -> bool:
        if frame.is_corrupt:
            self._broken_since = pts
        elif frame.key_frame and self._broken_since is not None and pts > self._broken_since:
            self._broken_since = None
        return self._broken_since is not None

    def close(self) -> None:
        self._file.close()
