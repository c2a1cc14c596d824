"""One answer by a model in this process: encode the prompt, prefill the key-value cache, decode.

The prompt enters the cache in pieces, so that a cancel takes effect between any two of them. The cache stays for the next
turn of the same conversation. Everything here runs on the model's worker thread. Does not know queues, chats or the store.
"""

from __future__ import annotations

import time

from smolvlm_core.engine.answer import AnswerRun, Cancelled, end_tokens
from smolvlm_core.engine.decode import generate
from smolvlm_core.engine.encoding import EncodedPrompt
from smolvlm_core.engine.memory import PREFILL_TOKENS, drop_caches, memory_error, refuse_if_too_large, return_unused_ram
from smolvlm_core.engine.prefix_cache import PrefixCache
from smolvlm_core.engine.sampling import Logits, sampling, stop_when, streamer, token_logprob
from smolvlm_core.engine.state import EngineState, state_of
from smolvlm_core.errors import LensError
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.generation import Delta, StopReason, TokenLogprob


class Run(AnswerRun[LoadedModel]):
    """One answer. `events`: Stats at the end, always, with "failed" before an exception."""

    state: EngineState | None = None
    cache: PrefixCache | None = None

    def work(self) -> None:
        """Called on the worker's thread."""
        self.started = self.ready = time.perf_counter()
        reason: StopReason = "failed"
        failure: BaseException | None = None
        try:
            self.check_cancel()
            loaded = self.handle.ensure(self.report)
            self.ready = time.perf_counter()
            reason = self._answer(loaded)
        except Cancelled:
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
        self.events.put(self.stats(reason))
        if failure is not None:
            self.events.put(failure)

    def _answer(self, loaded: LoadedModel) -> StopReason:
        import torch

        if loaded.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        refuse_if_too_large(self.handle, self.spec, loaded, self.prompt, self.settings)
        encoded = self.encode(loaded)
        with torch.inference_mode():
            cache = self._prefill(loaded, encoded)
            ended = self._decode(loaded, encoded, cache, min(self.settings.max_new_tokens, self.room))
        self._note_memory(loaded)
        if self.cancel.is_set():
            return "cancelled"
        if ended:
            return "end"
        return "context" if self.room < self.settings.max_new_tokens else "length"

    def _prefill(self, loaded: LoadedModel, encoded: EncodedPrompt) -> PrefixCache:
        """Put all of the prompt but its last token into the cache, from where the last run's cache still fits."""
        import torch

        last = len(encoded.ids) - 1
        self.state = state_of(self.handle, loaded)
        cache = self.cache = self.state.prefixes.open(encoded.identity, last, fresh=self.cold)
        self.reused = len(cache.identity)
        features = self.encode_tiles(loaded, encoded)
        if features:
            return_unused_ram()
        core = loaded.model.model
        ids = torch.tensor([encoded.ids], device=loaded.model.device)
        embedded = core.get_input_embeddings()(ids)  # (1, L, hidden)
        for start, tokens in features:
            embedded[0, start : start + len(tokens)] = tokens.to(embedded.dtype)
        for at in range(self.reused, last, PREFILL_TOKENS):
            self.check_cancel()
            self.report(f"Reading the prompt: {at:,} of {last:,} tokens", at / last)
            end = min(at + PREFILL_TOKENS, last)
            core.text_model(inputs_embeds=embedded[:, at:end], cache=cache.cache, use_cache=True)
            cache.identity = encoded.identity[:end]
        self._note_memory(loaded)
        return cache

    def _decode(self, loaded: LoadedModel, encoded: EncodedPrompt, cache: PrefixCache, max_new_tokens: int) -> bool:
        """Generate. True where the model ended its answer itself."""
        import torch

        self.check_cancel()
        ids = torch.tensor([encoded.ids], device=loaded.model.device)
        logits = Logits() if self.settings.top_logprobs is not None else None

        def took(token: int, text: str) -> None:
            self.count_token()
            logprobs: tuple[TokenLogprob, ...] = ()
            if logits is not None and token not in end_tokens(loaded):
                found = logits.logprobs_of(token, self.settings.top_logprobs or 0)
                logprobs = (token_logprob(loaded.tokenizer, token, *found),)
            if text or logprobs:
                self.events.put(Delta(text, logprobs))

        sequence = generate(
            loaded,
            cache.cache,
            ids,
            max_new_tokens=max_new_tokens,
            repetition_penalty=self.settings.repetition_penalty,
            logits_processor=sampling(
                self.settings, loaded.model.device, [logits.processor] if logits is not None else []
            ),
            stopping_criteria=[stop_when(self.cancel)],
            streamer=streamer(took, loaded.tokenizer),
        )
        cache.identity = [*encoded.identity, *sequence[len(encoded.ids) :]][: cache.cache.get_seq_length()]
        return sequence[-1] in end_tokens(loaded)

    def _note_memory(self, loaded: LoadedModel) -> None:
        import psutil
        import torch

        on_gpu = loaded.device == "cuda"
        used = torch.cuda.max_memory_allocated() if on_gpu else psutil.Process().memory_info().rss
        self.peak_memory = max(self.peak_memory, int(used))
        self.memory_of, self.weights_bytes = "the app's GPU memory" if on_gpu else "the app's RAM", loaded.memory_bytes
