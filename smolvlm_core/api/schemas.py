"""What a chat request may contain: OpenAI's fields, and ours for clips. Fields that are unknown are listed in the answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smolvlm_core.prompt.generation import MAX_TOP_LOGPROBS
from smolvlm_core.prompt.template import VideoPrompt
from smolvlm_core.video import Strategy


class Text(BaseModel):
    type: Literal["text", "input_text"]
    text: str


class Address(BaseModel):
    """A data URI, or a web address where the server allows its host. `detail`: "low" is one tile, as for a frame of a clip."""

    model_config = ConfigDict(extra="allow")
    url: str
    detail: str | None = None


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: Address | str


class VideoPart(BaseModel):
    type: Literal["video_url"]
    video_url: Address | str


class Input(BaseModel):
    """`data`: base64 or a data URI. `file_id`: of a file that was uploaded to /v1/files. One of them."""

    model_config = ConfigDict(extra="allow")
    data: str = ""
    file_id: str = ""


class InputImage(BaseModel):
    type: Literal["input_image"]
    input_image: Input


class InputVideo(BaseModel):
    type: Literal["input_video"]
    input_video: Input


Part = Annotated[Text | ImagePart | VideoPart | InputImage | InputVideo, Field(discriminator="type")]


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")
    include_usage: bool = False


class VideoOptions(BaseModel):
    model_config = ConfigDict(extra="allow")
    num_frames: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0)


class MediaOptions(BaseModel):
    """As vLLM names them (its documentation, "Multimodal Inputs")."""

    model_config = ConfigDict(extra="allow")
    video: VideoOptions | None = None


class ChatRequest(BaseModel):
    """`temperature` is 0 where none is given: SmolVLM2 answers best so, and the same again."""

    model_config = ConfigDict(extra="allow")
    model: str = ""
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.5, le=3)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    n: Literal[1] | None = None
    response_format: dict[str, Any] | None = None
    # Ours: which frames of a clip are shown, and how they are introduced
    num_frames: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0)
    frame_strategy: Strategy = "even"
    frame_range_seconds: tuple[float, float] | None = None
    video_prompt: VideoPrompt = "processor"
    media_io_kwargs: MediaOptions | None = None

    @model_validator(mode="after")
    def _take_vllm_names(self) -> ChatRequest:
        """`num_frames` and `fps` where vLLM's clients write them."""
        if self.media_io_kwargs is not None and (video := self.media_io_kwargs.video) is not None:
            self.num_frames = self.num_frames if self.num_frames is not None else video.num_frames
            self.fps = self.fps if self.fps is not None else video.fps
        return self

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
                extra += [f"messages.{i}.{part.type}.{name}" for name in _extra(getattr(part, part.type, None))]
        return list(dict.fromkeys(extra))


def _extra(model: object) -> list[str]:
    found = (model.model_extra or {}) if isinstance(model, BaseModel) else {}
    return [name for name, value in found.items() if value not in (None, "", [], {}, False, "auto")]
