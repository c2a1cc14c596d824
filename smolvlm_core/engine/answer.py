"""What every answer by a checkpoint in this process begins with and counts: encode the prompt and its tiles, tokens, times.

Knows prompts and vision encoders. Does not know what writes the answer: `run` here, or the hybrid backend.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from smolvlm_core.engine.encoding import EncodedPrompt, encode_prompt
from smolvlm_core.engine.state import state_of
from smolvlm_core.engine.vision.features import FeatureCache
from smolvlm_core.errors import ContextTooSmall
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Progress, Stats, StopReason
from smolvlm_core.work.pool import Handle

if TYPE_CHECKING:
    import torch

L = TypeVar("L")


class Cancelled(Exception):
    pass


class AnswerRun(Generic[L]):
    """One answer, for `backends.queue`. `events` is what the asker reads.

    Attributes:
        cold: nothing that earlier answers left in caches is used.
        waited: seconds for a place in another process, after loading.
        prepared: seconds of making the vision encoder, which counts as loading.
        reused: prompt tokens that a key-value cache held already.
    """

    def __init__(
        self,
        handle: Handle[L],
        spec: ModelSpec,
        prompt: Prompt,
        settings: GenerationSettings,
        cancel: threading.Event,
        features: FeatureCache,
        *,
        cold: bool = False,
    ) -> None:
        self.handle, self.spec, self.prompt, self.settings, self.cancel = handle, spec, prompt, settings, cancel
        self.features, self.cold = features, cold
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.goes_on = False
        self.asked = self.started = self.ready = time.perf_counter()
        self.waited = self.prepared = 0.0
        self.first_token: float | None = None
        self.encoded: EncodedPrompt | None = None
        self.reused = self.known_tiles = self.new_tokens = self.peak_memory = self.weights_bytes = 0
        self.memory_of = ""

    @property
    def room(self) -> int:
        """Tokens of the context that the prompt leaves."""
        return self.spec.context_tokens - len(self.encoded.ids) if self.encoded is not None else 0

    def report(self, text: str, fraction: float | None = None) -> None:
        self.events.put(Progress(text, fraction))

    def check_cancel(self) -> None:
        if self.cancel.is_set():
            raise Cancelled

    def encode(self, loaded: LoadedModel) -> EncodedPrompt:
        """Tokens and pictures of the prompt. Raises ContextTooSmall where there is no room for an answer."""
        self.report("Preparing pictures" if self.prompt.slots else "Reading the question")
        self.encoded = encode_prompt(self.prompt, self.spec, loaded.tokenizer, loaded.image_processor)
        if self.room < 1:
            raise ContextTooSmall(
                f"The conversation takes {len(self.encoded.ids):,} tokens; {self.spec.title} has room for "
                f"{self.spec.context_tokens:,}.",
                "Show fewer pictures or frames, or start a new conversation.",
            )
        return self.encoded

    def encode_tiles(self, loaded: LoadedModel, encoded: EncodedPrompt) -> list[tuple[int, torch.Tensor]]:
        """(place of its first token, (tokens per tile, hidden) features) of each tile that `reused` does not cover."""
        size = self.spec.geometry.tokens_per_tile
        wanted = [located for located in encoded.located_tiles() if located[0] + size > self.reused]
        if not wanted:
            return []
        encoder = state_of(self.handle, loaded).encoder(loaded, self.features, self.report)
        found, prepared = encoder.found, encoder.preparing_seconds
        features = encoder.encode(wanted, self._report_tile, fresh=self.cold)
        self.known_tiles = encoder.found - found
        self.prepared = encoder.preparing_seconds - prepared
        return features

    def _report_tile(self, done: int, of: int) -> None:
        self.check_cancel()
        self.report(f"Encoding picture tile {done + 1} of {of}", done / of)

    def count_token(self) -> None:
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.new_tokens += 1

    def stats(self, reason: StopReason) -> Stats:
        now, first = time.perf_counter(), self.first_token
        decoding = now - first if first is not None else 0.0
        return Stats(
            reason,
            image_tokens=self.encoded.image_tokens if self.encoded else 0,
            prompt_tokens=len(self.encoded.ids) if self.encoded else 0,
            reused_tokens=self.reused,
            known_tiles=self.known_tiles,
            new_tokens=self.new_tokens,
            time_to_first_token_seconds=first - self.ready - self.waited - self.prepared if first is not None else None,
            tokens_per_second=(self.new_tokens - 1) / decoding if self.new_tokens > 1 and decoding > 0 else None,
            total_seconds=now - self.asked,
            queued_seconds=self.started - self.asked + self.waited,
            load_seconds=self.ready - self.started + self.prepared,
            peak_memory_bytes=self.peak_memory,
            memory_of=self.memory_of,
            weights_bytes=self.weights_bytes,
            prompt_fingerprint=self.prompt.fingerprint,
        )


def end_tokens(loaded: LoadedModel) -> tuple[int, ...]:
    """The tokens that end an answer."""
    ends: Any = loaded.model.generation_config.eos_token_id
    return tuple(ends) if isinstance(ends, list) else (ends,)
