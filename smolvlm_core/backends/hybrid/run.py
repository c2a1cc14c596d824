"""One answer of the hybrid backend: encode the prompt on the worker thread, then follow the text model's tokens.

The worker is free as soon as the embeddings are on their way, so answers of several sessions run together.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil

from smolvlm_core.backends.hybrid.loader import HybridModel
from smolvlm_core.engine.answer import AnswerRun, Cancelled, end_tokens
from smolvlm_core.engine.encoding import EncodedPrompt
from smolvlm_core.engine.memory import memory_error
from smolvlm_core.engine.sampling import TokenText, token_logprob
from smolvlm_core.errors import LensError
from smolvlm_core.llamacpp.text.client import Conversation
from smolvlm_core.llamacpp.text.messages import Answer, Ended, Opened, Read, Token, Waiting
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.generation import Delta, Event, Progress, Stats, StopReason, TokenLogprob

if TYPE_CHECKING:
    import numpy as np


class HybridRun(AnswerRun[HybridModel]):
    """`work` runs on the worker thread: see `queue.Run`. Then the asker follows `answer`, and calls `let_go` at the end."""

    loaded: HybridModel | None = None
    _conversation: Conversation | None = None
    _stream: Iterator[Answer] = iter(())

    def hold(self) -> HybridRun:
        """Keep the model in memory until `let_go`."""
        self.handle.worker.hold()
        return self

    def let_go(self) -> None:
        """Nobody listens any more, or the answer is complete."""
        if self._conversation is not None:
            self._conversation.close()
        self.handle.worker.let_go()

    def work(self) -> None:
        self.started = self.ready = time.perf_counter()
        reason: StopReason = "failed"
        failure: BaseException | None = None
        try:
            self.check_cancel()
            loaded = self.loaded = self.handle.ensure(self.report, self.cancel)
            self.ready = time.perf_counter()
            self._submit(loaded)
            reason = "end"
        except Cancelled:
            reason = "cancelled"
        except LensError as error:
            stopped = self.cancel.is_set()  # while it was loading
            reason, failure = ("cancelled", None) if stopped else ("failed", error)
        except BaseException as error:
            failure = memory_error(error) or error
        self.events.put(self.stats(reason))
        if failure is not None:
            self.events.put(failure)

    def _submit(self, loaded: HybridModel) -> None:
        """Encode what the text model does not hold yet, and hand it over."""
        import torch

        encoded = self.encode(loaded.eyes)
        self._conversation = loaded.text.open(
            encoded.ids,
            _numbered(encoded.identity),
            min(self.settings.max_new_tokens, self.room),
            fresh=self.cold,
        )
        self._stream = self._conversation.events(self.cancel)
        self._wait_for_a_place()
        with torch.inference_mode():
            embeddings = self._embed(loaded.eyes, encoded)
        self._conversation.start(embeddings, end_tokens(loaded.eyes), self.settings)
        if self.cancel.is_set():  # the asker may have left before there was a conversation
            self._conversation.cancel()

    def _wait_for_a_place(self) -> None:
        began = time.perf_counter()
        for answer in self._stream:
            if isinstance(answer, Opened):
                self.reused = answer.reused
                break
            if isinstance(answer, Waiting):
                self.report(f"Waiting: {answer.ahead} before you")
            if isinstance(answer, Ended):
                raise Cancelled
        self.waited = time.perf_counter() - began

    def _embed(self, eyes: LoadedModel, encoded: EncodedPrompt) -> np.ndarray:
        """(L - reused, hidden) float32: rows of the embedding table, and features of pictures in their places."""
        import torch

        ids = torch.tensor(encoded.ids[self.reused :], device=eyes.model.device)
        embedded = eyes.model.model.get_input_embeddings()(ids)
        for start, tokens in self.encode_tiles(eyes, encoded):
            new = tokens[max(self.reused - start, 0) :]
            at = max(start - self.reused, 0)
            embedded[at : at + len(new)] = new.to(embedded)
        return embedded.float().cpu().numpy()  # type: ignore[no-any-return]

    def answer(self) -> Iterator[Event]:
        """The text model's answer, and Stats at the end. Raises LensError after them where it failed."""
        assert self.loaded is not None
        text = TokenText(self.loaded.eyes.tokenizer)
        reason: StopReason = "failed"
        try:
            for event in self._stream:
                if isinstance(event, Read):
                    yield Progress(
                        f"Reading the prompt: {event.places:,} of {event.of:,} tokens", event.places / event.of
                    )
                elif isinstance(event, Token):
                    self.count_token()
                    delta = Delta(text.add(event.token), self._logprobs(event))
                    if delta.text or delta.logprobs:
                        yield delta
                elif isinstance(event, Ended):
                    reason = event.reason
            if reason == "length" and self.room < self.settings.max_new_tokens:
                reason = "context"
        except LensError:
            yield self.stats("failed")
            raise
        yield self.stats(reason)

    def _logprobs(self, event: Token) -> tuple[TokenLogprob, ...]:
        assert self.loaded is not None
        eyes = self.loaded.eyes
        if self.settings.top_logprobs is None or event.token in end_tokens(eyes):
            return ()
        return (token_logprob(eyes.tokenizer, event.token, event.logprob, event.likely),)

    def stats(self, reason: StopReason) -> Stats:
        if (loaded := self.loaded) is not None:
            self.peak_memory = psutil.Process().memory_info().rss + loaded.text.memory_bytes
            self.memory_of, self.weights_bytes = "the app's RAM and its text model's", loaded.eyes.memory_bytes
        return super().stats(reason)


def _numbered(identity: list[object]) -> list[int]:
    """Each place as a number: a token's id, or a hash of the picture and the place in it, which is never that small."""
    pictures: dict[object, int] = {}
    out = []
    for item in identity:
        if isinstance(item, int):
            out.append(item)
            continue
        assert isinstance(item, tuple)
        mark, inside = item
        if mark not in pictures:
            digest = hashlib.blake2b(repr(mark).encode(), digest_size=7).digest()
            pictures[mark] = (int.from_bytes(digest) | 1 << 56) - (1 << 16)
        out.append(pictures[mark] + inside)
    return out
