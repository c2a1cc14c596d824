"""Opens, checks, encodes and hashes images.

Knows file formats, orientation, color spaces and size limits. Does not know models or conversations.
"""

from __future__ import annotations

import base64
import hashlib
import io
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from smolvlm_core import pixels
from smolvlm_core.errors import MediaError
from smolvlm_core.reading import read_file

MAX_IMAGE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 100_000_000  # 100 megapixels: 400 MB once decoded
MAX_ASPECT_RATIO = 200
MAX_DECODED_PIXELS = (
    2_000_000_000  # over all scans of a progressive JPEG: some seconds; cameras and editors write about ten
)
JPEG_SCAN = b"\xff\xda"  # this marker cannot occur within compressed data (ITU-T T.81, B.1.1.5)
MAX_COUNTED_FRAMES, MAX_COUNTING_SECONDS = 1000, 1.0
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif")
_FORMAT_OF_EXTENSION = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "heic": "HEIF"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image: upright, 8-bit RGB, no alpha channel. `notes` lists every change made while decoding."""

    image: Image.Image
    sha256: str
    name: str
    mime: str
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height


def decoded_bytes(image: Image.Image) -> int:
    """Size in memory. Pillow stores RGB with four bytes a pixel (Pillow, "Concepts", modes)."""
    return image.width * image.height * {"RGB": 4}.get(image.mode, len(image.getbands()))


def data_uri(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def open_image(data: bytes, name: str = "image") -> Picture:
    """Decode an image file.

    Raises:
        MediaError: the file is empty, too large, damaged, not an image, or has an unsupported format.
    """
    if not data:
        raise MediaError(f"{name} is empty.", "Choose another file.")
    if len(data) > MAX_IMAGE_BYTES:
        raise MediaError(
            f"{name} has {len(data) / 2**20:.0f} MB. The limit for images is {MAX_IMAGE_BYTES // 2**20} MB.",
            "Resize or compress it and try again.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow only warns about large images; `_check_size` refuses them
        try:
            opened = Image.open(io.BytesIO(data), formats=_readable_formats())
        except UnidentifiedImageError:
            raise MediaError(
                f"{name} is not an image in a supported format.", f"Use one of: {', '.join(IMAGE_EXTENSIONS)}."
            ) from None
        except Image.DecompressionBombError as error:
            raise _too_many_pixels(name, "far more than") from error
        except Exception as error:  # Pillow raises many types for damaged files, TypeError included
            raise _damaged(name, error) from error
        _check_size(opened, name)
        _check_passes(opened, data, name)
        try:
            notes = _notes_on(opened, name, _count_frames(opened, data))
            opened.seek(0)
            size, factor = opened.size, pixels.reduction(*opened.size)
            if factor > 1:  # a JPEG can be decoded at a half, a quarter or an eighth
                opened.draft(opened.mode, (size[0] // factor, size[1] // factor))
            opened.load()
            image = pixels.upright_rgb(opened)
            if factor > 1:
                notes.append(_reduction_note(size, image.size))
        except Exception as error:  # as above
            raise _damaged(name, error) from error
    mime = Image.MIME.get(opened.format or "", "application/octet-stream")
    return Picture(image=image, sha256=sha256_of(data), name=name, mime=mime, notes=tuple(notes))


def open_image_file(path: Path) -> Picture:
    """Decode an image file from a path. Also raises MediaError where it is missing, cannot be read, or is a device or pipe."""
    return open_image(read_file(path, MediaError, MAX_IMAGE_BYTES), path.name)


def open_region(data: bytes, whole: Picture, box: tuple[int, int, int, int]) -> Image.Image:
    """A part of a picture that `open_image` decoded: upright 8-bit RGB.

    `box`: left, top, right, bottom in pixels of `whole`, within it. Where `whole` is reduced, the part is not, if it has at most
    as many pixels as a picture may keep. Raises MediaError.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_readable_formats()) as opened:
            if pixels.reduction(*opened.size) == 1:
                return whole.image.crop(box)
            opened.seek(0)
            return pixels.upright_region(opened, whole.image.size, box)
    except Exception as error:  # as in `open_image`
        raise _damaged(whole.name, error) from error


def png_bytes(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def jpeg_bytes(image: Image.Image, quality: int = 85) -> bytes:
    """A smaller file for display only. Images for models are encoded as PNG. `quality`: 1 to 95."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def thumbnail(image: Image.Image, edge: int = 256) -> Image.Image:
    """A copy with a longer side of at most `edge` px."""
    small = image.copy()
    small.thumbnail((edge, edge))
    return small


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise _too_many_pixels(name, f"{width} × {height} pixels, more than")
    if min(width, height) == 0 or max(width, height) / min(width, height) > MAX_ASPECT_RATIO:
        raise MediaError(
            f"{name} is {width} × {height} pixels, which is too narrow for a model.", "Crop it and try again."
        )


def _check_passes(image: Image.Image, data: bytes, name: str) -> None:
    """A progressive JPEG goes over the whole picture once for each of its scans. A small file can have 100,000 of them."""
    scans = data.count(JPEG_SCAN) if image.format in ("JPEG", "MPO") else 1
    if scans * image.width * image.height > MAX_DECODED_PIXELS:
        raise MediaError(
            f"{name} is a JPEG of {scans} scans, which would take minutes to decode.", "Save it again as another file."
        )


def _reduction_note(stored: tuple[int, int], shown: tuple[int, int]) -> str:
    width, height = (
        stored if (stored[0] > stored[1]) == (shown[0] > shown[1]) else stored[::-1]
    )  # not turned, or turned
    return f"reduced from {width} × {height} to {shown[0]} × {shown[1]} pixels, which is more than any model uses"


def _count_frames(image: Image.Image, data: bytes) -> tuple[int, bool]:
    """(how many frames, whether there are more than that). A small GIF or TIFF can have millions, so that counting takes minutes."""
    if image.format not in ("GIF", "TIFF"):
        return (1 if image.format == "MPO" else getattr(image, "n_frames", 1)), False
    until = time.monotonic() + MAX_COUNTING_SECONDS
    with Image.open(io.BytesIO(data), formats=(image.format,)) as other:
        for count in range(1, MAX_COUNTED_FRAMES):
            try:
                other.seek(count)
            except (EOFError, SyntaxError, OSError):  # the end, or what follows is damaged
                return count, False
            if time.monotonic() > until:
                return count + 1, True
    return MAX_COUNTED_FRAMES, True


def _notes_on(image: Image.Image, name: str, frames: tuple[int, bool]) -> list[str]:
    notes = []
    count, has_more = frames
    if count > 1:
        notes.append(f"only the first of {'more than ' if has_more else ''}{count} frames is used")
    extension = Path(name).suffix.lower().lstrip(".")
    expected = _FORMAT_OF_EXTENSION.get(extension, extension.upper())
    actual = "JPEG" if image.format == "MPO" else image.format
    if extension in IMAGE_EXTENSIONS and expected != actual:
        notes.append(f"the extension is .{extension}, but the file is a {actual}")
    if image.has_transparency_data:
        notes.append("transparent areas are shown on white")
    return notes


def _too_many_pixels(name: str, comparison: str) -> MediaError:
    return MediaError(
        f"{name} has {comparison} the limit of {MAX_IMAGE_PIXELS // 1_000_000} megapixels.",
        "Resize it and try again.",
    )


def _damaged(name: str, error: Exception) -> MediaError:
    return MediaError(f"{name} is damaged or incomplete ({error}).", "Save or download it again, then retry.")


@lru_cache(maxsize=1)
def _readable_formats() -> tuple[str, ...]:
    """The IMAGE_FORMATS that this Pillow installation can read. HEIC needs the package pillow-heif."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)
