"""Conversations on disk: SQLite for what was said, a folder of files named by content hash for what was shown.

Every change is one transaction, so a crash loses at most the last fraction of a second of an answer. Two tabs or
processes may write at the same time: messages are only ever added or marked, never rewritten as a whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import psutil
from PIL import Image

from smolvlm_core import media
from smolvlm_core.errors import StoreError
from smolvlm_core.paths import data_folder
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message, Status
from smolvlm_core.text import valid_text

Kind = Literal["image", "video"]
HALF_COPIED = "partial-"
ABANDONED_SECONDS = 24 * 3600
_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
    role TEXT NOT NULL, text TEXT NOT NULL, attachments TEXT NOT NULL, reply_to INTEGER, status TEXT NOT NULL,
    active INTEGER NOT NULL DEFAULT 1, model TEXT NOT NULL DEFAULT '', revision TEXT NOT NULL DEFAULT '',
    settings TEXT, stats TEXT, error TEXT NOT NULL DEFAULT '', created REAL NOT NULL, owner TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS messages_of ON messages(conversation_id, id);
CREATE TABLE IF NOT EXISTS media (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, mime TEXT NOT NULL, bytes INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class ConversationInfo:
    id: str
    kind: Kind
    title: str
    created: float
    updated: float


class Store:
    """Safe to use from several threads: each has its own connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._local = threading.local()
        try:
            (folder / "media").mkdir(parents=True, exist_ok=True)
            with self._write() as db:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    db.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The data folder {folder} cannot be used: {error}.",
                "Set SMOLVLM_LENS_DATA to a folder that can be written.",
            ) from error
        self._mark_interrupted()
        self._discard_abandoned()

    # --- conversations ---

    def create(self, kind: Kind, title: str = "") -> str:
        identity, now = uuid.uuid4().hex, time.time()
        with self._write() as db:
            db.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", (identity, kind, title, now, now))
        return identity

    def conversations(self, kind: Kind | None = None, search: str = "") -> list[ConversationInfo]:
        """Those with messages, the latest first; `search` looks in titles and in what was said."""
        pattern = "%" + valid_text(search).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._read().execute(
            "SELECT DISTINCT c.* FROM conversations c JOIN messages m ON m.conversation_id = c.id"
            " WHERE (? IS NULL OR c.kind = ?) AND (c.title LIKE ? ESCAPE '\\' OR m.text LIKE ? ESCAPE '\\') ORDER BY c.updated DESC",
            (kind, kind, pattern, pattern),
        )
        return [ConversationInfo(*row) for row in rows]

    def info(self, conversation_id: str) -> ConversationInfo | None:
        row = self._read().execute("SELECT * FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
        return ConversationInfo(*row) if row else None

    def rename(self, conversation_id: str, title: str) -> None:
        with self._write() as db:
            db.execute(
                "UPDATE conversations SET title = ? WHERE id = ?",
                (valid_text(title).strip()[:200] or "Untitled", conversation_id),
            )

    def delete(self, conversation_id: str, keep: frozenset[str] = frozenset()) -> None:
        """The conversation and every media file that no other one uses. `keep`: media that wait to be sent."""
        shown = self._media_of(conversation_id)
        with self._write() as db:
            db.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
        self.discard(shown - keep)

    # --- messages ---

    def messages(self, conversation_id: str) -> list[Message]:
        """All of them in the order they were added, replaced ones too."""
        rows = self._read().execute("SELECT * FROM messages WHERE conversation_id = ? ORDER BY id", (conversation_id,))
        return [_message(row) for row in rows]

    def message(self, message_id: int) -> Message | None:
        row = self._read().execute("SELECT * FROM messages WHERE id = ?", (message_id,)).fetchone()
        return _message(row) if row else None

    def add_question(self, conversation_id: str, text: str, attachments: tuple[Attachment, ...] = ()) -> int:
        """Raises StoreError where the conversation is gone (deleted in another tab)."""
        with self._write() as db:
            return self._insert_question(db, conversation_id, text, attachments)

    def _insert_question(
        self, db: sqlite3.Connection, conversation_id: str, text: str, attachments: tuple[Attachment, ...]
    ) -> int:
        now, text = time.time(), valid_text(text)
        try:
            cursor = db.execute(
                "INSERT INTO messages (conversation_id, role, text, attachments, status, created)"
                " VALUES (?, 'user', ?, ?, 'complete', ?)",
                (conversation_id, text, _attachments_json(attachments), now),
            )
        except sqlite3.IntegrityError as error:
            raise StoreError("This conversation was deleted.", "Start a new one.") from error
        title = (text.strip() or "Untitled").splitlines()[0][:60]
        db.execute(
            "UPDATE conversations SET updated = ?, title = CASE title WHEN '' THEN ? ELSE title END WHERE id = ?",
            (now, title, conversation_id),
        )
        return int(cursor.lastrowid or 0)

    def begin_answer(self, question_id: int, model: str, settings: dict[str, Any]) -> int:
        """A new, running answer; an earlier answer to the same question is marked as replaced."""
        with self._write() as db:
            row = db.execute("SELECT conversation_id FROM messages WHERE id = ?", (question_id,)).fetchone()
            if row is None:
                raise StoreError("This conversation was deleted.", "Start a new one.")
            db.execute("UPDATE messages SET active = 0 WHERE reply_to = ?", (question_id,))
            cursor = db.execute(
                "INSERT INTO messages (conversation_id, role, text, attachments, reply_to, status, model, settings, created, owner)"
                " VALUES (?, 'assistant', '', '[]', ?, 'running', ?, ?, ?, ?)",
                (row[0], question_id, model, json.dumps(settings), time.time(), _this_process()),
            )
        return int(cursor.lastrowid or 0)

    def save_answer(
        self,
        answer_id: int,
        text: str,
        status: Status,
        *,
        stats: dict[str, Any] | None = None,
        revision: str = "",
        error: str = "",
    ) -> None:
        with self._write() as db:
            db.execute(
                "UPDATE messages SET text = ?, status = ?, stats = ?, revision = ?, error = ? WHERE id = ?",
                (
                    valid_text(text),
                    status,
                    json.dumps(stats) if stats else None,
                    revision,
                    valid_text(error),
                    answer_id,
                ),
            )
            db.execute(
                "UPDATE conversations SET updated = ? WHERE id = (SELECT conversation_id FROM messages WHERE id = ?)",
                (time.time(), answer_id),
            )

    def replace_question(self, question_id: int, text: str) -> int:
        """An edited question: the old one and its answer are kept, marked as replaced."""
        old = self.message(question_id)
        row = self._read().execute("SELECT conversation_id FROM messages WHERE id = ?", (question_id,)).fetchone()
        if old is None or row is None:
            raise StoreError("This conversation was deleted.", "Start a new one.")
        with self._write() as db:
            hidden = db.execute("UPDATE messages SET active = 0 WHERE id = ? AND active = 1", (question_id,)).rowcount
            if not hidden:
                raise StoreError("This question was edited in another tab.", "Edit the newer one.")
            db.execute("UPDATE messages SET active = 0 WHERE reply_to = ?", (question_id,))
            return self._insert_question(db, row[0], text, old.attachments)

    def set_shown(self, message_id: int, sha256: str, shown: bool) -> None:
        """Whether the model is still shown one attachment of a question."""
        with self._write() as db:
            row = db.execute("SELECT attachments FROM messages WHERE id = ?", (message_id,)).fetchone()
            if row is None:
                raise StoreError("This conversation was deleted.", "Start a new one.")
            changed = tuple(replace(a, shown=shown) if a.sha256 == sha256 else a for a in _attachments(row[0]))
            db.execute("UPDATE messages SET attachments = ? WHERE id = ?", (_attachments_json(changed), message_id))

    # --- media ---

    def add_media(self, data: bytes, name: str, mime: str) -> str:
        """Keep some bytes once, by content; returns their SHA-256. Raises StoreError."""
        sha256 = media.sha256_of(data)
        row = self._read().execute("SELECT 1 FROM media WHERE sha256 = ?", (sha256,)).fetchone()
        if row and self.media_path(sha256).exists():
            return sha256  # the frames of a clip come again with every question
        return self.add_file(io.BytesIO(data), name, mime)

    def add_file(self, file: BinaryIO, name: str, mime: str) -> str:
        """Keep what is in a file once, by content, a piece at a time; returns its SHA-256. Raises StoreError."""
        folder = self.folder / "media"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=HALF_COPIED, dir=folder) as beside:
                partial = Path(beside) / "partial"
                sha256, size = _copied(file, partial)
                path = self.media_path(sha256, name)
                if not path.exists():
                    path.parent.mkdir(exist_ok=True)
                    partial.replace(path)
        except OSError as error:
            raise StoreError(f"{name} cannot be kept: {error}.", "Free some disk space.") from error
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO media VALUES (?, ?, ?, ?)", (sha256, path.name, mime, size))
        return sha256

    def discard(self, sha256s: set[str]) -> None:
        """Delete those media files that no message shows."""
        unused = sha256s - self._media_of()
        paths = [self.media_path(sha256) for sha256 in unused]
        with self._write() as db:
            db.executemany("DELETE FROM media WHERE sha256 = ?", [(sha256,) for sha256 in unused])
        for path in paths:
            path.unlink(missing_ok=True)

    def media_path(self, sha256: str, name: str = "") -> Path:
        """Where a media file lies. `name` matters only for a file that is not kept yet (its extension is kept)."""
        row = self._read().execute("SELECT name FROM media WHERE sha256 = ?", (sha256,)).fetchone()
        return self.folder / "media" / sha256[:2] / (row[0] if row else sha256 + _safe_suffix(name))

    def media_bytes(self, sha256: str) -> bytes:
        return _bytes_of(self.media_path(sha256))

    def picture(self, sha256: str) -> Image.Image:
        """A kept picture, decoded. Raises StoreError or MediaError."""
        return _decoded(self.media_path(sha256), sha256)

    # --- inside ---

    def _read(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            db = sqlite3.connect(self.folder / "conversations.sqlite3", timeout=30, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            self._local.db = db
        return self._local.db  # type: ignore[no-any-return]

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._read()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(
                f"The conversations in {self.folder} cannot be written: {error}.",
                "Free some disk space, or close other copies of the app.",
            ) from error

    def _mark_interrupted(self) -> None:
        """Answers left running by a process that is gone."""
        rows = self._read().execute("SELECT id, owner FROM messages WHERE status = 'running'").fetchall()
        gone = [(i,) for i, owner in rows if not _is_alive(owner)]
        if gone:
            with self._write() as db:
                db.executemany("UPDATE messages SET status = 'interrupted' WHERE id = ?", gone)

    def _media_of(self, conversation_id: str | None = None) -> set[str]:
        """SHA-256 of all that the messages of one conversation, or of all, show."""
        query = "SELECT attachments FROM messages WHERE attachments != '[]' AND (? IS NULL OR conversation_id = ?)"
        found: set[str] = set()
        for (text,) in self._read().execute(query, (conversation_id, conversation_id)):
            for attachment in _attachments(text):
                found |= {attachment.sha256, *(frame.sha256 for frame in attachment.frames)}
        return found

    def _discard_abandoned(self) -> None:
        """What was added a day ago or earlier and never sent, and what a crash left half copied."""
        kept = [row[0] for row in self._read().execute("SELECT sha256 FROM media")]
        limit = time.time() - ABANDONED_SECONDS
        for half in (self.folder / "media").glob(f"{HALF_COPIED}*"):
            if half.stat().st_mtime < limit:
                shutil.rmtree(half, ignore_errors=True)
        self.discard({sha for sha in kept if (p := self.media_path(sha)).exists() and p.stat().st_mtime < limit})


def _this_process() -> str:
    """The process's number and start: a number alone is used again after a restart."""
    return f"{os.getpid()} {psutil.Process().create_time():.2f}"


def _is_alive(owner: str) -> bool:
    number, _, started = owner.partition(" ")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == started
    except (psutil.Error, ValueError):
        return False


@lru_cache(maxsize=16)
def _decoded(path: Path, sha256: str) -> Image.Image:
    return media.open_image(_bytes_of(path), path.name).image


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            "A picture of this conversation is missing from the data folder.",
            "Remove it from the question, or add it again.",
        ) from error


def _safe_suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ""


def _attachments_json(attachments: tuple[Attachment, ...]) -> str:
    return json.dumps([asdict(a) for a in attachments])


def _attachments(text: str) -> tuple[Attachment, ...]:
    out = []
    for fields in json.loads(text):
        frames = tuple(FrameRef(**frame) for frame in fields.pop("frames"))
        ends = fields.pop("range_seconds", None)
        fields["notes"] = tuple(fields["notes"])
        out.append(Attachment(**fields, frames=frames, range_seconds=tuple(ends) if ends else None))
    return tuple(out)


def _message(row: tuple[Any, ...]) -> Message:
    (
        identity,
        _,
        role,
        text,
        attachments,
        reply_to,
        status,
        active,
        model,
        revision,
        settings,
        stats,
        error,
        created,
        _,
    ) = row
    return Message(
        role,
        text,
        _attachments(attachments),
        identity,
        reply_to,
        status,
        bool(active),
        model,
        revision,
        json.loads(settings) if settings else None,
        json.loads(stats) if stats else None,
        error,
        created,
    )


@lru_cache(maxsize=8)
def open_store(folder: Path | None = None) -> Store:
    """The store of a folder (by default the user's), one object a process."""
    return Store(folder or data_folder())


def _copied(source: BinaryIO, target: Path) -> tuple[str, int]:
    """SHA-256 and bytes of what was copied."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        while piece := source.read(1 << 20):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
    return digest.hexdigest(), size
