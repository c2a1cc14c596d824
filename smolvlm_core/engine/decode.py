"""How answers are decoded: with a cache that grows, or with one of fixed length and compiled code, on GPUs where that is faster.

The growing cache (DynamicCache) stays the truth. It holds the prompt, can be cut and reused, and is what other modules know.
For compiled decode its tensors are copied into a StaticCache, which is made once for each loaded model: compiled code and CUDA
graphs need fixed shapes and addresses. Afterwards the new places are copied back. transformers compiles by itself what
`generate` runs on a GPU with a StaticCache (5.23.0, generation/utils.py, `_valid_auto_compile_criteria`); the last token of the
prompt still runs uncompiled.

Everything here runs on the model's worker thread, because CUDA graphs belong to the thread that recorded them. Whether compiled
decode is used is decided in `decode_choice`. Does not know prompts, pictures or the store.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from smolvlm_core.models.load import LoadedModel

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
STATIC_TOKENS = 4096  # longer conversations are decoded with the growing cache: each token reads the whole fixed one


class StaticDecode:
    """Decoding with a cache of `tokens` places. `disable_compile` is for tests; transformers never compiles on a CPU."""

    def __init__(self, model: Any, tokens: int, *, disable_compile: bool = False) -> None:
        from transformers import StaticCache

        self._model, self.tokens, self._disable_compile = model, tokens, disable_compile
        self._cache = StaticCache(config=model.config.get_text_config(), max_cache_len=tokens)

    def fits(self, prompt_tokens: int, max_new_tokens: int) -> bool:
        return prompt_tokens + max_new_tokens <= self.tokens

    def generate(self, cache: Any, **options: Any) -> torch.Tensor:
        """As `model.generate`: (1, L + n) tokens. `cache` is left as it was where this raises, else has all places."""
        self._fill(cache)
        sequence: torch.Tensor = self._model.generate(
            cache=self._cache, disable_compile=self._disable_compile, **options
        )
        self._copy_back(cache)
        return sequence

    def _fill(self, cache: Any) -> None:
        """Places after the filled ones keep old values: the mask hides them until they are written."""
        for static, layer in zip(self._cache.layers, cache.layers, strict=True):
            if not static.is_initialized:
                static.lazy_initialization(layer.keys, layer.values)
            length = layer.keys.shape[-2]
            static.keys[:, :, :length].copy_(layer.keys)  # in place: the addresses must stay
            static.values[:, :, :length].copy_(layer.values)
            static.cumulative_length.fill_(length)

    def _copy_back(self, cache: Any) -> None:
        import torch

        length = int(self._cache.layers[0].cumulative_length)
        for static, layer in zip(self._cache.layers, cache.layers, strict=True):
            have = layer.keys.shape[-2]
            layer.keys = torch.cat([layer.keys, static.keys[:, :, have:length]], dim=-2)
            layer.values = torch.cat([layer.values, static.values[:, :, have:length]], dim=-2)


def generate(
    loaded: LoadedModel, cache: Any, ids: torch.Tensor, *, max_new_tokens: int, streamer: Any, **options: Any
) -> list[int]:
    """Greedy decoding after a prompt, all of which but the last token is in `cache` (a DynamicCache).

    Where compiled decode fails, the answer goes on with the growing cache, and the model keeps to that.

    Args:
        ids: (1, L) the whole prompt.
        streamer: gets the prompt once, then each new token.
        options: further arguments of `model.generate`.

    Returns:
        The prompt's tokens and the new ones.
    """
    import torch

    static, relay = loaded.static_decode, _Relay.around(streamer)
    common = {"do_sample": False, "streamer": relay, **options}
    if static is not None and cache.get_seq_length() and static.fits(ids.shape[1], max_new_tokens):
        try:
            return _tokens(
                static.generate(
                    cache,
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=max_new_tokens,
                    **common,
                )
            )
        except Exception as error:
            logger.warning("compiled decode failed; the answer goes on without it", exc_info=True)
            traceback.clear_frames(error.__traceback__)
            loaded.static_decode, static = None, None
            loaded.decode_note = "compiled decode is off: it failed"
            if loaded.on_decode_failure is not None:
                loaded.on_decode_failure(error)
    said = relay.restart()
    if said:
        ids = torch.cat([ids, torch.tensor([said], device=ids.device, dtype=ids.dtype)], dim=1)
    return _tokens(
        loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            cache=cache,
            max_new_tokens=max(1, max_new_tokens - len(said)),
            **common,
        )
    )


def _tokens(sequence: torch.Tensor) -> list[int]:
    tokens: list[int] = sequence[0].tolist()
    return tokens


class _Relay:
    """Hands a streamer the prompt once and each new token once, though `generate` may be called twice for one answer."""

    @staticmethod
    def around(streamer: Any) -> Any:
        from transformers.generation.streamers import BaseStreamer

        class Relay(BaseStreamer):  # type: ignore[misc]
            def __init__(self) -> None:
                self._awaits_prompt, self._prompt_given, self._said = True, False, list[int]()

            def put(self, value: torch.Tensor) -> None:
                is_prompt, self._awaits_prompt = self._awaits_prompt, False
                if not is_prompt:
                    self._said += value.reshape(-1).tolist()
                if not is_prompt or not self._prompt_given:
                    streamer.put(value)
                self._prompt_given = True

            def end(self) -> None:
                streamer.end()

            def restart(self) -> list[int]:
                """The tokens so far. The next value is a prompt again."""
                self._awaits_prompt = True
                return list(self._said)

        return Relay()
