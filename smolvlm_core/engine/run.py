"""One answer by a model in this process: encode the prompt, prefill the key-value cache, decode.

The prompt enters the cache in pieces, so that a cancel takes effect between any two of them. The cache stays for the next
turn of the same conversation. Everything here runs on the model's worker thread. Does not know queues, chats or the store.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from smolvlm_core.engine.decode import generate
from smolvlm_core.engine.encoding import EncodedPrompt, encode_prompt
from smolvlm_core.engine.memory import PREFILL_TOKENS, drop_caches, memory_error, refuse_if_too_large, return_unused_ram
from smolvlm_core.engine.prefix_cache import PrefixCache
from smolvlm_core.engine.sampling import sampling, stop_when, streamer
from smolvlm_core.engine.state import EngineState, state_of
from smolvlm_core.engine.vision.features import FeatureCache
from smolvlm_core.errors import ContextTooSmall, LensError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats, StopReason
from smolvlm_core.work.pool import Handle

if TYPE_CHECKING:
    import torch


class _Cancelled(Exception):
    pass


class Run:
    """One answer. `events` is what the asker reads: Stats at the end, always, with "failed" before an exception."""

    def __init__(
        self,
        handle: Handle[LoadedModel],
        spec: ModelSpec,
        prompt: Prompt,
        settings: GenerationSettings,
        cancel: threading.Event,
        features: FeatureCache,
    ) -> None:
        self.features = features
        self.state: EngineState | None = None
        self.cache: PrefixCache | None = None
        self.handle, self.spec, self.prompt, self.settings, self.cancel = handle, spec, prompt, settings, cancel
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.goes_on = False
        self.asked = self.started = self.ready = time.perf_counter()
        self.first_token: float | None = None
        self.encoded: EncodedPrompt | None = None
        self.reused = self.known_tiles = self.new_tokens = self.peak_memory = self.weights_bytes = 0
        self.memory_of = ""

    def work(self) -> None:
        """Called on the worker's thread."""
        self.started = self.ready = time.perf_counter()
        reason: StopReason = "failed"
        failure: BaseException | None = None
        try:
            self._check_cancel()
            loaded = self.handle.ensure(lambda text, fraction: self.events.put(Progress(text, fraction)))
            self.ready = time.perf_counter()
            reason = self._answer(loaded)
        except _Cancelled:
            reason = "cancelled"
        except LensError as error:
            failure = error
        except BaseException as error:
            out_of_memory = memory_error(error)
            failure = out_of_memory or error
            if out_of_memory is not None:
                drop_caches(self.handle)
        if self.state is not None and self.cache is not None:
            if failure is not None or (reason == "cancelled" and self.new_tokens == 0):
                self.state.prefixes.drop(self.cache)  # it may hold half of a prompt
            self.state.prefixes.trim()
        self.cache = None  # an error that is kept would keep it in memory
        self.events.put(self._stats(reason))
        if failure is not None:
            self.events.put(failure)

    def _answer(self, loaded: LoadedModel) -> StopReason:
        import torch

        if loaded.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        refuse_if_too_large(self.handle, self.spec, loaded, self.prompt, self.settings)
        self.events.put(Progress("Preparing pictures" if self.prompt.slots else "Reading the question"))
        encoded = self.encoded = encode_prompt(self.prompt, self.spec, loaded.tokenizer, loaded.image_processor)
        room = self.spec.context_tokens - len(encoded.ids)
        if room < 1:
            raise ContextTooSmall(
                f"The conversation takes {len(encoded.ids)} tokens; {self.spec.title} has room for {self.spec.context_tokens}.",
                "Show fewer pictures or frames, or start a new conversation.",
            )
        with torch.inference_mode():
            cache = self._prefill(loaded, encoded)
            ended = self._decode(loaded, encoded, cache, min(self.settings.max_new_tokens, room))
        self._note_memory(loaded)
        if self.cancel.is_set():
            return "cancelled"
        if ended:
            return "end"
        return "context" if room < self.settings.max_new_tokens else "length"

    def _prefill(self, loaded: LoadedModel, encoded: EncodedPrompt) -> PrefixCache:
        """Put all of the prompt but its last token into the cache, from where the last run's cache still fits."""
        import torch

        last = len(encoded.ids) - 1
        self.state = state_of(self.handle, loaded)
        cache = self.cache = self.state.prefixes.open(encoded.identity, last)
        self.reused = len(cache.identity)
        size = self.spec.geometry.tokens_per_tile
        features = self._encode_tiles(loaded, self.state, encoded, self.reused - size)
        return_unused_ram()
        core = loaded.model.model
        ids = torch.tensor([encoded.ids], device=loaded.model.device)
        embedded = core.get_input_embeddings()(ids)  # (1, L, hidden)
        for start, tokens in features:
            embedded[0, start : start + len(tokens)] = tokens.to(embedded.dtype)
        for at in range(self.reused, last, PREFILL_TOKENS):
            self._check_cancel()
            self.events.put(Progress(f"Reading the prompt: {at} of {last} tokens", at / last))
            end = min(at + PREFILL_TOKENS, last)
            core.text_model(inputs_embeds=embedded[:, at:end], past_key_values=cache.cache, use_cache=True)
            cache.identity = encoded.identity[:end]
        self._note_memory(loaded)
        return cache

    def _encode_tiles(
        self, loaded: LoadedModel, state: EngineState, encoded: EncodedPrompt, after: int
    ) -> list[tuple[int, torch.Tensor]]:
        """Features of the tiles that begin after a place of the prompt: see `TileEncoder.encode`."""
        wanted = [located for located in encoded.located_tiles() if located[0] > after]
        if not wanted:
            return []
        encoder = state.encoder(loaded, self.features, lambda text, _: self.events.put(Progress(text)))
        found = encoder.found
        features = encoder.encode(wanted, self._report_tile)
        self.known_tiles = encoder.found - found
        return features

    def _report_tile(self, done: int, of: int) -> None:
        self._check_cancel()
        self.events.put(Progress(f"Encoding picture tile {done + 1} of {of}", done / of))

    def _decode(self, loaded: LoadedModel, encoded: EncodedPrompt, cache: PrefixCache, max_new_tokens: int) -> bool:
        """Generate. True where the model ended its answer itself."""
        import torch

        self._check_cancel()
        ids = torch.tensor([encoded.ids], device=loaded.model.device)
        sequence = generate(
            loaded,
            cache.cache,
            ids,
            max_new_tokens=max_new_tokens,
            repetition_penalty=self.settings.repetition_penalty,
            logits_processor=sampling(self.settings, loaded.model.device),
            stopping_criteria=[stop_when(self.cancel)],
            streamer=streamer(self.took, loaded.tokenizer),
        )
        cache.identity = [*encoded.identity, *sequence[len(encoded.ids) :]][: cache.cache.get_seq_length()]
        ends = loaded.model.generation_config.eos_token_id
        return sequence[-1] in (ends if isinstance(ends, list) else [ends])

    def took(self, text: str) -> None:
        """A new token; `text` is what can be shown of it."""
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.new_tokens += 1
        if text:
            self.events.put(Delta(text))

    def _check_cancel(self) -> None:
        if self.cancel.is_set():
            raise _Cancelled

    def _note_memory(self, loaded: LoadedModel) -> None:
        import psutil
        import torch

        on_gpu = loaded.device == "cuda"
        used = torch.cuda.max_memory_allocated() if on_gpu else psutil.Process().memory_info().rss
        self.peak_memory = max(self.peak_memory, int(used))
        self.memory_of, self.weights_bytes = "the app's GPU memory" if on_gpu else "the app's RAM", loaded.memory_bytes

    def _stats(self, reason: StopReason) -> Stats:
        now = time.perf_counter()
        decoding = now - self.first_token if self.first_token is not None else 0.0
        return Stats(
            reason,
            image_tokens=self.encoded.image_tokens if self.encoded else 0,
            prompt_tokens=len(self.encoded.ids) if self.encoded else 0,
            reused_tokens=self.reused,
            known_tiles=self.known_tiles,
            new_tokens=self.new_tokens,
            time_to_first_token_seconds=self.first_token - self.ready if self.first_token is not None else None,
            tokens_per_second=(self.new_tokens - 1) / decoding if self.new_tokens > 1 and decoding > 0 else None,
            total_seconds=now - self.asked,
            queued_seconds=self.started - self.asked,
            load_seconds=self.ready - self.started,
            peak_memory_bytes=self.peak_memory,
            memory_of=self.memory_of,
            weights_bytes=self.weights_bytes,
            prompt_fingerprint=self.prompt.fingerprint,
        )
