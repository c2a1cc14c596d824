"""Picture files of every format, damaged, and whole ones that claim or need very much."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

from benchmarks.robustness.section import Section, mutated
from smolvlm_core import media

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF")
KINDS = ("plain", "profile", "Exif", "animated", "transparent", "deep", "progressive")
BOMB_EVERY = 25
BOMB_EDGE = 9_900  # px: just within the limit of 100 megapixels


class Pictures(Section):
    """Of every 25 cases one is a whole file of 98 megapixels or of very many frames or scans; the rest is damaged."""

    name, full_count = "pictures", 2000

    def case(self, number: int, dice: random.Random) -> bytes:
        if number % BOMB_EVERY == BOMB_EVERY - 1:
            return BOMBS[number // BOMB_EVERY % len(BOMBS)]()
        data = _whole(FORMATS[number % len(FORMATS)], KINDS[number // len(FORMATS) % len(KINDS)])
        return data if dice.random() < 0.02 else mutated(data, dice)

    def attempt(self, case: bytes, folder: Path) -> str:
        path = folder / "picture.png"
        path.write_bytes(case)
        media.open_image_file(path)
        return "used"


def _encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    media._readable_formats()  # registers HEIF
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


@cache
def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@cache
def _whole(file_format: str, kind: str) -> bytes:
    image = Image.linear_gradient("L").convert("RGB").resize((97, 61))
    options: dict[str, Any] = {}
    match kind:
        case "profile" if file_format not in ("BMP", "GIF"):
            options["icc_profile"] = _profile()
        case "Exif" if file_format not in ("BMP", "GIF"):
            exif = Image.Exif()
            exif[0x0112], exif[0x010E] = 6, "x" * 500
            exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0words"
            options["exif"] = exif.tobytes()
        case "animated" if file_format not in ("JPEG", "BMP"):
            others = [image.rotate(20 * i) for i in range(1, 4)]
            options |= {"save_all": True, "append_images": others}
        case "transparent" if file_format not in ("JPEG", "BMP"):
            image = image.convert("P" if file_format == "GIF" else "RGBA")
            if image.mode == "P":
                options["transparency"] = 3
            else:
                image.putalpha(Image.radial_gradient("L").resize(image.size))
        case "deep" if file_format in ("PNG", "TIFF"):
            image = image.convert("I").point(lambda value: value * 257).convert("I;16")
        case "progressive" if file_format in ("JPEG", "PNG"):
            options["progressive"] = True
    return _encoded(image, file_format, **options)


def _png_bomb(mode: str, **options: Any) -> bytes:
    return _encoded(Image.new(mode, (BOMB_EDGE, BOMB_EDGE)), "PNG", **options)


def _scans() -> bytes:
    """A progressive JPEG with its last scan 2,000 times."""
    data = _encoded(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 2000 + data[-2:]


def _gif_frames() -> bytes:
    data = _encoded(Image.new("P", (2, 2)), "GIF")
    return data[:-1] + data[data.index(b",", 13) : -1] * 2_000_000 + data[-1:]


def _tiff_frames() -> bytes:
    """A chain of 300,000 directories of one picture."""
    data = bytearray(_encoded(Image.new("L", (2, 2)), "TIFF"))
    at = struct.unpack_from("<I", data, 4)[0]
    length = 2 + 12 * struct.unpack_from("<H", data, at)[0]
    directory, link = bytes(data[at : at + length]), at + length
    for _ in range(300_000):
        struct.pack_into("<I", data, link, len(data))
        link = len(data) + length
        data += directory + b"\0\0\0\0"
    return bytes(data)


def _tiff_tags() -> bytes:
    """65,535 tags in each of 50 directories, which overlap."""
    tags = struct.pack("<HHII", 0x010E, 2, 4, 0x61616161) * 65_535
    return b"II*\0\x08\0\0\0" + b"".join(
        struct.pack("<H", 65_535) + tags + struct.pack("<I", 8 + i * 7) for i in range(50)
    )


def _png_text() -> bytes:
    """Compressed text and a profile that unpack to 1 GB."""
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()
    data = _encoded(Image.new("RGB", (8, 8)), "PNG")
    chunks = b"".join(_chunk(name, body + packed) for name, body in ((b"iCCP", b"a\0\0"), (b"zTXt", b"a\0\0")))
    return data[:33] + chunks + data[33:]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + _chunk(b"IEND", b"")


BOMBS = tuple(
    cache(make)
    for make in (
        lambda: _png_bomb("RGB", icc_profile=_profile()),
        lambda: _png_bomb("RGBA", icc_profile=_profile()),
        lambda: _png_bomb("P", transparency=0),
        lambda: _png_bomb("I;16"),
        lambda: _png_bomb("1"),
        lambda: _encoded(Image.new("CMYK", (BOMB_EDGE, BOMB_EDGE)), "JPEG"),
        lambda: _encoded(Image.new("RGB", (BOMB_EDGE, BOMB_EDGE)), "JPEG", progressive=True),
        lambda: _encoded(Image.new("RGB", (BOMB_EDGE, BOMB_EDGE)), "WEBP", method=0),
        lambda: _encoded(Image.new("P", (BOMB_EDGE, BOMB_EDGE)), "GIF"),
        lambda: _encoded(Image.new("F", (BOMB_EDGE, BOMB_EDGE)), "TIFF", compression="tiff_deflate"),
        lambda: _encoded(Image.new("LAB", (BOMB_EDGE, BOMB_EDGE)), "TIFF", compression="tiff_deflate"),
        lambda: _encoded(Image.new("RGB", (BOMB_EDGE, BOMB_EDGE)), "AVIF", speed=10),
        _scans,
        _gif_frames,
        _tiff_frames,
        _tiff_tags,
        _png_text,
        lambda: _claims(2**31 - 1, 2**31 - 1),
        lambda: _claims(100_000, 1000),
        lambda: _claims(12_000, 12_000),
    )
)

SECTION = Pictures()
