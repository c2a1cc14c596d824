"""Whose turn it is in the text model: requests join and leave between tokens, prefixes are shared, conversations are kept.

Each step writes one token of every answer in one batch, then reads a batch of the prompts that wait, first come first served.
A conversation that is not answered any more stays in the cache until others need its room; then it is kept outside, in RAM.
Knows places and tokens; not pictures, words or pipes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from smolvlm_core.llamacpp.text.context import BATCH, Context, Row
from smolvlm_core.llamacpp.text.conversation import Conversation, Kept, Running
from smolvlm_core.llamacpp.text.messages import (
    Answer,
    Ended,
    EndReason,
    Open,
    Opened,
    Read,
    Start,
    TextOptions,
    Token,
    Waiting,
)
from smolvlm_core.llamacpp.text.sampling import Sampler
from smolvlm_core.prompt.logprobs import logprobs_of
from smolvlm_core.prompt.prefix import common_prefix

MIN_SHARED = 32  # places that are worth copying
SPARE = 8  # conversations in the cache beside those that are answered


class Scheduler:
    def __init__(self, context: Context, options: TextOptions, tell: Callable[[Answer], None]) -> None:
        self._context, self._options, self._tell = context, options, tell
        self._free = list(range(options.parallel + SPARE))
        self._conversations: list[Conversation] = []
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
            running.sampler = Sampler(running.opened.ids, request.settings)

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
        held = {r.conversation for r in running} | {
            r.conversation.owner for r in running if r.conversation.owner is not None
        }
        used = sum(conversation.cells for conversation in held) + sum(r.reserved for r in running)
        shared = max((common_prefix(r.conversation.identity, request.identity) for r in running), default=0)
        shared = 0 if request.fresh else shared
        return not running or used + len(request.ids) - shared + request.max_new_tokens <= self._options.cells

    def _seat(self) -> None:
        while self._waiting_can_be_seated():
            request = self._waiting.pop(0)
            conversation, reused = self._place(request)
            conversation.last_used = next(self._uses)
            running = conversation.request = self._running[request.request] = Running(request, conversation, reused)
            self._make_room(running.reserved)
            self._tell(Opened(request=request.request, reused=reused))

    def _place(self, request: Open) -> tuple[Conversation, int]:
        """(a conversation, how much of the prompt it holds): one that goes on, a copy of another's start, or a new one."""
        if request.fresh:
            return self._new(), 0
        most = len(request.ids) - 1  # the last place is always read: its logits are the first token's

        def shared(other: Conversation | Kept | None) -> int:
            return min(common_prefix(other.identity, request.identity), most) if other is not None else 0

        best = max(self._conversations, key=shared, default=None)
        kept = max(self._kept, key=shared, default=None)
        length = shared(best)
        if kept is not None and shared(kept) > length:
            return self._restored(kept, shared(kept), most)
        if best is None or length < MIN_SHARED:
            return self._new(), 0
        if best.request is None and length >= min(len(best.identity), most):
            self._cut(best, length)
            return best, length
        copy = self._new(but=best)
        self._context.copy(best.number, copy.number, length)
        copy.identity, copy.owner, copy.shared = best.identity[:length], best, length
        return copy, length

    def _restored(self, kept: Kept, length: int, most: int) -> tuple[Conversation, int]:
        """A kept conversation in the cache again, cut to `length`. It stays kept where more of it is worth keeping."""
        self._kept.remove(kept)  # what is kept to make room could push it out
        self._make_room(len(kept.identity))
        conversation = self._new()
        fits = self._context.restore(conversation.number, kept.state)
        if not fits or length < min(len(kept.identity), most):
            kept.last_used = next(self._uses)
            self._keep(kept)
        if not fits:
            self._context.cut(conversation.number, 0)
            return conversation, 0
        conversation.identity = list(kept.identity)
        self._cut(conversation, length)
        return conversation, length

    def _new(self, but: Conversation | None = None) -> Conversation:
        """An empty conversation. Where all numbers are taken, one that is idle is kept outside; not `but`."""
        if not self._free:
            self._park_oldest(but)
        conversation = Conversation(self._free.pop())
        self._conversations.append(conversation)
        return conversation

    def _park_oldest(self, but: Conversation | None = None) -> bool:
        """False where none is idle."""
        idle = [c for c in self._conversations if c.request is None and c is not but]
        if idle:
            self._park(min(idle, key=lambda c: c.last_used))
        return bool(idle)

    def _make_room(self, cells: int) -> None:
        """Take idle conversations out of the cache, the least recently used first, until so many cells are free."""
        while sum(c.cells for c in self._conversations) + cells > self._options.cells and self._park_oldest():
            pass

    def _park(self, conversation: Conversation) -> None:
        """Keep a conversation in RAM, and free its cells."""
        if len(conversation.identity) > MIN_SHARED:
            state = self._context.save(conversation.number)
            self._keep(Kept(conversation.identity, state, conversation.last_used))
        self._remove(conversation)

    def _keep(self, kept: Kept) -> None:
        self._kept.append(kept)
        self._kept.sort(key=lambda kept: kept.last_used)
        while sum(len(kept.state) for kept in self._kept) > self._options.kept_bytes:
            del self._kept[0]

    def _remove(self, conversation: Conversation) -> None:
        self._context.cut(conversation.number, 0)
        self._conversations.remove(conversation)
        self._free.append(conversation.number)
        self._disown(conversation, 0)

    def _cut(self, conversation: Conversation, length: int) -> None:
        self._context.cut(conversation.number, length)
        conversation.identity = conversation.identity[:length]
        conversation.shared = min(conversation.shared, length)
        self._disown(conversation, length)

    def _disown(self, owner: Conversation, length: int) -> None:
        """Conversations that share more than `length` places with their owner hold the rest themselves now."""
        heirs = [c for c in self._conversations if c.owner is owner and c.shared > length]
        for heir in heirs:
            heir.shared = length  # counts a place twice where several share it: on the safe side
            heir.owner = owner if length else None

    # Steps

    def _write(self) -> None:
        writing = [r for r in self._running.values() if r.new]
        if not writing:
            return
        self._park_strangers()
        rows = [Row(r.conversation.number, len(r.conversation.identity), True) for r in writing]
        logits = self._context.write([r.new[-1] for r in writing], rows)
        if logits is None:
            self._no_room(writing[-1])
            return
        for i, running in enumerate(writing):
            running.conversation.identity.append(running.new[-1])
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
            at = len(running.conversation.identity)
            rows += [Row(running.conversation.number, at + i, i == left - 1) for i in range(count)]
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
            at = len(running.conversation.identity)
            running.conversation.identity += running.opened.identity[at : at + count]
            running.read += count
            self._tell(Read(request=running.opened.request, places=at + count, of=len(running.opened.ids)))
            if last >= 0:
                self._take(running, logits[last])

    def _park_strangers(self) -> None:
        """Idle conversations that share nothing with those that run slow them down: every token looks at all cells in use."""
        starts = {tuple(r.conversation.identity[:MIN_SHARED]) for r in self._running.values()}
        for other in [c for c in self._conversations if c.request is None]:
            if tuple(other.identity[:MIN_SHARED]) not in starts:
                self._park(other)

    def _take(self, running: Running, logits: np.ndarray) -> None:
        assert running.start is not None and running.sampler is not None
        token = running.sampler.pick(logits)
        running.new.append(token)
        self._tell(_told(running, token, logits))
        places = len(running.opened.ids) + len(running.new)
        if token in running.start.ends:
            self._end(running, "end")
        elif places >= self._options.context_tokens:
            self._end(running, "context")
        elif len(running.new) >= running.opened.max_new_tokens:
            self._end(running, "length")

    def _no_room(self, running: Running) -> None:
        if not self._park_oldest():
            self._end(running, "failed", "There is no room left in the text model's context.")

    def _end(self, running: Running, reason: EndReason, problem: str = "") -> None:
        del self._running[running.opened.request]
        running.conversation.request = None
        self._tell(Ended(request=running.opened.request, reason=reason, problem=problem))


def _told(running: Running, token: int, logits: np.ndarray) -> Token:
    count = running.start.settings.top_logprobs if running.start is not None else None
    if count is None:
        return Token(request=running.opened.request, token=token)
    logprob, likely = logprobs_of(logits, token, count)
    return Token(request=running.opened.request, token=token, logprob=logprob, likely=likely)
