"""Clips: facts, decoders, choice of times, frames. Knows no models and no chats."""

from smolvlm_core.video.clip import ClipFacts, Frame, SampledClip
from smolvlm_core.video.decoders import VIDEO_EXTENSIONS, open_clip
from smolvlm_core.video.sampling import default_frame_count, evenly_spaced_times, sample_clip

__all__ = [
    "VIDEO_EXTENSIONS",
    "ClipFacts",
    "Frame",
    "SampledClip",
    "default_frame_count",
    "evenly_spaced_times",
    "open_clip",
    "sample_clip",
]
