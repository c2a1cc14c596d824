"""Decoders behind one small interface, best first."""

from smolvlm_core.video.decoders.base import Clip, SamplingCancelled, Source
from smolvlm_core.video.decoders.choice import VIDEO_EXTENSIONS, is_clip, is_clip_file, open_clip, open_with_each

__all__ = [
    "VIDEO_EXTENSIONS",
    "Clip",
    "SamplingCancelled",
    "Source",
    "is_clip",
    "is_clip_file",
    "open_clip",
    "open_with_each",
]
