"""Opens, checks, encodes and hashes images.

Knows file formats, orientation, color spaces and size limits. Does not know models or conversations.
"""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from smolvlm_core.errors import MediaError

MAX_IMAGE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 100_000_000  # 100 megapixels: 300 MB once decoded
MAX_ASPECT_RATIO = 200
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif")
_FORMAT_OF_EXTENSION = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "heic": "HEIF"}
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")


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
        try:
            notes = _notes_on(opened, name)
            opened.seek(0)
            opened.load()
            image = to_rgb(ImageOps.exif_transpose(opened))
        except Exception as error:  # as above
            raise _damaged(name, error) from error
    mime = Image.MIME.get(opened.format or "", "application/octet-stream")
    return Picture(image=image, sha256=sha256_of(data), name=name, mime=mime, notes=tuple(notes))


def open_image_file(path: Path) -> Picture:
    """Decode an image file from a path. Also raises MediaError if the file is missing or cannot be read."""
    try:
        return open_image(path.read_bytes(), path.name)
    except OSError as error:
        raise MediaError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB. Scales 16-bit values, applies color profiles, and puts transparent images on white."""
    if image.mode in _SIXTEEN_BIT_MODES or image.mode in ("I", "F"):
        return _scaled_to_8_bit(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if image.info.get("icc_profile") and image.mode != "LA":
            plain = rgba.convert("RGB")
            plain.info["icc_profile"] = image.info["icc_profile"]
            alpha = rgba.getchannel("A")
            rgba = _to_srgb(plain).convert("RGBA")
            rgba.putalpha(alpha)
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "P":
        profile = image.info.get("icc_profile")
        image = image.convert("RGB")
        image.info["icc_profile"] = profile
    if image.mode in ("CMYK", "LAB", "YCbCr") or image.info.get("icc_profile"):
        return _to_srgb(image)
    return image.convert("RGB")


def png_bytes(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def jpeg_bytes(image: Image.Image) -> bytes:
    """A smaller file for display only. Images for models are encoded as PNG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def thumbnail(image: Image.Image, edge: int = 256) -> Image.Image:
    """A copy with a longer side of at most `edge` px."""
    small = image.copy()
    small.thumbnail((edge, edge))
    return small


def _scaled_to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    _, high = image.getextrema()
    top = float(high)  # type: ignore[arg-type]
    full = 255.0 if top <= 255 else 65535.0
    if image.mode == "F" and top <= 1.0:
        full = 1.0
    return image.convert("F").point(lambda value: value * (255.0 / full)).convert("L")


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken profile is ignored, as browsers do
        if converted is not None:
            return converted
    return image.convert("RGB")


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise _too_many_pixels(name, f"{width} × {height} pixels, more than")
    if min(width, height) == 0 or max(width, height) / min(width, height) > MAX_ASPECT_RATIO:
        raise MediaError(
            f"{name} is {width} × {height} pixels, which is too narrow for a model.", "Crop it and try again."
        )


def _notes_on(image: Image.Image, name: str) -> list[str]:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        notes.append(f"only the first of {frames} frames is used")
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
