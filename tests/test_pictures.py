"""Pictures for people: files that browsers can show, and parts in full resolution."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from smolvlm_core import media, pixels
from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.conversations.pictures import Region, browser_file, crop
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import MediaError
from tests.conftest import drawn


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    return saved(image, "PNG", exif=exif)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def same(a: Image.Image, b: Image.Image) -> bool:
    return bool(np.array_equal(np.asarray(a.convert("RGB")), np.asarray(b.convert("RGB"))))


def test_a_part_is_a_new_picture_with_the_pixels_of_the_original(store: Store) -> None:
    image = noise(200, 100)
    whole = attach_image(store, saved(image, "PNG"), "photo.png")
    part, name = crop(store.media.bytes(whole.sha256), whole.name, Region(20, 10, 64, 32))
    assert name == "photo.png (crop 64×32)" and same(opened(part), image.crop((20, 10, 84, 42)))
    again = attach_image(store, part, name)
    assert (again.width, again.height, again.notes) == (64, 32, ())
    assert crop(part, name, Region(0, 0, 20, 16))[1] == "photo.png (crop 20×16)", "not a chain of crops"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_part_is_upright_and_in_full_resolution(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the picture itself is reduced, as one of 50 megapixels is: text in a part of it must stay readable."""
    data = turned(noise(120, 84), orientation)
    upright = media.open_image(data).image
    monkeypatch.setattr(pixels, "MAX_KEPT_PIXELS", 4000)
    reduced = media.open_image(data).image
    factor = upright.width // reduced.width
    assert factor > 1 and upright.size == (reduced.width * factor, reduced.height * factor)
    part, name = crop(data, "photo.png", Region(2, 3, 18, 16))
    assert name == f"photo.png (crop {18 * factor}×{16 * factor})"
    assert same(opened(part), upright.crop((2 * factor, 3 * factor, 20 * factor, 19 * factor)))


@pytest.mark.parametrize(
    "region", [Region(-1, 0, 50, 50), Region(0, -1, 50, 50), Region(60, 0, 41, 50), Region(0, 60, 50, 41)]
)
def test_a_part_outside_of_the_picture_is_refused(region: Region) -> None:
    with pytest.raises(MediaError, match="not within the picture of 100 × 100 pixels"):
        crop(saved(noise(100, 100), "PNG"), "photo.png", region)


@pytest.mark.parametrize("region", [Region(0, 0, 15, 50), Region(0, 0, 50, 0), Region(0, 0, -50, 50)])
def test_a_part_too_small_to_see_anything_is_refused(region: Region) -> None:
    with pytest.raises(MediaError, match=r"too small.*at least 16 × 16"):
        crop(saved(noise(100, 100), "PNG"), "photo.png", region)


def test_what_browsers_show_alike_is_sent_as_it_is() -> None:
    image = noise(40, 30)
    for kind, mime in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")):
        data = saved(image, kind)
        assert browser_file(data, "a").data == data and browser_file(data, "a").mime == mime


def test_everything_else_is_sent_as_the_model_is_shown_it() -> None:
    """Upright, the first of several frames, in a format that browsers have."""
    image, other = noise(40, 30), drawn("red")
    files = {
        "TIFF": saved(image, "TIFF"),
        "BMP": saved(image, "BMP"),
        "turned": turned(image, 6),
        "animated": saved(image, "PNG", save_all=True, append_images=[other.resize((40, 30))]),
        "16 bit": saved(image.convert("L").convert("I;16"), "PNG"),
    }
    for name, data in files.items():
        file = browser_file(data, name)
        assert file.mime == "image/png" and same(opened(file.data), media.open_image(data).image), name
        assert getattr(opened(file.data), "n_frames", 1) == 1
    assert opened(browser_file(files["turned"], "a").data).size == (30, 40)


def test_photos_in_formats_that_browsers_lack_become_jpeg() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    file = browser_file(saved(drawn("red"), "HEIF"), "photo.heic")
    assert file.mime == "image/jpeg" and opened(file.data).format == "JPEG"


@pytest.mark.parametrize("data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", saved(noise(40, 30), "PNG")[:200]])
def test_what_is_no_picture_is_not_sent(data: bytes) -> None:
    with pytest.raises(MediaError):
        browser_file(data, "a.png")
