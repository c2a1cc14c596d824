"""Picture files of every format, damaged."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

from PIL import Image

from benchmarks.robustness.section import Section, mutated
from smolvlm_core import media

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")


@cache
def _whole(file_format: str) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((97, 61)).save(out, file_format)
    return out.getvalue()


class Pictures(Section):
    name, full_count = "pictures", 2000

    def case(self, number: int, dice: random.Random) -> bytes:
        return mutated(_whole(FORMATS[number % len(FORMATS)]), dice)

    def attempt(self, case: bytes, folder: Path) -> str:
        media.open_image(case, "picture")
        return "used"


SECTION = Pictures()
