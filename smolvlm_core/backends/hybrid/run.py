"""One answer of the hybrid backend: encode the prompt on the worker thread, then follow the text model's tokens.

The worker is free as soon as the embeddings are on their way, so answers of several sessions run together.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil

from smolvlm_core.backends.hybrid.loader import HybridModel
from smolvlm_core.engine.encoding import EncodedPrompt, encode_prompt
from smolvlm_core.engine.sampling import TokenText
from smolvlm_core.engine.state import state_of
from smolvlm_core.engine.vision.features import FeatureCache
from smolvlm_core.errors import ContextTooSmall, LensError
from smolvlm_core.llamacpp.text.client import Conversation
from smolvlm_core.llamacpp.text.messages import Answer, Ended, Opened, Read, Token, Waiting
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats, StopReason
from smolvlm_core.work.pool import Handle

if TYPE_CHECKING:
    import numpy as np


class Cancelled(Exception):
    pass


class HybridRun:
    """`work` runs on the worker thread: see `queue.Run`. Then the asker follows `answer`, and calls `let_go` at the end."""

    def __init__(
        self,
        handle: Handle[HybridModel],
        spec: ModelSpec,
        prompt: Prompt,
        settings: GenerationSettings,
        cancel: threading.Event,
        features: FeatureCache,
    ) -> None:
        self.handle, self.spec, self.prompt, self.settings, self.cancel = handle, spec, prompt, settings, cancel
        self.features = features
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.goes_on = False
        self.asked = self.started = self.ready = time.perf_counter()
        self.seated_seconds = 0.0  # waiting for a place in the text model
        self.first_token: float | None = None
        self.encoded: EncodedPrompt | None = None
        self.loaded: HybridModel | None = None
        self.reused = self.known_tiles = self.new_tokens = 0
        self._conversation: Conversation | None = None
        self._stream: Iterator[Answer] = iter(())
        handle.worker.hold()

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
            self._check_cancel()
            loaded = self.loaded = self.handle.ensure(
                lambda text, fraction: self.events.put(Progress(text, fraction)), self.cancel
            )
            self.ready = time.perf_counter()
            self._submit(loaded)
            reason = "end"
        except Cancelled:
            reason = "cancelled"
        except BaseException as error:
            failure = error
            if isinstance(error, LensError) and self.cancel.is_set():  # while it was loading
                reason, failure = "cancelled", None
        self.events.put(self.stats(reason))
        if failure is not None:
            self.events.put(failure)

    def _submit(self, loaded: HybridModel) -> None:
        """Encode what the text model does not hold yet, and hand it over."""
        import torch

        eyes = loaded.eyes
        self.events.put(Progress("Preparing pictures" if self.prompt.slots else "Reading the question"))
        encoded = self.encoded = encode_prompt(self.prompt, self.spec, eyes.tokenizer, eyes.image_processor)
        room = self.spec.context_tokens - len(encoded.ids)
        if room < 1:
            raise ContextTooSmall(
                f"The conversation takes {len(encoded.ids)} tokens; {self.spec.title} has room for {self.spec.context_tokens}.",
                "Show fewer pictures or frames, or start a new conversation.",
            )
        self._conversation = loaded.text.open(
            encoded.ids, _numbered(encoded.identity), min(self.settings.max_new_tokens, room)
        )
        self._stream = self._conversation.events(self.cancel)
        self._wait_for_a_place()
        with torch.inference_mode():
            embeddings = self._embed(eyes, encoded)
        ends = eyes.model.generation_config.eos_token_id
        self._conversation.start(
            embeddings,
            tuple(ends if isinstance(ends, list) else [ends]),
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            repetition_penalty=self.settings.repetition_penalty,
            seed=self.settings.seed,
        )
        if self.cancel.is_set():  # the asker may have left before there was a conversation
            self._conversation.cancel()

    def _wait_for_a_place(self) -> None:
        began = time.perf_counter()
        for answer in self._stream:
            if isinstance(answer, Opened):
                self.reused = answer.reused
                break
            if isinstance(answer, Waiting):
                self.events.put(Progress(f"Waiting: {answer.ahead} before you"))
            if isinstance(answer, Ended):
                raise Cancelled
        self.seated_seconds = time.perf_counter() - began

    def _embed(self, eyes: LoadedModel, encoded: EncodedPrompt) -> np.ndarray:
        """(L - reused, hidden) float32: rows of the embedding table, and features of pictures in their places."""
        import torch

        size = self.spec.geometry.tokens_per_tile
        ids = torch.tensor(encoded.ids[self.reused :], device=eyes.model.device)
        embedded = eyes.model.model.get_input_embeddings()(ids)
        wanted = [located for located in encoded.located_tiles() if located[0] + size > self.reused]
        if wanted:
            encoder = state_of(self.handle, eyes).encoder(
                eyes, self.features, lambda text, _: self.events.put(Progress(text))
            )
            known = encoder.found
            for start, tokens in encoder.encode(wanted, self._report_tile):
                skipped = max(self.reused - start, 0)
                at = start + skipped - self.reused
                embedded[at : at + size - skipped] = tokens[skipped:].to(embedded)
            self.known_tiles = encoder.found - known
        return embedded.float().cpu().numpy()  # type: ignore[no-any-return]

    def _report_tile(self, done: int, of: int) -> None:
        self._check_cancel()
        self.events.put(Progress(f"Encoding picture tile {done + 1} of {of}", done / of))

    def answer(self) -> Iterator[Event]:
        """The text model's answer, and Stats at the end. Raises LensError after them where it failed."""
        assert self.loaded is not None
        text = TokenText(self.loaded.eyes.tokenizer)
        reason: StopReason = "failed"
        try:
            for event in self._stream:
                if isinstance(event, Read):
                    yield Progress(f"Reading the prompt: {event.places} of {event.of} tokens", event.places / event.of)
                elif isinstance(event, Token):
                    yield from self._take(text.add(event.token))
                elif isinstance(event, Ended):
                    reason = event.reason
            if reason == "length" and self._room() < self.settings.max_new_tokens:
                reason = "context"
        except LensError:
            yield self.stats("failed")
            raise
        yield self.stats(reason)

    def _room(self) -> int:
        return self.spec.context_tokens - len(self.encoded.ids) if self.encoded else 0

    def _take(self, text: str) -> Iterator[Event]:
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.new_tokens += 1
        if text:
            yield Delta(text)

    def _check_cancel(self) -> None:
        if self.cancel.is_set():
            raise Cancelled

    def stats(self, reason: StopReason) -> Stats:
        now = time.perf_counter()
        decoding = now - self.first_token if self.first_token is not None else 0.0
        first, loaded = self.first_token, self.loaded
        waited = self.seated_seconds
        return Stats(
            reason,
            image_tokens=self.encoded.image_tokens if self.encoded else 0,
            prompt_tokens=len(self.encoded.ids) if self.encoded else 0,
            reused_tokens=self.reused,
            known_tiles=self.known_tiles,
            new_tokens=self.new_tokens,
            time_to_first_token_seconds=first - self.ready - waited if first is not None else None,
            tokens_per_second=(self.new_tokens - 1) / decoding if self.new_tokens > 1 and decoding > 0 else None,
            total_seconds=now - self.asked,
            queued_seconds=self.started - self.asked + waited,
            load_seconds=self.ready - self.started,
            peak_memory_bytes=(psutil.Process().memory_info().rss + loaded.text.memory_bytes) if loaded else 0,
            memory_of="the app's RAM and its text model's",
            weights_bytes=loaded.eyes.memory_bytes if loaded else 0,
            prompt_fingerprint=self.prompt.fingerprint,
        )


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
