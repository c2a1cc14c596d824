"""Answers with transformers, in this process.

Everything that touches the model runs on the model's own worker
thread. The prompt is put into the key-value cache in pieces, so that a cancel is heard between any two of them, and
the cache is kept for the next turn of the same conversation.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smolvlm_core.backends.base import Capabilities, Delta, Event, Progress
from smolvlm_core.backends.queue import Start, follow
from smolvlm_core.engine.encoding import EncodedPrompt, encode_prompt
from smolvlm_core.engine.sampling import sampling, stop_when, streamer
from smolvlm_core.errors import ContextTooSmall, LensError, OutOfMemoryError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import DEFAULT_DTYPE, POOL, Dtype, LoadedModel, ModelHandle
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings, Stats, StopReason

if TYPE_CHECKING:
    import torch

PREFILL_TOKENS = 512  # a cancel is heard at least this often while the prompt is read
TILES_AT_ONCE = {"cpu": 1, "mps": 4, "cuda": 16}


@dataclass
class _Kept:
    """The key-value cache of the last run and what stands at each of its places."""

    cache: Any = None
    identity: list[object] = field(default_factory=list)


class _Cancelled(Exception):
    pass


class TransformersBackend:
    """One model of the pool as a backend. Cheap to make; all of them for one model share its weights and worker."""

    def __init__(self, spec: ModelSpec, dtype: Dtype = "bfloat16") -> None:
        self.spec, self.dtype = spec, dtype
        self.name = f"{spec.title} · transformers {'bf16' if dtype == 'bfloat16' else 'fp32'}"

    @property
    def handle(self) -> ModelHandle:
        return POOL.get(self.spec, self.dtype)

    @property
    def revision(self) -> str:
        """The weights' commit on the hub, or 'local folder'; empty before they are loaded."""
        loaded = self.handle.loaded
        return loaded.revision if loaded else ""

    def capabilities(self) -> Capabilities:
        return Capabilities(images=True, video=True, streaming=True, context_tokens=self.spec.context_tokens)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`. A consumer that stops listening cancels the run."""
        self._refuse_if_too_long(prompt)
        return follow(lambda: self.handle, lambda handle: _Run(handle, prompt, settings, cancel), cancel)

    def prepare(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Startable`: the weights are loaded."""
        return follow(lambda: self.handle, lambda handle: Start(handle.ensure_loaded, cancel), cancel)

    @property
    def load_seconds(self) -> float | None:
        loaded = self.handle.loaded
        return loaded.load_seconds if loaded else None

    def close(self) -> None:
        POOL.release(self.handle)

    def _refuse_if_too_long(self, prompt: Prompt) -> None:
        images = self.spec.geometry.image_tokens(prompt.slots)
        if images >= self.spec.context_tokens:
            raise ContextTooSmall(
                f"The pictures alone take {images} tokens; {self.spec.title} has room for {self.spec.context_tokens}.",
                "Show fewer pictures or frames.",
            )


class _Run:
    """One answer, made on the worker's thread; `events` is what the asker reads."""

    def __init__(
        self, handle: ModelHandle, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event
    ) -> None:
        self.handle, self.prompt, self.settings, self.cancel = handle, prompt, settings, cancel
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.asked = self.started = time.perf_counter()
        self.first_token: float | None = None
        self.encoded: EncodedPrompt | None = None
        self.reused = self.new_tokens = self.peak_memory = self.weights_bytes = 0
        self.memory_of = ""

    def work(self) -> None:
        self.started = time.perf_counter()
        reason: StopReason = "failed"
        failure: BaseException | None = None
        try:
            self._check()
            reason = self._answer(self.handle.ensure_loaded(lambda text, share: self.events.put(Progress(text, share))))
        except _Cancelled:
            reason = "cancelled"
        except LensError as error:
            failure = error
        except BaseException as error:
            failure = self._in_words(error)
        if failure is not None or (reason == "cancelled" and self.new_tokens == 0):
            _forget(self.handle)
        self.events.put(self._stats(reason))
        if failure is not None:
            self.events.put(failure)

    def _in_words(self, error: BaseException) -> BaseException:
        """Memory errors become something a user can act on; bugs stay what they are."""
        import torch

        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in str(error).lower():
            worded = OutOfMemoryError(
                "The model ran out of memory while answering.",
                "Show fewer pictures or frames, or choose a smaller model.",
            )
            worded.__cause__ = error
            return worded
        return error

    def _answer(self, loaded: LoadedModel) -> StopReason:
        import torch

        if loaded.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.events.put(Progress("Preparing pictures" if self.prompt.slots else "Reading the question"))
        spec = self.handle.spec
        encoded = self.encoded = encode_prompt(self.prompt, spec, loaded.tokenizer, loaded.image_processor)
        room = spec.context_tokens - len(encoded.ids)
        if room < 1:
            raise ContextTooSmall(
                f"The conversation takes {len(encoded.ids)} tokens; {spec.title} has room for {spec.context_tokens}.",
                "Show fewer pictures or frames, or start a new conversation.",
            )
        with torch.inference_mode():
            kept = self._prefill(loaded, encoded)
            finished = self._decode(loaded, encoded, kept, min(self.settings.max_new_tokens, room))
        self._note_memory(loaded)
        if self.cancel.is_set():
            return "cancelled"
        if finished:
            return "end"
        return "context" if room < self.settings.max_new_tokens else "length"

    def _prefill(self, loaded: LoadedModel, encoded: EncodedPrompt) -> _Kept:
        """Put all of the prompt but its last token into the cache, from where the last run's cache still fits."""
        import torch
        from transformers import DynamicCache

        last = len(encoded.ids) - 1
        kept = _kept_of(self.handle)
        self.reused = min(_common_start(kept.identity, encoded.identity), last)
        if self.reused:
            if (surplus := kept.cache.get_seq_length() - self.reused) > 0:
                kept.cache.crop(-surplus)
        else:
            kept.cache = DynamicCache(config=loaded.model.config.get_text_config())
        kept.identity = encoded.identity[: self.reused]
        features = self._encode_tiles(loaded, encoded)
        core = loaded.model.model
        ids = torch.tensor([encoded.ids], device=loaded.model.device)
        embedded = core.get_input_embeddings()(ids)
        for start, tokens in features:
            embedded[0, start : start + len(tokens)] = tokens.to(embedded.dtype)
        for at in range(self.reused, last, PREFILL_TOKENS):
            self._check()
            self.events.put(Progress(f"Reading the prompt: {at} of {last} tokens", at / last))
            end = min(at + PREFILL_TOKENS, last)
            core.text_model(inputs_embeds=embedded[:, at:end], past_key_values=kept.cache, use_cache=True)
            kept.identity = encoded.identity[:end]
        self._note_memory(loaded)
        return kept

    def _encode_tiles(self, loaded: LoadedModel, encoded: EncodedPrompt) -> list[tuple[int, torch.Tensor]]:
        """(start, (tokens_per_tile, hidden)) for each tile that is not in the cache as a whole."""
        size = self.handle.spec.geometry.tokens_per_tile
        wanted = [i for i, start in enumerate(encoded.tile_starts) if start + size > self.reused]
        step = TILES_AT_ONCE.get(loaded.device, 1)
        out: list[tuple[int, torch.Tensor]] = []
        for at in range(0, len(wanted), step):
            self._check()
            self.events.put(Progress(f"Looking at picture tile {at + 1} of {len(wanted)}", at / len(wanted)))
            group = wanted[at : at + step]
            assert encoded.tiles is not None
            pixels = encoded.tiles[group].unsqueeze(0).to(loaded.model.device)
            with DEFAULT_DTYPE:
                found = loaded.model.model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
            flat = found[0] if isinstance(found, list | tuple) else found
            out += zip((encoded.tile_starts[i] for i in group), flat.reshape(-1, size, flat.shape[-1]).unbind(0))
        return out

    def _decode(self, loaded: LoadedModel, encoded: EncodedPrompt, kept: _Kept, most: int) -> bool:
        """Generate; True where the model ended by itself."""
        import torch

        self._check()
        ids = torch.tensor([encoded.ids], device=loaded.model.device)
        made = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=kept.cache,
            max_new_tokens=most,
            do_sample=False,
            repetition_penalty=self.settings.repetition_penalty,
            logits_processor=sampling(self.settings, loaded.model.device),
            stopping_criteria=[stop_when(self.cancel)],
            streamer=streamer(self.took, loaded.tokenizer),
        )[0].tolist()
        held = kept.cache.get_seq_length()
        kept.identity = [*encoded.identity, *made[len(encoded.ids) :]][:held]
        ends = loaded.model.generation_config.eos_token_id
        return made[-1] in (ends if isinstance(ends, list) else [ends])

    def took(self, text: str) -> None:
        """A new token; `text` is what can be shown of it."""
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.new_tokens += 1
        if text:
            self.events.put(Delta(text))

    def _check(self) -> None:
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
            new_tokens=self.new_tokens,
            time_to_first_token_seconds=self.first_token - self.asked if self.first_token is not None else None,
            tokens_per_second=(self.new_tokens - 1) / decoding if self.new_tokens > 1 and decoding > 0 else None,
            total_seconds=now - self.asked,
            queued_seconds=self.started - self.asked,
            peak_memory_bytes=self.peak_memory,
            memory_of=self.memory_of,
            weights_bytes=self.weights_bytes,
            prompt_fingerprint=self.prompt.fingerprint,
        )


def _kept_of(handle: ModelHandle) -> _Kept:
    if not isinstance(handle.kept, _Kept):
        handle.kept = _Kept()
    return handle.kept


def _forget(handle: ModelHandle) -> None:
    """After a run that ended in the middle of the prompt the cache may hold half of something."""
    handle.kept = None


def _common_start(a: Sequence[object], b: Sequence[object]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
