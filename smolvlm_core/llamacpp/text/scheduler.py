"""Whose turn it is in the text model: requests join and leave between tokens, prefixes are shared, conversations are kept.

Each step writes one token of every answer in one batch, then reads a batch of the prompts that wait, first come first served.
A conversation that is not answered any more stays in the cache until others need its room; then it is kept outside, in RAM.
Knows places and tokens; not pictures, words or pipes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from smolvlm_core.llamacpp.text.context import BATCH, Context, Row
from smolvlm_core.llamacpp.text.messages import Answer, Ended, Open, Opened, Read, Start, TextOptions, Token, Waiting
from smolvlm_core.llamacpp.text.sampling import Sampler

MIN_SHARED = 32  # places that are worth copying
SPARE = 8  # conversations in the cache beside those that are answered


@dataclass(eq=False)
class Conversation:
    """One in the cache. `identity`: what stands at each of its places. `owner`: whose first `shared` places it uses."""

    number: int
    identity: list[int] = field(default_factory=list)
    owner: Conversation | None = None
    shared: int = 0
    last_used: int = 0
    request: Running | None = None

    @property
    def cells(self) -> int:
        return len(self.identity) - self.shared


@dataclass(eq=False)
class Running:
    """A request with a place in the cache. `read`: how many of its embeddings are in. `new`: its answer so far."""

    opened: Open
    sequence: Conversation
    reused: int
    start: Start | None = None
    sampler: Sampler | None = None
    read: int = 0
    new: list[int] = field(default_factory=list)

    @property
    def reserved(self) -> int:
        """Cells that it may still need."""
        return len(self.opened.ids) + self.opened.max_new_tokens - len(self.sequence.identity)


@dataclass(eq=False)
class Kept:
    """A conversation outside the cache."""

    identity: list[int]
    state: bytes
    last_used: int


class Scheduler:
    def __init__(self, context: Context, options: TextOptions, tell: Callable[[Answer], None]) -> None:
        self._context, self._options, self._tell = context, options, tell
        self._free = list(range(options.parallel + SPARE))
        self._sequences: list[Conversation] = []
        self._waiting: list[Open] = []
        self._running: dict[int, Running] = {}
        self._kept: list[Kept] = []
        self._uses = itertools.count(1)

    @property
    def idle(self) -> bool:
        """Whether the next step would do nothing."""
        return not self._waiting_can_be_seated() and not any(r.start is not None for r in self._running.values())

    def open(self, request: Open) -> None:
        self._waiting.append(request)
        self._seat()
        for ahead, other in enumerate(self._waiting, start=len(self._running)):
            self._tell(Waiting(request=other.request, ahead=ahead))

    def start(self, request: Start) -> None:
        if (running := self._running.get(request.request)) is not None:
            running.start = request
            running.sampler = Sampler(
                running.opened.ids,
                temperature=request.temperature,
                top_p=request.top_p,
                repetition_penalty=request.repetition_penalty,
                seed=request.seed,
            )

    def cancel(self, number: int) -> None:
        if (running := self._running.get(number)) is not None:
            self._end(running, "cancelled")
        elif any(opened.request == number for opened in self._waiting):
            self._waiting = [opened for opened in self._waiting if opened.request != number]
            self._tell(Ended(request=number, reason="cancelled"))

    def step(self) -> None:
        self._seat()
        self._write()
        self._read()

    # Seats

    def _waiting_can_be_seated(self) -> bool:
        return bool(self._waiting) and self._has_room(self._waiting[0])

    def _has_room(self, request: Open) -> bool:
        """Whether it fits beside the requests that run, once all idle conversations are out of the cache."""
        if len(self._running) == self._options.parallel:
            return False
        running = self._running.values()
        held = {r.sequence for r in running} | {r.sequence.owner for r in running if r.sequence.owner is not None}
        used = sum(conversation.cells for conversation in held) + sum(r.reserved for r in running)
        shared = self._best_running(request)
        return not self._running or used + len(request.ids) - shared + request.max_new_tokens <= self._options.cells

    def _best_running(self, request: Open) -> int:
        lengths = (common(r.sequence.identity, request.identity) for r in self._running.values())
        return max(lengths, default=0)

    def _seat(self) -> None:
        while self._waiting_can_be_seated():
            request = self._waiting.pop(0)
            sequence, reused = self._sequence_for(request)
            sequence.last_used = next(self._uses)
            running = sequence.request = self._running[request.request] = Running(request, sequence, reused)
            self._make_room(running.reserved)
            self._tell(Opened(request=request.request, reused=reused))

    def _sequence_for(self, request: Open) -> tuple[Conversation, int]:
        """A sequence with as much of the prompt as is known: a conversation that goes on, a copy of another's start, or a new one."""
        most = len(request.ids) - 1  # the last place is always read: its logits are the first token's
        best = max(self._sequences, key=lambda s: common(s.identity, request.identity), default=None)
        length = min(common(best.identity, request.identity), most) if best is not None else 0
        kept = max(self._kept, key=lambda k: common(k.identity, request.identity), default=None)
        if kept is not None and min(common(kept.identity, request.identity), most) > length:
            return self._restored(kept, request, most)
        if best is not None and best.request is None and length >= min(len(best.identity), most):
            self._cut(best, length)
            return best, length
        if length < MIN_SHARED:
            return self._new(), 0
        sequence = self._new(keep=best)
        assert best is not None
        self._context.copy(best.number, sequence.number, length)
        sequence.identity, sequence.owner, sequence.shared = best.identity[:length], best, length
        return sequence, length

    def _restored(self, kept: Kept, request: Open, most: int) -> tuple[Conversation, int]:
        length = min(common(kept.identity, request.identity), most)
        sequence = self._new()
        self._make_room(len(kept.identity))
        if not self._context.restore(sequence.number, kept.state):
            return sequence, 0
        sequence.identity = list(kept.identity)
        kept.last_used = next(self._uses)
        if length >= min(len(kept.identity), most):
            self._kept.remove(kept)
        self._cut(sequence, length)
        return sequence, length

    def _new(self, keep: Conversation | None = None) -> Conversation:
        if not self._free:
            idle = [s for s in self._sequences if s.request is None and s is not keep]
            self._park(min(idle, key=lambda s: s.last_used))
        sequence = Conversation(self._free.pop())
        self._sequences.append(sequence)
        return sequence

    def _make_room(self, cells: int) -> None:
        """Take idle conversations out of the cache, the least recently used first, until so many cells are free."""
        while sum(s.cells for s in self._sequences) + cells > self._options.cells:
            idle = [s for s in self._sequences if s.request is None]
            if not idle:
                return
            self._park(min(idle, key=lambda s: s.last_used))

    def _park(self, sequence: Conversation) -> None:
        """Keep a conversation in RAM, and free its cells."""
        if len(sequence.identity) > MIN_SHARED:
            state = self._context.save(sequence.number)
            self._kept.append(Kept(sequence.identity, state, sequence.last_used))
            self._kept.sort(key=lambda kept: kept.last_used)
            while sum(len(kept.state) for kept in self._kept) > self._options.kept_bytes:
                del self._kept[0]
        self._remove(sequence)

    def _remove(self, sequence: Conversation) -> None:
        self._context.cut(sequence.number, 0)
        self._sequences.remove(sequence)
        self._free.append(sequence.number)
        self._disown(sequence, 0)

    def _cut(self, sequence: Conversation, length: int) -> None:
        self._context.cut(sequence.number, length)
        sequence.identity = sequence.identity[:length]
        sequence.shared = min(sequence.shared, length)
        self._disown(sequence, length)

    def _disown(self, owner: Conversation, length: int) -> None:
        """Sequences that share more than `length` places with their owner hold the rest themselves now."""
        heirs = [s for s in self._sequences if s.owner is owner and s.shared > length]
        for heir in heirs:
            heir.shared = length  # counts a place twice where several share it: on the safe side
            heir.owner = owner if length else None

    # Steps

    def _write(self) -> None:
        writing = [r for r in self._running.values() if r.new]
        if not writing:
            return
        self._park_strangers()
        rows = [Row(r.sequence.number, len(r.sequence.identity), True) for r in writing]
        logits = self._context.write([r.new[-1] for r in writing], rows)
        if logits is None:
            self._no_room(writing[-1])
            return
        for i, running in enumerate(writing):
            running.sequence.identity.append(running.new[-1])
            self._take(running, logits[i])

    def _read(self) -> None:
        rows: list[Row] = []
        parts: list[np.ndarray] = []
        taken: list[tuple[Running, int, int]] = []  # (request, places, row of its last place or -1)
        for running in self._running.values():
            if running.start is None or running.new or len(rows) == BATCH:
                continue
            left = len(running.start.embeddings) - running.read
            count = min(left, BATCH - len(rows))
            at = len(running.sequence.identity)
            rows += [Row(running.sequence.number, at + i, i == left - 1) for i in range(count)]
            parts.append(running.start.embeddings[running.read : running.read + count])
            taken.append((running, count, len(rows) - 1 if count == left else -1))
        if not rows:
            return
        self._park_strangers()
        logits = self._context.read(np.concatenate(parts), rows)
        if logits is None:
            self._no_room(taken[-1][0])
            return
        for running, count, last in taken:
            at = len(running.sequence.identity)
            running.sequence.identity += running.opened.identity[at : at + count]
            running.read += count
            self._tell(Read(request=running.opened.request, places=at + count, of=len(running.opened.ids)))
            if last >= 0:
                self._take(running, logits[last])

    def _park_strangers(self) -> None:
        """Idle conversations that share nothing with those that run slow them down: every token looks at all cells in use."""
        for other in [s for s in self._sequences if s.request is None]:
            if not any(common(other.identity, r.sequence.identity) >= MIN_SHARED for r in self._running.values()):
                self._park(other)

    def _take(self, running: Running, logits: np.ndarray) -> None:
        assert running.start is not None and running.sampler is not None
        token = running.sampler.pick(logits)
        running.new.append(token)
        self._tell(Token(request=running.opened.request, token=token))
        places = len(running.opened.ids) + len(running.new)
        if token in running.start.ends:
            self._end(running, "end")
        elif places >= self._options.context_tokens:
            self._end(running, "context")
        elif len(running.new) >= running.opened.max_new_tokens:
            self._end(running, "length")

    def _no_room(self, running: Running) -> None:
        idle = [s for s in self._sequences if s.request is None]
        if idle:
            self._park(min(idle, key=lambda s: s.last_used))
        else:
            self._end(running, "failed", "There is no room left in the text model's context.")

    def _end(self, running: Running, reason: str, problem: str = "") -> None:
        del self._running[running.opened.request]
        running.sequence.request = None
        self._tell(Ended(request=running.opened.request, reason=reason, problem=problem))


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many places two prompts share from their start."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
