"""A decoded frame → upright RGB with square pixels, scaled while colours are converted."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from smolvlm_core.video.clip import Pixels
from smolvlm_core.video.decoders import hdr
from smolvlm_core.video.decoders.base import scaled_size

if TYPE_CHECKING:
    import av


class Orientation(NamedTuple):
    """How to turn the stored frame upright, in this order."""

    transpose: bool = False
    flip_horizontally: bool = False
    flip_vertically: bool = False

    @property
    def degrees_clockwise(self) -> int:
        """The rotation alone, without mirroring."""
        if self.transpose:
            return 90 if self.flip_horizontally else 270
        return 180 if self.flip_vertically else 0


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """From the display matrix, to the nearest right angle. Its rows are (a, b, u), (c, d, v), (x, y, w), and a stored point
    (p, q) is shown at (a p + c q, b p + d q). Source: FFmpeg's libavutil/display.h."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    if abs(a) >= abs(b):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def upright(pixels: Pixels, orientation: Orientation) -> Pixels:
    """(height, width, 3) as stored → as shown."""
    if orientation.transpose:
        pixels = pixels.swapaxes(0, 1)
    if orientation.flip_horizontally:
        pixels = pixels[:, ::-1]
    if orientation.flip_vertically:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def pixels_of(frame: av.VideoFrame, orientation: Orientation, pixel_aspect: float, max_edge: int) -> Pixels:
    """(height, width, 3), at most `max_edge` px a side.

    Of an interlaced frame, one field is shown: the other is from another moment. HDR is converted to standard dynamic range.
    Transparent parts are shown on white, as for pictures.
    """
    width, height = scaled_size(max(1, round(frame.width * pixel_aspect)), frame.height, max_edge)
    if frame.interlaced_frame:
        field = frame.reformat(format="rgb24").to_ndarray()[::2]
        pixels = np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))
    elif frame.format.has_palette or any(part.is_alpha for part in frame.format.components):
        rgba = Image.fromarray(frame.reformat(width, height, "rgba").to_ndarray(), "RGBA")
        pixels = np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))
    elif frame.color_trc in (hdr.PQ, hdr.HLG):
        deep: Any = frame.reformat(width, height, "rgb48le").to_ndarray()
        pixels = hdr.to_sdr(deep, int(frame.color_trc), int(frame.color_primaries))
    else:
        pixels = frame.reformat(width, height, "rgb24").to_ndarray()
    return upright(pixels, orientation)
