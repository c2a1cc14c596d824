"""A batch's results as files. Each is read when its button is pressed, not before."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.batch.jobs import SavedBatch
from smolvlm_core.batch.results import export_csv, read_records
from smolvlm_core.batch.sidecar_zip import zip_sidecars
from ui.state import workspace
from ui.text import message


def draw(batch: SavedBatch) -> None:
    if not workspace().batches.table(batch).rows():
        return
    options, name = batch.request.sidecars, batch.identity
    with st.container(horizontal=True, vertical_alignment="center"):
        _button("JSONL", f"{name}.jsonl", batch.results.read_bytes, "Everything that is stored of each item.")
        _button("CSV", f"{name}.csv", partial(_written, batch, export_csv), "The main columns, for spreadsheets.")
        _button(
            "Text files (zip)",
            f"{name}.zip",
            partial(_written, batch, lambda records, path: zip_sidecars(records, path, options)),
            "One text file for each answer, as tools for training image models read captions. Failed items have none.",
        )
    st.caption(message(f"The results are stored in {batch.results}."))


def _button(label: str, file_name: str, read: Callable[[], bytes], tip: str) -> None:
    st.download_button(
        label, read, file_name, icon=":material/download:", key=f"batch_{label}", help=tip, on_click="ignore"
    )


def _written(batch: SavedBatch, write: Callable[[Any, Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        write(read_records(batch.results), path)
        return path.read_bytes()
