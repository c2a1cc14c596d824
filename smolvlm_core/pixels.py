"""Decoded pixels → upright 8-bit RGB of bounded size: color profiles, transparency, 16-bit values. Does not know files.

Source of the modes and what each operation takes: Pillow, "Concepts", modes, and `Image.reduce`.
"""

from __future__ import annotations

import io
import math

from PIL import Image, ImageCms, ImageOps

# 32 megapixels. Larger pictures are reduced before their colors are converted, which takes several copies. No SmolVLM2 uses more
# than 2048 × 2048 pixels of a picture.
MAX_KEPT_PIXELS = 2**25
BAND_PIXELS = 2**22  # converted at once while a picture is reduced
ORIENTATION = 0x0112  # the Exif tag
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")


def reduction(width: int, height: int) -> int:
    """By what whole number both sides are divided. 1 up to MAX_KEPT_PIXELS; above, at most half as many remain."""
    pixels = width * height
    return 1 if pixels <= MAX_KEPT_PIXELS else math.ceil(math.sqrt(2 * pixels / MAX_KEPT_PIXELS))


def upright_rgb(image: Image.Image) -> Image.Image:
    """A decoded image, turned as its Exif data says, as 8-bit RGB. A very large one is reduced: see `reduction`."""
    orientation = image.getexif().get(ORIENTATION)
    factor = reduction(image.width, image.height)
    if factor == 1:
        return to_rgb(ImageOps.exif_transpose(image))
    small = _reduced(image, factor)
    small.getexif()[ORIENTATION] = orientation or 1
    return to_rgb(ImageOps.exif_transpose(small))


def upright_region(image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """A part of what `upright_rgb` shows, in the image's own resolution. `box`: left, top, right, bottom in pixels of the upright
    image at `size` (width, height)."""
    orientation = image.getexif().get(ORIENTATION, 1)
    width, height = image.size if orientation < 5 else image.size[::-1]
    across, down = width / size[0], height / size[1]
    corners = [(round(x * across), round(y * down)) for x, y in (box[:2], box[2:])]
    stored = [_before_turning(x, y, *image.size, orientation) for x, y in corners]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*stored))
    part = image.crop((left, top, min(right, image.width), min(bottom, image.height)))
    part.getexif()[ORIENTATION] = orientation
    return upright_rgb(part)


def _before_turning(x: int, y: int, width: int, height: int, orientation: int) -> tuple[int, int]:
    """Where a point of the upright image is in the stored one of `width` × `height` (Exif 2.32, 4.6.4, Orientation)."""
    if orientation >= 5:  # its rows are columns
        x, y = y, x
    if orientation in (2, 3, 7, 8):
        x = width - x
    if orientation in (3, 4, 6, 7):
        y = height - y
    return x, y


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """In bands, so that there is never a second copy of its full size. Keeps `info`, the color profile included."""
    rows = max(1, BAND_PIXELS // image.width // factor) * factor
    size = (math.ceil(image.width / factor), math.ceil(image.height / factor))
    small: Image.Image | None = None
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(image.height, top + rows)))
        piece = _averageable(band).reduce(factor)
        small = small or Image.new(piece.mode, size)
        small.paste(piece, (0, top // factor))
    assert small is not None
    done = small.convert("RGBA") if small.mode == "RGBa" else small
    done.info = {key: value for key, value in image.info.items() if key not in ("transparency", "exif")}
    return done


def _averageable(band: Image.Image) -> Image.Image:
    """The same pixels in a mode in which the average of neighbours is a color between them."""
    if band.mode in _SIXTEEN_BIT_MODES:
        return _scaled_to_8_bit(band)
    if band.has_transparency_data:
        return band.convert("RGBA").convert("RGBa")
    return band.convert({"P": "RGB", "1": "L"}.get(band.mode, band.mode))


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
