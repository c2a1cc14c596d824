"""What rounds need before they start."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from smolvlm_core.conversations.store import Store
from smolvlm_core.paths import BUNDLED_CHECKPOINT, PROJECT
from smolvlm_core.prompt.generation import GenerationSettings

OLD_TURNS = 400


def write_old_store(folder: Path) -> None:
    """A store as version 0.1.0 wrote it, with many messages."""
    store = Store(folder)
    for number in range(OLD_TURNS // 20):
        conversation = store.create("image")
        for turn in range(20):
            question = store.add_question(conversation, f"question {number} {turn}")
            store.save_answer(store.begin_answer(question, "m", GenerationSettings()), "x" * 500, "complete")
    store._database._close_all()
    with contextlib.closing(sqlite3.connect(folder / "conversations.sqlite3", isolation_level=None)) as db:
        for (index,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall():
            if index != "messages_of":
                db.execute(f"DROP INDEX {index}")
        db.execute("ALTER TABLE messages DROP COLUMN parent")
        first = {"id", "kind", "title", "created", "updated"}
        for _, column, *_ in db.execute("PRAGMA table_info(conversations)").fetchall():
            if column not in first:
                db.execute(f"ALTER TABLE conversations DROP COLUMN {column}")
        db.execute("UPDATE messages SET stats = '{\"stop_reason\": \"end\"}' WHERE role = 'assistant'")
        db.execute("PRAGMA user_version = 0")


def converted(folder: Path) -> Path:
    """The bundled model as GGUF files."""
    out = folder / "ggufs"
    command = [
        sys.executable,
        "-m",
        "smolvlm_core",
        "convert",
        str(BUNDLED_CHECKPOINT),
        "--out",
        str(out),
        "--no-check",
    ]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return out
