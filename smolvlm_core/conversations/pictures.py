"""Pictures for people: small, as a browser can show them, and parts of them. Does not know the store or pages."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from smolvlm_core import media, pixels
from smolvlm_core.errors import MediaError

SMALL_EDGE = 320  # px: twice the width on a page, for sharp screens
# Browsers show these as Pillow decodes them, where the other conditions of `_is_shown_alike` hold.
SHOWN_BY_BROWSERS = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
# PNG would make these several times larger.
LOSSY = ("image/jpeg", "image/heif", "image/heic", "image/avif", "image/webp")
SMALLEST_PART = 16  # px: one patch of the vision encoder
_CROP = re.compile(r" \(crop \d+×\d+\)$")


@dataclass(frozen=True)
class BrowserFile:
    """A picture file that browsers can show: its bytes and MIME type."""

    data: bytes
    mime: str


@dataclass(frozen=True)
class Region:
    """A part of an upright picture, in pixels of the size that its attachment names."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


def small_file(image: Image.Image) -> BrowserFile:
    return BrowserFile(media.jpeg_bytes(media.thumbnail(image, SMALL_EDGE)), "image/jpeg")


def file_of_image(image: Image.Image) -> BrowserFile:
    return BrowserFile(media.png_bytes(image), "image/png")


def browser_file(data: bytes, name: str) -> BrowserFile:
    """The whole picture, as the model is shown it: upright, the first of several frames. The bytes as they are where a browser
    shows the same. Raises MediaError."""
    if (mime := _shown_alike(data)) is not None:
        return BrowserFile(data, mime)
    picture = media.open_image(data, name)
    if picture.mime in LOSSY:
        return BrowserFile(media.jpeg_bytes(picture.image, quality=92), "image/jpeg")
    return file_of_image(picture.image)


def _shown_alike(data: bytes) -> str | None:
    """The MIME type of a file that a browser shows as `media.open_image` decodes it; None for any other."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            turned = image.getexif().get(pixels.ORIENTATION, 1) != 1 and image.format not in ("JPEG", "MPO")
            several = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
            plain = image.mode in ("RGB", "RGBA", "L", "LA", "P", "1")
            reduced = pixels.reduction(*image.size) > 1
            return SHOWN_BY_BROWSERS[image.format or ""] if plain and not (turned or several or reduced) else None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None


def crop(data: bytes, name: str, region: Region) -> tuple[bytes, str]:
    """A part of a stored picture as PNG, in full resolution even where the picture itself is reduced, and its name.

    Raises:
        MediaError: the region is too small or not within the picture, or the picture cannot be decoded.
    """
    whole = media.open_image(data, name)
    _check(region, whole.width, whole.height)
    part = media.open_region(data, whole, _box(region))
    return media.png_bytes(part), f"{_CROP.sub('', name)} (crop {part.width}×{part.height})"


def _check(region: Region, width: int, height: int) -> None:
    if region.width < SMALLEST_PART or region.height < SMALLEST_PART:
        raise MediaError(
            f"This part is {region} pixels, which is too small to recognize anything.",
            f"Choose at least {SMALLEST_PART} × {SMALLEST_PART} pixels.",
        )
    left, top, right, bottom = _box(region)
    if left < 0 or top < 0 or right > width or bottom > height:
        raise MediaError(
            f"This part ({left}, {top} to {right}, {bottom}) is not within the picture of {width} × {height} pixels.",
            "Choose a part inside the picture.",
        )


def _box(region: Region) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    return region.left, region.top, region.left + region.width, region.top + region.height
