"""What an answer looks like in OpenAI's form, with what the model was given in `smolvlm_lens`. Knows no routes and runs nothing."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict
from typing import Any

from smolvlm_core.api.conversation import Asked
from smolvlm_core.api.schemas import ChatRequest
from smolvlm_core.api.stops import Stops
from smolvlm_core.backends.base import Backend
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats, TokenLogprob

FINISH = {"end": "stop", "length": "length", "context": "length", "cancelled": "stop", "failed": "stop"}


class Writer:
    """One answer. `settings`, `asked` and `revision` are set once they are known, `stats` at the end.

    `label`: the model's id for figures; requests name what they like before it is chosen.
    """

    def __init__(self, chat: ChatRequest, default: str) -> None:
        self.model, self.label = chat.model or default, "unknown"
        self.settings = GenerationSettings()
        self.asked: Asked | None = None
        self.stats: Stats | None = None
        self.revision = ""
        self._chat, self._name = chat, ""
        self._verdict: str | None = None
        self._ignored = chat.ignored()
        self._id, self._created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        self._stops = Stops([chat.stop] if isinstance(chat.stop, str) else chat.stop or [])
        self._text = ""
        self._logprobs: list[dict[str, Any]] = []

    def begin(self, key: str, backend: Backend, verdict: str | None) -> None:
        """The model is chosen."""
        self.model = self.label = key
        self._name, self._verdict = backend.name, verdict

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence has come."""
        return self._stops.found

    def add(self, delta: Delta) -> str:
        """Takes a piece of the answer; returns what can be passed on."""
        text = self._stops.add(delta.text)
        if not self.stopped:
            self._logprobs += self.logprobs_of(delta)
        self._text += text
        return text

    def rest(self) -> str:
        text = self._stops.rest()
        self._text += text
        return text

    def logprobs_of(self, event: Event) -> list[dict[str, Any]]:
        return [_logprob(token) for token in event.logprobs] if isinstance(event, Delta) and not self.stopped else []

    def completion(self) -> dict[str, Any]:
        """The whole answer."""
        message = {"role": "assistant", "content": self._text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": self._finish,
            "logprobs": self._content(self._logprobs),
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": self.usage(),
            "smolvlm_lens": self.given(),
        }

    def chunk(self, delta: dict[str, Any], logprobs: list[dict[str, Any]] | None = None, **more: Any) -> str:
        """A server-sent event with the next piece."""
        choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": self._content(logprobs or []), **more}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice], **self._no_usage})

    def ending(self) -> list[str]:
        """The last events: why it ended and what the model was given, the usage where it is wanted, and the end mark."""
        last = {"index": 0, "delta": {}, "finish_reason": self._finish, "logprobs": None}
        head = self._head("chat.completion.chunk")
        events = [_event({**head, "choices": [last], "smolvlm_lens": self.given(), **self._no_usage})]
        if self._no_usage:
            events.append(_event({**head, "choices": [], "usage": self.usage()}))
        return [*events, "data: [DONE]\n\n"]

    def usage(self) -> dict[str, Any]:
        """OpenAI's counts, with image tokens and the times of the frames that were shown."""
        stats = self.stats or Stats("failed")
        return {
            "prompt_tokens": stats.prompt_tokens,
            "completion_tokens": stats.new_tokens,
            "total_tokens": stats.prompt_tokens + stats.new_tokens,
            "prompt_tokens_details": {"cached_tokens": stats.reused_tokens, "image_tokens": stats.image_tokens},
            "frames": [frame for clip in self._media() for frame in clip.get("frames", [])],
        }

    def given(self) -> dict[str, Any]:
        """What the model was given, what it cost, and what was ignored."""
        warnings = []
        if self._verdict == "blind" and self._media():
            warnings.append("The last vision check found that this model does not see pictures.")
        if (self._chat.wanted_tokens or 0) > self.settings.max_new_tokens:
            warnings.append(f"max_tokens is limited to {self.settings.max_new_tokens}.")
        return {
            "backend": self._name,
            "weights": self.revision,
            "vision_check": self._verdict,
            "media": self._media(),
            "prompt": self.asked.prompt.text if self.asked is not None else "",
            "settings": asdict(self.settings),
            "stats": asdict(self.stats) if self.stats is not None else None,
            "ignored": self._ignored,
            "warnings": warnings,
        }

    def _media(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for a in self.asked.attachments if self.asked is not None else ():
            row: dict[str, Any] = {
                "kind": a.kind,
                "name": a.name,
                "sha256": a.sha256,
                "width": a.width,
                "height": a.height,
                "notes": list(a.notes),
            }
            if a.kind == "video":
                frames = [{"timestamp_seconds": f.timestamp_seconds, "frame_index": f.frame_index} for f in a.frames]
                row |= {
                    "duration_seconds": a.duration_seconds,
                    "decoder": a.decoder,
                    "strategy": a.strategy,
                    "frames": frames,
                }
            rows.append(row)
        return rows

    @property
    def _no_usage(self) -> dict[str, None]:
        """In every event but the last, where usage is wanted."""
        options = self._chat.stream_options
        return {"usage": None} if options is not None and options.include_usage else {}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.model}

    @property
    def _finish(self) -> str:
        return "stop" if self.stopped or self.stats is None else FINISH[self.stats.stop_reason]

    def _content(self, logprobs: list[dict[str, Any]]) -> dict[str, Any] | None:
        return {"content": logprobs} if self._chat.logprobs else None


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    top = [{"token": text, "logprob": value, "bytes": list(text.encode())} for text, value in token.top]
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode()), "top_logprobs": top}
