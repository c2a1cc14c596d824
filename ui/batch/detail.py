"""One row of a batch: the picture or the frames, the answer, which can be edited, and what the model was given."""

from __future__ import annotations

import hashlib
from functools import partial

import streamlit as st
from PIL import Image

from smolvlm_core.batch.given import Given, recall
from smolvlm_core.batch.jobs import SavedBatch
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.sidecars import Outcome
from smolvlm_core.batch.table import Row
from smolvlm_core.byte_cache import ByteCache
from smolvlm_core.errors import LensError
from smolvlm_core.media import decoded_bytes
from smolvlm_core.times import time_text
from ui.pictures import shown, strip
from ui.state import session, workspace
from ui.text import escape, message, show_error

EDGE = 450  # px: the longer side of a picture
FRAME_EDGE = 768  # px: frames are in memory while they are shown
MANY_FRAMES, SMALL_EDGE = 64, 320  # more frames than this are smaller
CUT = {
    "length": "This answer was cut at the longest answer allowed (see Settings).",
    "context": "This answer was cut: the model's context is full.",
}
SIDECARS: dict[Outcome, str] = {  # "failed" is an error
    "written": "Saved, in the text file beside it too.",
    "exists": "Saved. The text file beside it stays as it is: it was there before, or somebody changed it.",
    "shared": "Saved. The text file beside it belongs to another picture.",
    "no file": "Saved. There is no text file beside it.",
}
_given: ByteCache[Given] = ByteCache(
    256 * 2**20, lambda given: sum(decoded_bytes(image) for _, image in given.pictures)
)


def draw(batch: SavedBatch, row: Row) -> None:
    try:
        record = workspace().batches.table(batch).record(row)
    except LensError as error:
        show_error(error)
        return
    with st.container(border=True, key="batch_detail"):
        left, right = st.columns(2, gap="medium")
        with left:
            given = _draw_media(record)
        with right:
            st.caption(escape(record.prompt))
            _draw_answer(batch, record)
        with st.expander("What the model was given", icon=":material/frame_inspect:"):
            _draw_given(record, given)


def _draw_media(record: Record) -> Given | None:
    """The file may be gone or be another one now; the answer stays."""
    given: Given | None = None
    try:
        given = _recalled(record)
    except LensError as error:
        if record.error != str(error):  # it is beside the answer already
            st.caption(f":material/hide_image: {message(error)}")
    else:
        _draw_pictures(record, given)
        if given.changed:
            st.caption(":material/warning: The file has changed since it was asked. This is how it looks now.")
    st.caption(escape(record.item))
    return given


def _recalled(record: Record) -> Given:
    """Raises LensError."""
    edge = None if record.kind != "video" else FRAME_EDGE if len(record.frames) <= MANY_FRAMES else SMALL_EDGE
    return _given.get((record.id, record.finished), lambda: recall(record, edge))


def _draw_pictures(record: Record, given: Given) -> None:
    pictures = []
    for index, (mark, _) in enumerate(given.pictures):
        key = hashlib.sha256(f"{record.id}\0{record.finished}\0{index}".encode()).hexdigest()
        label = time_text(mark, 2) if isinstance(mark, float | int) else mark
        open_it = partial(_open, record, index)  # decoded again where it is not in memory any more
        pictures.append(shown.unsaved_later(open_it, label, key, given.size))
    edge = strip.EDGE if record.kind == "video" else min(EDGE, max(given.size))
    strip.draw("batch_pictures", pictures, edge=edge, captions=record.kind == "video")


def _open(record: Record, index: int) -> Image.Image:
    return _recalled(record).pictures[index][1]


def _draw_answer(batch: SavedBatch, record: Record) -> None:
    if record.error:
        show_error(record.error)
    if (reason := CUT.get(record.stats.get("stop_reason", ""))) is not None and not record.error:
        st.warning(reason, icon=":material/content_cut:")
    version = hashlib.sha256(f"{record.id}\0{record.text}".encode()).hexdigest()[:16]
    key = f"batch_answer_{version}"
    with st.form(f"batch_edit_{version}", border=False):
        st.text_area("Answer", record.text, key=key, height=120)
        with st.container(horizontal=True):
            st.form_submit_button("Save", icon=":material/save:", on_click=_save, args=(batch, record, key))
            if record.edited is not None:
                undo = partial(_edit, batch, record, None)
                st.form_submit_button("Use the model's answer", type="tertiary", on_click=undo)
    _show_problem()
    if record.edited is not None:
        st.caption("The model's own answer")
        st.text(record.answer or "(none)")
    if record.data is not None:
        with st.expander("As JSON", icon=":material/data_object:"):
            st.json(record.data)


def _show_problem() -> None:
    page = session().batch
    if page.problem:
        show_error(page.problem)
    page.problem = ""


def _save(batch: SavedBatch, record: Record, key: str) -> None:
    text = st.session_state[key]
    if text != record.text:
        _edit(batch, record, text)


def _edit(batch: SavedBatch, record: Record, text: str | None) -> None:
    try:
        outcome = workspace().batches.edit(batch, record.id, text)
    except LensError as error:
        session().batch.problem = str(error)
        return
    st.toast(SIDECARS[outcome] if outcome is not None else "Saved.", icon=":material/save:")


def _draw_given(record: Record, given: Given | None) -> None:
    if given is not None and given.prompt:
        st.code(given.prompt, language=None, wrap_lines=True)
    else:
        st.code(record.prompt, language=None, wrap_lines=True)
    st.caption("  \n".join(escape(line) for line in _details(record)))


def _details(record: Record) -> list[str]:
    stats, settings = record.stats, {**record.settings, **record.sampling}
    values = ", ".join(f"{name} {value}" for name, value in settings.items() if value not in (None, ""))
    lines = [f"{record.model}. Weights: {record.weights or 'not recorded'}.", f"Settings: {values}."]
    if stats:
        rate = stats.get("tokens_per_second")
        lines.append(
            f"{stats['prompt_tokens']} prompt tokens, {stats['image_tokens']} of them image tokens; {stats['new_tokens']} new"
            + (f" at {rate:.1f} tokens per second." if rate else ".")
        )
        lines.append(
            f"{stats['known_tiles']} picture tiles were encoded before. Prompt {stats['prompt_fingerprint'][:12]}."
        )
    return [*lines, *(f"Note: {note}." for note in record.notes)]
