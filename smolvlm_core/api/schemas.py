"""What a chat request may contain: OpenAI's fields, and ours for clips. Fields that are unknown are listed in the answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smolvlm_core.prompt.generation import MAX_TOP_LOGPROBS
from smolvlm_core.prompt.template import VideoPrompt
from smolvlm_core.video import Strategy

MOST_MESSAGES = 1000
MOST_PARTS = 1000
MOST_STOPS = 16
StopText = Annotated[str, Field(max_length=1000)]


class Open(BaseModel):
    """Takes further fields, which have no effect: `ChatRequest.ignored` lists them."""

    model_config = ConfigDict(extra="allow")


class Text(Open):
    type: Literal["text", "input_text"]
    text: str


class Address(Open):
    """A data URI, or a web address where the server allows its host. `detail`: "low" is one tile, as for a frame of a clip."""

    url: str
    detail: str | None = None


class ImagePart(Open):
    type: Literal["image_url"]
    image_url: Address | str


class VideoPart(Open):
    type: Literal["video_url"]
    video_url: Address | str


class Input(Open):
    """`data`: base64 or a data URI. `file_id`: of a file that was uploaded to /v1/files. One of them."""

    data: str = ""
    file_id: str = ""


class InputImage(Open):
    """Ours, or as the Responses API has it: `image_url` or `file_id` beside `type`."""

    type: Literal["input_image"]
    input_image: Input = Input()
    image_url: str = ""
    file_id: str = ""


class InputVideo(Open):
    type: Literal["input_video"]
    input_video: Input


Part = Annotated[Text | ImagePart | VideoPart | InputImage | InputVideo, Field(discriminator="type")]


class ChatMessage(Open):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS, fail_fast=True)] | None = None


class StreamOptions(Open):
    include_usage: bool | None = False


class JsonSchema(Open):
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError('it is {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}')
        return self


class VideoOptions(Open):
    num_frames: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0)


class MediaOptions(Open):
    """As vLLM names them (its documentation, "Multimodal Inputs")."""

    video: VideoOptions | None = None


class ChatRequest(Open):
    """`temperature` is 0 where none is given: SmolVLM2 answers best so, and the same again."""

    model: str | None = ""
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=-1)
    max_completion_tokens: int | None = Field(None, ge=-1)
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.5, le=3)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: StopText | Annotated[list[StopText], Field(max_length=MOST_STOPS)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Any = None
    # Ours: which frames of a clip are shown, and how they are introduced
    num_frames: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0)
    frame_strategy: Strategy | None = None
    frame_range_seconds: tuple[float, float] | None = None
    video_prompt: VideoPrompt | None = None
    media_io_kwargs: MediaOptions | None = None

    @model_validator(mode="after")
    def _take_vllm_names(self) -> ChatRequest:
        """`num_frames` and `fps` where vLLM's clients write them."""
        if self.media_io_kwargs is not None and (video := self.media_io_kwargs.video) is not None:
            self.num_frames = self.num_frames if self.num_frames is not None else video.num_frames
            self.fps = self.fps if self.fps is not None else video.fps
        return self

    @property
    def wanted_tokens(self) -> int | None:
        """Of the answer at most; None where the request does not say. -1, as some clients send for no limit, is a large number."""
        wanted = self.max_completion_tokens or self.max_tokens
        return 2**31 if wanted == -1 else wanted

    def ignored(self) -> list[str]:
        """Names of fields that have no effect here. Those that are empty or null change nothing and are not listed."""
        extra = [*_extra(self), *(f"stream_options.{name}" for name in _extra(self.stream_options))]
        options = self.media_io_kwargs
        extra += [f"media_io_kwargs.{name}" for name in _extra(options)]
        extra += [f"media_io_kwargs.video.{name}" for name in _extra(options.video if options is not None else None)]
        for i, message in enumerate(self.messages):
            extra += [f"messages.{i}.{name}" for name in _extra(message) if name != "name"]
            parts = message.content if isinstance(message.content, list) else []
            for part in parts:
                inner = getattr(part, part.type, None)
                extra += [f"messages.{i}.{part.type}.{name}" for name in (*_extra(part), *_extra(inner))]
        if self.top_logprobs and not self.logprobs:
            extra.append("top_logprobs")
        return list(dict.fromkeys(extra))


def _extra(model: object) -> list[str]:
    found = (model.model_extra or {}) if isinstance(model, BaseModel) else {}
    return [name for name, value in found.items() if value not in (None, "", [], {}, False, "auto")]
