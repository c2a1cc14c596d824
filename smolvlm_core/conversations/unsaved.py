"""Pictures and clips of questions that are not kept in the store: those of the command line, the API and batches.

Knows media and clips. Does not know the store, models or who asks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from smolvlm_core import media
from smolvlm_core.conversations.attachments import describe_clip, image_attachment
from smolvlm_core.errors import MediaError
from smolvlm_core.prompt.messages import Attachment
from smolvlm_core.video import ClipFacts, Strategy, default_frame_count, sample_clip
from smolvlm_core.video.sampling import STRATEGIES, FrameProgress

MAX_FRAMES = 512  # all of them are in memory at once


@dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """Which frames of a clip to show: `frames`, or `fps` of them for each second. Neither: the model's own rule.

    Raises:
        ValueError: a value is outside its range, or both are given.
    """

    frames: int | None = None
    fps: float | None = None
    strategy: Strategy = "even"
    range_seconds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.fps is not None:
            raise ValueError("frames and fps are both set; set one of them")
        if self.frames is not None and not 1 <= self.frames <= MAX_FRAMES:
            raise ValueError(f"frames is {self.frames}; 1 to {MAX_FRAMES} is allowed")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps is {self.fps}; more than 0, up to 1000 is allowed")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy is {self.strategy!r}; it is one of {', '.join(STRATEGIES)}")
        if self.range_seconds is not None and not 0 <= self.range_seconds[0] <= self.range_seconds[1]:
            raise ValueError(f"range_seconds is {self.range_seconds}; 0 <= start <= end is needed")

    def count(self, facts: ClipFacts, model_fps: float, model_max_frames: int) -> int:
        """Frames of a clip. The model's largest number limits its own rule and `fps`; a number that is asked for stays."""
        if self.frames is not None:
            return self.frames
        start, end = self.range_seconds or (0.0, facts.duration_seconds)
        length = max(0.0, min(end, facts.duration_seconds) - start)
        return default_frame_count(length, self.fps or model_fps, model_max_frames)


class UnsavedMedia:
    """The decoded pictures and frames of one question or conversation, by SHA-256. `open` is for `build_prompt`.

    `max_pixels`: of all of them together; None for no limit. Adding more raises MediaError.
    """

    def __init__(self, max_pixels: int | None = None) -> None:
        self._images: dict[str, Image.Image] = {}
        self._max_pixels = max_pixels

    def open(self, sha256: str) -> Image.Image:
        return self._images[sha256]

    def add_image(self, data: bytes, name: str = "image") -> Attachment:
        """Raises MediaError."""
        return self.add_picture(media.open_image(data, name))

    def add_picture(self, picture: media.Picture) -> Attachment:
        self.add_frames({picture.sha256: picture.image})
        return image_attachment(picture)

    def add_frames(self, images: Mapping[str, Image.Image]) -> None:
        """Pictures or frames by SHA-256 that were decoded before. Raises MediaError where they are too many."""
        self._images.update(images)
        pixels = sum(image.width * image.height for image in self._images.values())
        if self._max_pixels is not None and pixels > self._max_pixels:
            raise MediaError(
                f"The pictures have more than {self._max_pixels // 1_000_000} megapixels together.",
                "Resize them, or ask about them in separate conversations.",
            )

    def add_clip(
        self,
        source: Path | bytes,
        name: str,
        sampling: ClipSampling,
        *,
        model_fps: float,
        model_max_frames: int,
        cancel: threading.Event | None = None,
        progress: FrameProgress | None = None,
    ) -> Attachment:
        """Sample a clip, a path or its bytes. `model_fps` and `model_max_frames`: the model's own rule.

        Raises:
            MediaError: the clip cannot be read.
            SamplingCancelled: `cancel` was set.
        """
        sampled = sample_clip(
            source,
            lambda facts: sampling.count(facts, model_fps, model_max_frames),
            sampling.range_seconds,
            sampling.strategy,
            cancel=cancel,
            progress=progress,
        )
        sha256 = media.sha256_of(source) if isinstance(source, bytes) else ""
        attachment, _ = describe_clip(sha256, name, sampled, sampling.range_seconds, sampling.strategy)
        self.add_frames({ref.sha256: frame.image for ref, frame in zip(attachment.frames, sampled.frames)})
        return attachment
