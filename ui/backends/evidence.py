"""A table of the questions, images and answers of a vision check: one row per test image."""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import streamlit as st
from jinja2 import Environment
from PIL import Image

from smolvlm_core.check import CONDITIONS, Asked, Verdict
from smolvlm_core.check.canaries import Canary
from smolvlm_core.media import data_uri, png_bytes

EDGE = 96  # px: twice the width on the page
_FOLDER = Path(__file__).parent
_css = (_FOLDER / "evidence.css").read_text(encoding="utf-8")
_template = Environment(autoescape=True).from_string((_FOLDER / "evidence.html.j2").read_text(encoding="utf-8"))


def draw(verdict: Verdict) -> None:
    rows = [_row(canary, tuple(asked)) for canary, asked in groupby(verdict.asked, lambda a: a.canary)]
    st.html(_template.render(css=_css, conditions=CONDITIONS, rows=rows))


def _row(canary: Canary, asked: tuple[Asked, ...]) -> dict[str, Any]:
    answers = {a.condition: a for a in asked}
    return {
        "images": [_thumbnail(png) for png in canary.encoded],
        "question": canary.question,
        "expected": canary.right,
        "answers": [answers.get(name) for name in CONDITIONS],
    }


@lru_cache(maxsize=512)
def _thumbnail(png: bytes) -> str:
    return data_uri(png_bytes(Image.open(io.BytesIO(png)).resize((EDGE, EDGE), Image.Resampling.LANCZOS)))
