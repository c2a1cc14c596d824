"""Which pictures and clips a new batch asks about: paths on this machine, or uploads, which are stored in the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.batch.inputs import ARCHIVE_EXTENSION, EXTENSIONS
from smolvlm_core.batch.jobs import SavedBatch
from smolvlm_core.errors import LensError
from smolvlm_core.models.machine import describe_bytes
from smolvlm_core.paths import GALLERY
from ui import forms, state
from ui.state import session, workspace
from ui.text import escape, show_error

SOURCES = ["On this machine", "Upload"]
SAMPLES = "Samples"
UPLOADS = "batch uploads"  # the form


def draw() -> tuple[str, ...]:
    """The inputs, as the core takes them. Only an admin of a shared app names paths on this machine."""
    form = session().batch.form
    if not state.is_admin():
        form.source = SOURCES[1]
        return _draw_uploads()
    source: Any = st.segmented_control(
        "Pictures and clips", SOURCES, default=form.source, required=True, key=f"batch_source_{form.round}"
    )
    form.source = source
    return _draw_paths() if form.source == SOURCES[0] else _draw_uploads()


def _draw_paths() -> tuple[str, ...]:
    form = session().batch.form
    form.paths = st.text_area(
        "Folders and files, one per line",
        form.paths,
        key=f"batch_paths_{form.round}",
        placeholder="/home/me/photos\n/home/me/clips/**/*.mp4",
        height=110,
        help="Folders are searched with their subfolders. Patterns such as `photos/**/*.jpg`, zip archives, and CSV or JSONL "
        "lists with a column `path` and, optionally, `prompt` work too.",
    )
    return tuple(str(Path(line.strip()).expanduser()) for line in form.paths.splitlines() if line.strip())


def _draw_uploads() -> tuple[str, ...]:
    """The name is chosen first: files are stored as soon as they arrive."""
    form, uploads = session().batch.form, workspace().batches.uploads
    names = uploads.names()
    options = sorted({*names, form.uploads} - {""})
    chosen = st.selectbox(
        "Name of the uploads",
        options,
        options.index(form.uploads) if form.uploads in options else None,
        key=f"batch_uploads_{form.round}",
        accept_new_options=True,
        placeholder="Type a name for these files, or choose earlier ones",
        help="Uploaded files are stored in the data folder under this name, so that the results stay usable.",
    )
    form.uploads = (chosen or "").strip()
    if not form.uploads:
        return ()
    try:
        files = uploads.files(form.uploads)
    except LensError as error:
        show_error(error)
        return ()
    key = f"batch_files_{session().uploader_round}"
    st.file_uploader(
        "Drop or choose pictures, clips and zip archives",
        type=[*sorted(EXTENSIONS), ARCHIVE_EXTENSION],
        accept_multiple_files=True,
        key=key,
        on_change=_store,
        args=(key, form.uploads),
    )
    forms.draw_problems(UPLOADS)
    if not files:
        return ()
    _draw_stored(form.uploads, len(files))
    return (uploads.input(form.uploads),)


def _draw_stored(name: str, count: int) -> None:
    uploads = workspace().batches.uploads
    with st.container(horizontal=True, vertical_alignment="center"):
        count_bytes = uploads.size_bytes(name)
        size = describe_bytes(count_bytes) if count_bytes >= 2**20 else "less than 1 MiB"
        st.caption(f"{count} {'file' if count == 1 else 'files'} in {escape(name)}, {size}", width="content")
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            st.write(f"Delete the {count} uploaded files of {escape(name)}? Answers about them stay.")
            st.button("Delete the files", key="batch_delete_uploads", on_click=_delete, args=(name,))


def _store(key: str, name: str) -> None:
    files = st.session_state.get(key) or []
    session().uploader_round += 1  # a new key is a new, empty uploader
    forms.pressed(UPLOADS)
    for file in files:
        try:
            workspace().refuse_if_full(file.size)
            workspace().batches.uploads.add(name, file, file.name)
        except LensError as error:
            forms.refuse(UPLOADS, error)
        state.forget_upload(file)


def refuse_paths(batch: SavedBatch) -> None:
    """Raises LensError where a batch names paths on this machine and the user, no longer an admin, may not."""
    if not state.is_admin() and not all(map(workspace().batches.uploads.is_input, batch.request.inputs)):
        raise LensError("This batch names paths on this machine.", "Only admins can ask about them.")


def upload_samples() -> None:
    """For those who name no paths: copies of the samples, as if they had been uploaded."""
    session().batch.form.uploads = SAMPLES
    for path in sorted(path for path in GALLERY.iterdir() if path.suffix.lstrip(".") in EXTENSIONS):
        try:
            workspace().refuse_if_full(path.stat().st_size)
            with path.open("rb") as file:
                workspace().batches.uploads.add(SAMPLES, file, path.name)
        except LensError as error:
            forms.refuse(UPLOADS, error)


def _delete(name: str) -> None:
    forms.pressed(UPLOADS)
    try:
        workspace().batches.delete_uploads(name)
    except LensError as error:
        forms.refuse(UPLOADS, error)
        return
    session().batch.form.uploads = ""
    session().batch.form.round += 1
