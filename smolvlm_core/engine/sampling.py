"""What transformers' `generate` is given: a streamer, a stopping criterion, samplers. Knows tokens; not prompts or queues."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from smolvlm_core.prompt.generation import GenerationSettings, TokenLogprob
from smolvlm_core.prompt.logprobs import Likely, logprobs_of

if TYPE_CHECKING:
    import torch


class TokenText:
    """The text of an answer, token by token. Waits with the bytes of a character until it is complete."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self._stream, self._tokenizer, self._begun = DecodeStream(skip_special_tokens=True), tokenizer, False

    def add(self, token: int) -> str:
        """What can be shown now; "" where the token does not complete a character."""
        text = self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        text = text if self._begun else text.lstrip(" ")
        self._begun = self._begun or bool(text)
        return text


def token_logprob(tokenizer: Any, token: int, logprob: float, likely: Sequence[Likely]) -> TokenLogprob:
    """With the tokens as text."""
    return TokenLogprob(
        tokenizer.decode([token]), logprob, tuple((tokenizer.decode([t]), value) for t, value in likely)
    )


def streamer(took: Callable[[int, str], None], tokenizer: Any) -> Any:
    """Calls `took` with each new token and its text: see `TokenText.add`."""
    from transformers.generation.streamers import BaseStreamer

    class Streamer(BaseStreamer):  # type: ignore[misc]
        """Receives the prompt first, then each new token."""

        def __init__(self) -> None:
            self._text = TokenText(tokenizer)
            self._prompt_seen = False

        def put(self, value: torch.Tensor) -> None:
            if not self._prompt_seen:
                self._prompt_seen = True
                return
            for token in value.reshape(-1).tolist():
                took(token, self._text.add(token))

        def end(self) -> None:
            pass

    return Streamer()


class Logits:
    """Keeps the logits of the newest place. `processor` is for `generate`, before any sampler."""

    def __init__(self) -> None:
        from transformers import LogitsProcessor

        self._scores: torch.Tensor | None = None
        logits = self

        class Keep(LogitsProcessor):  # type: ignore[misc]
            def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
                logits._scores = scores
                return scores

        self.processor = Keep()

    def logprobs_of(self, token: int, count: int) -> tuple[float, tuple[Likely, ...]]:
        """See `prompt.logprobs`."""
        assert self._scores is not None
        return logprobs_of(self._scores[0].float().cpu().numpy(), token, count)


def stop_when(cancel: threading.Event) -> Any:
    import torch
    from transformers import StoppingCriteria

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
            return torch.full((input_ids.shape[0],), cancel.is_set(), dtype=torch.bool, device=input_ids.device)

    return Stop()


def sampling(settings: GenerationSettings, device: Any, first: Sequence[Any] = ()) -> Any:
    """The processors `first`, then temperature and top-p, then Gumbel noise from a generator of this run: the largest value is then an exact sample.

    `generate` draws from torch's global generator, which the threads of other models use too. The same seed would not give
    the same answer.
    """
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    if settings.temperature == 0:
        return LogitsProcessorList(first)

    class Gumbel(LogitsProcessor):  # type: ignore[misc]
        def __init__(self) -> None:
            self._generator = torch.Generator(device=device).manual_seed(settings.seed)

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            noise = torch.empty_like(scores, dtype=torch.float32).exponential_(generator=self._generator)
            return scores.float() - noise.log()

    steps = [TemperatureLogitsWarper(settings.temperature)]
    if settings.top_p < 1:
        steps.append(TopPLogitsWarper(settings.top_p))
    return LogitsProcessorList([*first, *steps, Gumbel()])
