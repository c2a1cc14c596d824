"""Clips: facts, decoders, choice of times, frames. Does not know models or chats."""

from smolvlm_core.video.clip import ClipFacts, Frame, SampledClip
from smolvlm_core.video.decoders import VIDEO_EXTENSIONS, SamplingCancelled, is_clip, is_clip_file, open_clip
from smolvlm_core.video.sampling import Strategy, damage_notes, sample_clip, take_frames
from smolvlm_core.video.strategies import count_that_fits, default_frame_count, evenly_spaced_times

__all__ = [
    "VIDEO_EXTENSIONS",
    "ClipFacts",
    "Frame",
    "SampledClip",
    "SamplingCancelled",
    "Strategy",
    "count_that_fits",
    "damage_notes",
    "default_frame_count",
    "evenly_spaced_times",
    "is_clip",
    "is_clip_file",
    "open_clip",
    "sample_clip",
    "take_frames",
]
