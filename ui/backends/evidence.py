"""A table of the questions, images and answers of a vision check: one row per test image."""

from __future__ import annotations

import base64
import html
import io
from functools import lru_cache
from itertools import groupby

import streamlit as st
from PIL import Image

from smolvlm_core.check import CONDITIONS, Asked, Verdict
from smolvlm_core.check.canaries import Canary

EDGE = 96  # px: twice the width on the page
STYLE = """<style>
.wide { overflow-x: auto }
.canaries { width: 100%; border-collapse: collapse; font-size: .875rem }
.canaries th, .canaries td { padding: .25rem .5rem; text-align: left; vertical-align: middle; border: 0;
                             border-bottom: 1px solid rgba(128, 128, 128, .25) }
.canaries img { width: 48px; margin-right: 2px; border-radius: 4px }
.canaries small { opacity: .7 }
.canaries .yes { color: #21a05a }
.canaries .no { color: #d24545 }
</style>"""


def draw(verdict: Verdict) -> None:
    rows = [_row(canary, tuple(asked)) for canary, asked in groupby(verdict.asked, lambda a: a.canary)]
    heads = "".join(f"<th>with {name}</th>" for name in CONDITIONS)
    st.html(
        f'{STYLE}<div class="wide"><table class="canaries"><tr><th>image</th><th>question</th>{heads}</tr>'
        f"{''.join(rows)}</table></div>"
    )


def _row(canary: Canary, asked: tuple[Asked, ...]) -> str:
    images = "".join(f'<img alt="" src="{_thumbnail(png)}">' for png in canary.encoded)
    answers = {a.condition: a for a in asked}
    cells = "".join(f"<td>{_answer(answers.get(name))}</td>" for name in CONDITIONS)
    question = f"{html.escape(canary.question)}<br><small>expected: {html.escape(canary.right)}</small>"
    return f"<tr><td>{images}</td><td>{question}</td>{cells}</tr>"


def _answer(asked: Asked | None) -> str:
    if asked is None:
        return ""
    mark = '<span class="yes">✓</span>' if asked.right else '<span class="no">✗</span>'
    return f"{mark} {html.escape(asked.answer[:80]) or '<small>no answer</small>'}"


@lru_cache(maxsize=512)
def _thumbnail(png: bytes) -> str:
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).resize((EDGE, EDGE), Image.Resampling.LANCZOS).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
