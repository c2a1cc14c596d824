"""A table of the questions, images and answers of a vision check: one row per question."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from jinja2 import Environment
from PIL import Image

from smolvlm_core.check import CONDITIONS, Asked, Verdict, words
from smolvlm_core.check.canaries import Canary
from smolvlm_core.media import data_uri, png_bytes

HEIGHT = 64  # px: twice the height on the page
HEADS = [words.WORDS[name].capitalize() for name in CONDITIONS]
_FOLDER = Path(__file__).parent
_css = (_FOLDER / "evidence.css").read_text(encoding="utf-8")
_template = Environment(autoescape=True).from_string((_FOLDER / "evidence.html.j2").read_text(encoding="utf-8"))


def draw(verdict: Verdict) -> None:
    st.html(_template.render(css=_css, conditions=HEADS, rows=rows_of(verdict)))


def rows_of(verdict: Verdict) -> list[dict[str, Any]]:
    """In the order in which the questions were first asked. Their answers are not always in a row."""
    asked: dict[Canary, list[Asked]] = {}
    for answer in verdict.asked:
        asked.setdefault(answer.canary, []).append(answer)
    return [_row(canary, answers) for canary, answers in asked.items()]


def _row(canary: Canary, asked: list[Asked]) -> dict[str, Any]:
    answers = {a.condition: a for a in asked}
    return {
        "images": [_thumbnail(png) for png in canary.encoded],
        "question": canary.question,
        "expected": canary.right,
        "answers": [answers.get(name) for name in CONDITIONS],
    }


@lru_cache(maxsize=512)
def _thumbnail(png: bytes) -> str:
    image = Image.open(io.BytesIO(png))
    size = (round(HEIGHT * image.width / image.height), HEIGHT)
    return data_uri(png_bytes(image.resize(size, Image.Resampling.LANCZOS)))
