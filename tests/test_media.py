from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from smolvlm_core import media, pixels
from smolvlm_core.errors import MediaError
from tests.conftest import drawn, encoded


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_common_formats_decode_to_the_same_image(kind: str) -> None:
    picture = media.open_image(encoded(drawn(), kind), f"a.{kind.lower()}")
    assert (picture.width, picture.height, picture.image.mode) == (300, 300, "RGB")
    assert np.allclose(picture.image.getpixel((150, 150)), (255, 0, 0), atol=6)
    assert np.allclose(picture.image.getpixel((5, 5)), (255, 255, 255), atol=6)


def test_heic_is_decoded() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install pillow-heif reads HEIC")
    out = io.BytesIO()
    pillow_heif.from_pillow(drawn()).save(out)
    picture = media.open_image(out.getvalue(), "photo.heic")
    assert np.allclose(picture.image.getpixel((150, 150)), (255, 0, 0), atol=12)


def test_exif_rotation_is_applied() -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("blue", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to display
    picture = media.open_image(encoded(image, "JPEG", exif=exif, quality=95), "a.jpg")
    assert (picture.width, picture.height) == (20, 40)
    assert picture.image.getpixel((10, 2))[2] > 200 and picture.image.getpixel((10, 2))[0] < 60


def test_transparency_is_composited_on_white_and_reported() -> None:
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    picture = media.open_image(encoded(image), "a.png")
    assert picture.image.getpixel((5, 5)) == (255, 255, 255)
    assert "transparent areas are shown on white" in picture.notes


def test_palette_with_a_transparent_color() -> None:
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, 0, 0, 255] + [0] * 762)
    assert media.open_image(encoded(image), "a.png").image.getpixel((5, 5)) == (0, 0, 255)
    assert media.open_image(encoded(image, transparency=1), "a.png").image.getpixel((5, 5)) == (255, 255, 255)


def test_16_bit_values_are_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    picture = media.open_image(encoded(Image.fromarray(values)), "a.png")
    levels = np.asarray(picture.image)[..., 0].astype(int).ravel()
    assert levels[0] == 0 and levels[-1] == 255 and abs(levels[128] - 128) <= 1


def test_cmyk_and_color_profiles_are_converted() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = media.open_image(encoded(cmyk, "TIFF"), "a.tiff").image.getpixel((4, 4))
    assert red[0] > 200 and red[1] < 60
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = media.open_image(encoded(drawn(), icc_profile=profile), "a.png").image
    assert np.allclose(same.getpixel((150, 150)), (255, 0, 0), atol=2)
    assert media.open_image(encoded(drawn(), icc_profile=b"broken"), "a.png").image.getpixel((150, 150)) == (255, 0, 0)


def test_only_the_first_frame_of_an_animation_is_used_and_this_is_reported() -> None:
    frames = [Image.new("RGB", (10, 10), c) for c in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture = media.open_image(data, "a.gif")
    assert picture.image.getpixel((5, 5))[0] > 200
    assert picture.notes == ("only the first of 3 frames is used",)


def test_a_wrong_extension_is_reported_but_accepted() -> None:
    picture = media.open_image(encoded(drawn(), "JPEG"), "a.png")
    assert picture.notes == ("the extension is .png, but the file is a JPEG",)
    assert media.open_image(encoded(drawn(), "JPEG"), "a.JPG").notes == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, I am text", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 50, "not an image|damaged"),
        (encoded(drawn(), "JPEG")[:800], "damaged|not an image"),
        (encoded(drawn())[:700], "damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.4 ...", "not an image"),
    ],
)
def test_unusable_files_are_refused_with_a_message_and_a_hint(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        media.open_image(data, "a.png")
    assert caught.value.hint


def test_a_decompression_bomb_is_refused_before_decoding() -> None:
    """A tiny file that declares 30,000 × 30,000 pixels would need 2.7 GB."""
    for side in (11_000, 30_000):
        data = encoded(Image.new("1", (side, side)))
        assert len(data) < 200_000
        with pytest.raises(MediaError, match="more than the limit of 100 megapixels"):
            media.open_image(data, "bomb.png")


def test_files_that_are_too_large_or_too_narrow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError, match="too narrow"):
        media.open_image(encoded(Image.new("RGB", (3000, 2))), "line.png")
    monkeypatch.setattr(media, "MAX_IMAGE_BYTES", 1000)
    with pytest.raises(MediaError, match="The limit for images is"):
        media.open_image(encoded(drawn(), "BMP"), "a.bmp")


def test_damaged_files_only_raise_media_error() -> None:
    """Pillow's decoders raise many exception types for damaged data. All of them become MediaError."""
    rng = np.random.default_rng(0)
    originals = [encoded(drawn(size=60), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")]
    for i in range(600):
        data = bytearray(originals[i % len(originals)])
        for _ in range(rng.integers(1, 12)):
            data[rng.integers(len(data))] = rng.integers(256)
        if rng.random() < 0.3:
            data = data[: rng.integers(1, len(data))]
        try:
            media.open_image(bytes(data), "a.png")
        except MediaError:
            pass


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "I;16", "CMYK", "F"])
def test_a_very_large_picture_is_reduced_before_its_colors_are_converted(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converting 100 megapixels took 13 s and 2.8 GB. What is left is the same picture, smaller, and the notes say so."""
    monkeypatch.setattr(pixels, "MAX_KEPT_PIXELS", 2 * 100 * 80)
    monkeypatch.setattr(pixels, "BAND_PIXELS", 392 * 7)
    converted: list[tuple[int, int]] = []
    real = pixels.to_rgb
    monkeypatch.setattr(pixels, "to_rgb", lambda image: (converted.append(image.size), real(image))[1])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient = Image.linear_gradient("L").resize((392, 312))
    image = Image.fromarray(np.asarray(gradient).astype(np.uint16) * 257) if mode == "I;16" else gradient.convert(mode)
    kind = "TIFF" if mode in ("CMYK", "F") else "PNG"
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"icc_profile": profile} if mode in ("RGB", "RGBA") else {}
    picture = media.open_image(encoded(image, kind, exif=exif, **options), "large.png")
    assert converted == [(78, 98)] and picture.image.size == (78, 98)
    assert "reduced from 312 × 392 to 78 × 98 pixels, which is more than any model uses" in picture.notes
    monkeypatch.undo()
    whole = media.open_image(encoded(image, kind, exif=exif, **options), "large.png").image.reduce(4)
    assert np.abs(np.asarray(picture.image, int) - np.asarray(whole, int)).max() <= 3


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_KEPT_PIXELS", 2 * 200 * 200)
    picture = media.open_image(encoded(drawn(size=800), "JPEG"), "a.jpg")
    assert picture.image.size == (200, 200) and "reduced from 800 × 800 to 200 × 200" in picture.notes[0]


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    """Each scan goes over the whole picture: 100 scans of 100 megapixels are a file of 600 KB that takes 7 s."""
    data = encoded(Image.new("RGB", (5000, 4000)), "JPEG", progressive=True)
    at = data.rindex(media.JPEG_SCAN)
    scan = data[at:-2]
    media.open_image(data, "a.jpg")
    with pytest.raises(MediaError, match="a JPEG of 11\\d scans"):
        media.open_image(data[:-2] + scan * 100 + data[-2:], "a.jpg")


def test_frames_are_counted_up_to_a_limit() -> None:
    """A GIF of 60 MB can have five million frames."""
    data = encoded(Image.new("P", (2, 2)), "GIF")
    at = data.index(b",", 13)
    started = time.monotonic()
    picture = media.open_image(data[:-1] + data[at:-1] * 500_000 + data[-1:], "a.gif")
    assert picture.notes == ("only the first of more than 1000 frames is used",)
    assert time.monotonic() - started < 5  # 0.1 s on an idle machine; counting all of them takes over 10 s


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs among files")
@pytest.mark.parametrize("kind", ["device", "FIFO", "folder", "gone", "no size", "null"])
def test_what_is_no_picture_file_is_refused_before_it_is_read(kind: str, tmp_path: Path) -> None:
    """/dev/zero was read until memory was full, and a FIFO was waited for."""
    fifo, folder = tmp_path / "fifo", tmp_path / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    path, said = {
        "device": (Path("/dev/zero"), "a device or a pipe"),
        "FIFO": (fifo, "a device or a pipe"),
        "folder": (folder, "is a folder"),
        "gone": (tmp_path / "gone.png", "does not exist"),
        "no size": (Path("/proc/version"), "not an image"),  # a file of 0 bytes that has some
        "null": (tmp_path / "a\0.png", "cannot be read"),
    }[kind]
    if kind == "no size" and not path.exists():
        pytest.skip("this system has no /proc")
    with pytest.raises(MediaError, match=said) as caught:
        media.open_image_file(path)
    assert caught.value.hint


def test_a_picture_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: takes no space
    with pytest.raises(MediaError, match="more than the limit of 64 MB"):
        media.open_image_file(path)
