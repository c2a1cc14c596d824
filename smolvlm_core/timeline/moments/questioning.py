"""Asks one short question about many moments of a clip: frames → readings. A few frames are in memory at a time.

Knows clips and a backend. Does not know what the answers are for.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smolvlm_core.backends.base import Backend, Reply, collect
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.timeline.moments.wording import WORDS, Wording
from smolvlm_core.timeline.prompts import Shot, clip_prompt, picture_prompt
from smolvlm_core.timeline.yes import NOTHING, Reading, read_word, read_yes
from smolvlm_core.video import ClipFacts, Frame, take_frames
from smolvlm_core.work.gate import Gate
from smolvlm_core.work.pipeline import Pipeline

CHUNK = 16  # questions whose frames are decoded together
PARALLEL = 4  # chunks that are asked about at once: some backends answer several questions together
FRAME_EDGE = 512  # px: the largest tile of any SmolVLM2
YES_TOKENS, WORD_TOKENS, PLAIN_TOKENS = 2, 16, 4
TOP = 20

Times = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    first: int
    asked: Sequence[Times]


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """`prompts`: None where a frame cannot be decoded."""

    chunk: _Chunk
    prompts: tuple[Prompt | None, ...]
    decoded_bytes: int
    lost: int = 0


def settings_for(wording: Wording, *, logprobs: bool) -> GenerationSettings:
    """A few tokens, greedily, with their probabilities where the backend gives them."""
    if wording.answers != "yes or no":
        return GenerationSettings(max_new_tokens=WORD_TOKENS, top_logprobs=0 if logprobs else None)
    return GenerationSettings(
        max_new_tokens=YES_TOKENS if logprobs else PLAIN_TOKENS, top_logprobs=TOP if logprobs else None
    )


class Questioner:
    """Asks one question about a clip, at any times. `lost`: how many could not be asked, since a frame is damaged. `asked`: how many were.

    Args:
        on_answer: called after each answer, on any thread.
    """

    def __init__(
        self,
        source: Path,
        facts: ClipFacts,
        wording: Wording,
        backend: Backend,
        settings: GenerationSettings,
        cancel: threading.Event,
        on_answer: Callable[[], None],
    ) -> None:
        self._source, self._facts, self._wording = source, facts, wording
        self._backend, self.settings, self._cancel, self._on_answer = backend, settings, cancel, on_answer
        self.lost = self.asked = 0

    def ask(
        self, windows: Sequence[Times], on_chunk: Callable[[int, list[Reading]], None] = lambda at, found: None
    ) -> list[Reading]:
        """A reading of each window (times in seconds, ascending). Those that were not asked before `cancel` are NOTHING.

        `on_chunk` gets the place of the first of some readings in a row, and them, as they come.

        Raises:
            LensError: the clip cannot be read, or the backend fails.
        """
        readings = [NOTHING] * len(windows)
        pipeline: Pipeline[_Chunk, _Ready, tuple[_Ready, list[Reading]]] = Pipeline(
            prepare=self._prepare,
            ask=self._ask,
            gave_up=_gave_up,
            size_of=lambda ready: ready.decoded_bytes,
            parallel=PARALLEL,
            gate=Gate(),
        )
        for ready, found in pipeline.run(_chunks(windows), self._cancel):
            first = ready.chunk.first
            readings[first : first + len(found)] = found
            self.lost += ready.lost
            self.asked += len(found) - ready.lost
            on_chunk(first, found)
        return readings

    def _prepare(self, chunk: _Chunk, cancel: threading.Event) -> _Ready:
        wanted = sorted({time for times in chunk.asked for time in times})
        try:
            sampled = take_frames(self._source, wanted, max_edge=FRAME_EDGE, cancel=cancel)
        except MediaError:
            if not self._source.is_file():
                raise
            return _Ready(chunk=chunk, prompts=(None,) * len(chunk.asked), decoded_bytes=0, lost=len(chunk.asked))
        except LensError:
            if not cancel.is_set():
                raise
            return _Ready(chunk=chunk, prompts=(), decoded_bytes=0)
        shown = [frame.timestamp_seconds for frame in sampled.frames]
        slack = 1.5 / max(self._facts.fps, 1.0)
        prompts = tuple(self._prompt(sampled.frames, shown, times, slack) for times in chunk.asked)
        size = sum(frame.pixels.nbytes for frame in sampled.frames)
        return _Ready(chunk=chunk, prompts=prompts, decoded_bytes=size, lost=sum(p is None for p in prompts))

    def _prompt(self, frames: Sequence[Frame], shown: Sequence[float], times: Times, slack: float) -> Prompt | None:
        """None where the frame of a time was lost, and the one before is older than the clip's own gaps."""
        found = [frames[max(0, bisect_right(shown, time + 1e-3) - 1)] for time in times]
        if any(frame.damaged or frame.timestamp_seconds > time + slack for frame, time in zip(found, times)):
            return None
        if len(times) == 1:
            return picture_prompt(_shot(found[0]), self._wording.asked)
        return clip_prompt([_shot(frame) for frame in found], self._facts.duration_seconds, self._wording.asked)

    def _ask(self, ready: _Ready, cancel: threading.Event) -> tuple[_Ready, list[Reading]] | None:
        readings: list[Reading] = []
        for prompt in ready.prompts:
            if prompt is None:
                readings.append(NOTHING)
                continue
            try:
                reply = collect(self._backend.generate(prompt, self.settings, cancel))
            except LensError:
                if cancel.is_set() and self._cancel.is_set():
                    return None
                raise
            if reply.stats.stop_reason == "cancelled":
                return None
            readings.append(self._read(reply))
            self._on_answer()
        return ready, readings

    def _read(self, reply: Reply) -> Reading:
        if self._wording.answers == "yes or no":
            return read_yes(reply)
        return read_word(reply, WORDS[self._wording.answers])


def _shot(frame: Frame) -> Shot:
    return Shot(frame.timestamp_seconds, frame.image, frame.frame_index)


def _chunks(windows: Sequence[Times]) -> Iterator[_Chunk]:
    for first in range(0, len(windows), CHUNK):
        yield _Chunk(first=first, asked=windows[first : first + CHUNK])


def _gave_up(ready: _Ready) -> tuple[_Ready, list[Reading]]:
    return ready, [NOTHING] * len(ready.prompts)
