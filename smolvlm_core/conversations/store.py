"""Conversations on disk: SQLite for messages, a folder of files for media. Does not know backends or pages.

Every change is one transaction, so a crash loses at most the last fraction of a second of an answer. Several tabs or
processes can write at the same time, because each write adds or updates one message and never rewrites a conversation.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from smolvlm_core import owners
from smolvlm_core.conversations.media_store import MediaStore
from smolvlm_core.conversations.problems import Problems
from smolvlm_core.conversations.rows import attachments_json, hashes_in, message_of, messages_of, moment_of, with_shown
from smolvlm_core.conversations.schema import SCHEMA
from smolvlm_core.conversations.search import COLUMNS, find, matching_text
from smolvlm_core.conversations.unsent import UnsentMedia
from smolvlm_core.database import Database
from smolvlm_core.errors import DeletedError, LensError, StoreError
from smolvlm_core.files import make_folder
from smolvlm_core.prompt.branches import Branches
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import AnswerStatus, Attachment, Message
from smolvlm_core.text import valid_text

ConversationKind = Literal["image", "video"]
_MESSAGE = (
    "id, role, text, attachments, reply_to, parent, status, active, model, revision, settings, stats, error, created"
)


@dataclass(frozen=True, kw_only=True)
class ConversationInfo:
    """`created` and `updated` are in seconds since the epoch."""

    id: str
    kind: ConversationKind
    title: str
    created: float
    updated: float


class Store:
    """Thread-safe: each thread has its own connection. `unsent`: media that are kept although no message uses them yet."""

    def __init__(self, folder: Path, unsent: UnsentMedia | None = None) -> None:
        """Raises StoreError if the folder cannot be used, or if a newer version of the app created the database."""
        self.folder = folder
        self.unsent = unsent or UnsentMedia()
        self._problems = Problems()
        path = folder / "conversations.sqlite3"
        SCHEMA.refuse_newer(path)  # before anything is created
        self._database = Database(path, SCHEMA, self._problems.add)
        self.transaction = self._database.transaction
        self.media = MediaStore(folder / "media", self._database)
        try:
            make_folder(self.media.folder)
        except OSError as error:
            raise StoreError(
                f"The data folder {folder} cannot be used: {error}.",
                "Set SMOLVLM_LENS_DATA to a writable folder.",
            ) from error
        self._mark_interrupted()
        self.discard(self.media.abandoned())

    def problems(self) -> tuple[str, ...]:
        """What could not be read so far, and what happened to the database file, in words."""
        return self._problems.all()

    # Conversations

    def create(self, kind: ConversationKind, title: str = "") -> str:
        identity, now = uuid.uuid4().hex, time.time()
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO conversations (id, kind, title, created, updated) VALUES (?, ?, ?, ?, ?)",
                (identity, kind, title, now, now),
            )
        return identity

    def conversations(self, kind: ConversationKind | None = None, search: str = "") -> list[ConversationInfo]:
        """Conversations with messages, the one with the latest message first. `search` matches titles and messages.

        Raises:
            StoreError: they cannot be read, or `search` is longer than MAX_SEARCH_CHARACTERS.
        """
        rows = find(self._database, kind, search)
        return [self._info(row) for row in rows if row["kind"] in get_args(ConversationKind)]

    def matching_text(self, conversation_id: str, search: str) -> str:
        """The first message that matches, if possible one that is not replaced; "" where only the title does."""
        return matching_text(self._database, conversation_id, search)

    def info(self, conversation_id: str) -> ConversationInfo | None:
        row = self._database.row(f"SELECT {COLUMNS} FROM conversations c WHERE id = ?", (conversation_id,))
        return self._info(row) if row and row["kind"] in get_args(ConversationKind) else None

    def _info(self, row: sqlite3.Row) -> ConversationInfo:
        def tell(problem: str) -> None:
            self._problems.add(f"The time of the conversation {row['title']!r:.80} cannot be read: {problem}.")

        created, updated = moment_of(row["created"], tell), moment_of(row["updated"], tell)
        return ConversationInfo(
            id=str(row["id"]), kind=row["kind"], title=str(row["title"]), created=created, updated=updated
        )

    def rename(self, conversation_id: str, title: str) -> None:
        with self._database.transaction() as db:
            db.execute(
                "UPDATE conversations SET title = ? WHERE id = ?",
                (valid_text(title).strip()[:200] or "Untitled", conversation_id),
            )

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation and the media that neither another one nor an unsent question uses."""
        shown = self._media_of(conversation_id)
        with self._database.transaction() as db:
            db.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
        self.discard(shown)

    # Messages

    def messages(self, conversation_id: str) -> list[Message]:
        """All messages in the order they were added, those of all branches."""
        query = f"SELECT {_MESSAGE} FROM messages WHERE conversation_id = ? ORDER BY id"
        return messages_of(self._database.rows(query, (conversation_id,)), self._problems.add)

    def message(self, message_id: int) -> Message | None:
        row = self._database.row(f"SELECT {_MESSAGE} FROM messages WHERE id = ?", (message_id,))
        return message_of(row, self._problems.add) if row else None

    def add_question(self, conversation_id: str, text: str, attachments: tuple[Attachment, ...] = ()) -> int:
        """Add a question at the end of the chosen branch.

        Raises DeletedError if the conversation was deleted, for example in another tab.
        """
        with self._database.transaction() as db:
            last = Branches(self.messages(conversation_id)).last()
            return self._insert_question(db, conversation_id, text, attachments, last.id if last else None)

    def _insert_question(
        self,
        db: sqlite3.Connection,
        conversation_id: str,
        text: str,
        attachments: tuple[Attachment, ...],
        parent: int | None,
    ) -> int:
        now, text = time.time(), valid_text(text)
        try:
            cursor = db.execute(
                "INSERT INTO messages (conversation_id, role, text, attachments, parent, status, created)"
                " VALUES (?, 'user', ?, ?, ?, 'complete', ?)",
                (conversation_id, text, attachments_json(attachments), parent, now),
            )
        except sqlite3.IntegrityError as error:
            raise DeletedError("This conversation was deleted.", "Start a new one.") from error
        title = (text.strip() or "Untitled").splitlines()[0][:60]
        db.execute(
            "UPDATE conversations SET updated = ?, title = CASE title WHEN '' THEN ? ELSE title END WHERE id = ?",
            (now, title, conversation_id),
        )
        return int(cursor.lastrowid or 0)

    def begin_answer(self, question_id: int, model: str, settings: GenerationSettings) -> int:
        """Add an answer with status "running". It is chosen; earlier answers to the same question stay stored."""
        with self._database.transaction() as db:
            row = db.execute("SELECT conversation_id FROM messages WHERE id = ?", (question_id,)).fetchone()
            if row is None:
                raise DeletedError("This conversation was deleted.", "Start a new one.")
            db.execute("UPDATE messages SET active = 0 WHERE reply_to = ?", (question_id,))
            cursor = db.execute(
                "INSERT INTO messages (conversation_id, role, text, attachments, reply_to, status, model, settings, created, owner)"
                " VALUES (?, 'assistant', '', '[]', ?, 'running', ?, ?, ?, ?)",
                (
                    row["conversation_id"],
                    question_id,
                    valid_text(model),
                    json.dumps(asdict(settings)),
                    time.time(),
                    owners.this_process(),
                ),
            )
        return int(cursor.lastrowid or 0)

    def save_answer(
        self,
        answer_id: int,
        text: str,
        status: AnswerStatus,
        *,
        stats: Stats | None = None,
        revision: str = "",
        error: str = "",
    ) -> None:
        """Raises DeletedError where there is no such answer any more."""
        with self._database.transaction() as db:
            cursor = db.execute(
                "UPDATE messages SET text = ?, status = ?, stats = ?, revision = ?, error = ? WHERE id = ?",
                (
                    valid_text(text),
                    status,
                    json.dumps(asdict(stats)) if stats else None,
                    valid_text(revision),
                    valid_text(error),
                    answer_id,
                ),
            )
            if not cursor.rowcount:
                raise DeletedError("The conversation of this answer was deleted.", "Start a new one.")
            db.execute(
                "UPDATE conversations SET updated = ? WHERE id = (SELECT conversation_id FROM messages WHERE id = ?)",
                (time.time(), answer_id),
            )

    def replace_question(self, question_id: int, text: str) -> int:
        """Add an edited question beside the old one, which stays stored with all that follows it. The new one is chosen."""
        row = self._database.row("SELECT conversation_id FROM messages WHERE id = ?", (question_id,))
        messages = self.messages(row["conversation_id"]) if row else []
        old = next((message for message in messages if message.id == question_id), None)
        if old is None or row is None:
            raise DeletedError("This conversation was deleted.", "Start a new one.")
        with self._database.transaction() as db:
            for version in Branches(messages).versions(old):
                db.execute("UPDATE messages SET active = 0 WHERE id = ?", (version.id,))
            return self._insert_question(db, row["conversation_id"], text, old.attachments, old.parent)

    def choose(self, conversation_id: str, message_id: int) -> None:
        """Show one version of a question or an answer, with what follows it, from now on.

        Raises:
            DeletedError: there is no such message in this conversation.
            LensError: an answer of this conversation is being written.
        """
        with self._database.transaction() as db:
            messages = self.messages(conversation_id)
            chosen = next((message for message in messages if message.id == message_id), None)
            if chosen is None:
                raise DeletedError("This version was deleted.", "Start a new conversation.")
            running = "SELECT owner FROM messages WHERE conversation_id = ? AND status = 'running'"
            if any(owners.is_alive(str(row["owner"])) for row in db.execute(running, (conversation_id,))):
                raise LensError(
                    "An answer of this conversation is being written.", "Stop it, or wait until it finishes."
                )
            for version in Branches(messages).versions(chosen):
                db.execute("UPDATE messages SET active = ? WHERE id = ?", (version.id == message_id, version.id))

    def set_shown(self, message_id: int, sha256: str, shown: bool) -> None:
        """Show or hide one attachment of a question from the model."""
        with self._database.transaction() as db:
            row = db.execute("SELECT attachments FROM messages WHERE id = ?", (message_id,)).fetchone()
            if row is None:
                raise DeletedError("This conversation was deleted.", "Start a new one.")
            try:
                changed = with_shown(row["attachments"], sha256, shown)
            except (ValueError, TypeError, RecursionError) as error:
                raise StoreError(
                    "The pictures of this question cannot be read.", "Ask again with the pictures."
                ) from error
            db.execute("UPDATE messages SET attachments = ? WHERE id = ?", (changed, message_id))

    # Media

    def discard(self, sha256s: set[str]) -> None:
        """Delete the media files that neither a message nor an unsent question uses."""
        self.media.discard(sha256s - self._media_of() - self.unsent.all())

    # Internal

    def _mark_interrupted(self) -> None:
        """Mark running answers of processes that no longer exist."""
        rows = self._database.rows("SELECT id, owner FROM messages WHERE status = 'running'")
        gone = [(row["id"],) for row in rows if not owners.is_alive(str(row["owner"]))]
        if gone:
            with self._database.transaction() as db:
                db.executemany("UPDATE messages SET status = 'interrupted' WHERE id = ?", gone)

    def _media_of(self, conversation_id: str | None = None) -> set[str]:
        """SHA-256 of all media in one conversation, or in all conversations."""
        query = "SELECT attachments FROM messages WHERE attachments != '[]' AND (? IS NULL OR conversation_id = ?)"
        media: set[str] = set()
        for row in self._database.rows(query, (conversation_id, conversation_id)):
            media |= hashes_in(row["attachments"])
        return media
