"""Timelines on disk, in a database of their own. Does not know backends, clips' files or pages.

Every change is one transaction. Several tabs and processes can read and write at the same time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolvlm_core.conversations.problems import Problems
from smolvlm_core.database import Database
from smolvlm_core.errors import DeletedError, StoreError
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.text import valid_text
from smolvlm_core.timeline import rows, words
from smolvlm_core.timeline.records import MAX_COLUMNS, Answer, Hit, Segment, Timeline
from smolvlm_core.timeline.schema import SCHEMA
from smolvlm_core.timeline.segments import Piece

FILE = "timelines.sqlite3"
GONE = ("This timeline was deleted.", "Start a new one.")


@dataclass(frozen=True, kw_only=True)
class KeptFrame:
    """A frame that the model was shown. `thumbnail`: a JPEG. `picture`: a PNG or JPEG, where the clip cannot give it again."""

    ref: FrameRef
    thumbnail: bytes
    picture: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Document:
    """Something that is kept with a clip or a timeline, such as a curve. `value`: from JSON. `created`: seconds since 1970."""

    name: str
    value: Any
    created: float


class TimelineStore:
    """Used from any thread. Nothing is created on disk before the first use."""

    def __init__(self, folder: Path) -> None:
        self._problems = Problems()
        self._database = Database(folder / FILE, SCHEMA, self._problems.add)

    def problems(self) -> tuple[str, ...]:
        """What could not be read so far, in words."""
        return self._problems.all()

    # Timelines

    def add(self, timeline: Timeline) -> None:
        """Store a timeline with its columns; it has no segments yet. One of the same identity stays: only where its clip is changes."""
        with self._database.transaction() as db:
            added = db.execute(
                "INSERT OR IGNORE INTO timelines (id, kind, clip, sha256, request, created, model, notes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    timeline.identity,
                    timeline.kind,
                    _json(asdict(timeline.clip)),
                    timeline.clip.sha256,
                    _json(asdict(timeline.request)),
                    timeline.created,
                    valid_text(timeline.model),
                    _json(timeline.notes),
                ),
            ).rowcount
            if not added:
                clip = _json(asdict(timeline.clip))
                db.execute("UPDATE timelines SET clip = ? WHERE id = ?", (clip, timeline.identity))
            for number, question in timeline.columns.items() if added else ():
                db.execute("INSERT INTO columns VALUES (?, ?, ?)", (timeline.identity, number, valid_text(question)))

    def all(self, sha256: str | None = None) -> list[Timeline]:
        """Those of a clip, or all, the newest first. What cannot be read is left out, and among `problems`."""
        found = self._database.rows(
            "SELECT * FROM timelines WHERE ? IS NULL OR sha256 = ? ORDER BY created DESC, rowid DESC", (sha256, sha256)
        )
        return self._timelines(found)

    def find(self, identity: str) -> Timeline | None:
        found = self._timelines(self._database.rows("SELECT * FROM timelines WHERE id = ?", (identity,)))
        return found[0] if found else None

    def _timelines(self, found: Sequence[sqlite3.Row]) -> list[Timeline]:
        if not found:
            return []
        marks = ", ".join("?" * len(found))
        columns = self._database.rows(
            f"SELECT * FROM columns WHERE timeline IN ({marks}) ORDER BY number", [row["id"] for row in found]
        )
        read = (rows.timeline_of(row, columns, self._problems.add) for row in found)
        return [timeline for timeline in read if timeline is not None]

    def clips(self) -> frozenset[str]:
        """SHA-256 of the clips that have a timeline."""
        if not self._database.path.is_file():
            return frozenset()
        return frozenset(str(row["sha256"]) for row in self._database.rows("SELECT DISTINCT sha256 FROM timelines"))

    def delete(self, identity: str) -> None:
        with self._database.transaction() as db:
            words.forget_timeline(db, identity)
            db.execute("DELETE FROM documents WHERE owner = ?", (identity,))
            db.execute("DELETE FROM timelines WHERE id = ?", (identity,))
        self._database.shrink()

    def add_column(self, identity: str, question: str) -> int:
        """Add a question. Returns its number. Raises StoreError where there are too many."""
        with self._database.transaction() as db:
            taken = {
                int(row["number"]) for row in db.execute("SELECT number FROM columns WHERE timeline = ?", (identity,))
            }
            if not taken:
                raise DeletedError(*GONE)
            number = next((n for n in range(1, MAX_COLUMNS) if n not in taken), None)
            if number is None:
                raise StoreError(f"A timeline has at most {MAX_COLUMNS - 1} questions.", "Remove one first.")
            db.execute("INSERT INTO columns VALUES (?, ?, ?)", (identity, number, valid_text(question)))
            return number

    def remove_column(self, identity: str, number: int) -> None:
        """Remove a question with its answers."""
        with self._database.transaction() as db:
            words.forget_column(db, identity, number)
            db.execute(
                "DELETE FROM answers WHERE number = ? AND segment IN (SELECT id FROM segments WHERE timeline = ?)",
                (number, identity),
            )
            db.execute("DELETE FROM columns WHERE timeline = ? AND number = ?", (identity, number))

    # Segments

    def put_segments(self, identity: str, pieces: Sequence[Piece], notes: Sequence[str] = ()) -> None:
        """Store how a clip was cut, and what was unusual about it. Changes nothing where it was cut before. Raises DeletedError."""
        with self._database.transaction() as db:
            if db.execute("SELECT 1 FROM segments WHERE timeline = ?", (identity,)).fetchone() is not None:
                return
            ids: list[int] = []
            for piece in pieces:
                parent = None if piece.parent is None else ids[piece.parent]
                ids.append(_add_segment(db, identity, piece.start_seconds, piece.end_seconds, parent))
            db.execute("UPDATE timelines SET notes = ? WHERE id = ?", (_json(notes), identity))

    def add_segment(self, identity: str, start_seconds: float, end_seconds: float) -> int:
        """Add a segment at the end, for sessions that go on. Returns its identity."""
        with self._database.transaction() as db:
            return _add_segment(db, identity, start_seconds, end_seconds, None)

    def segments(self, identity: str, newest: int = -1) -> list[Segment]:
        """All of a timeline, by time; with `newest`, only so many that were added last."""
        chosen, values = "(SELECT id FROM segments WHERE timeline = ? ORDER BY id DESC LIMIT ?)", (identity, newest)
        frames = "SELECT segment, position, seconds, number, sha256 FROM frames"
        return rows.segments_of(
            self._database.rows(f"SELECT * FROM segments WHERE id IN {chosen} ORDER BY start, id", values),
            self._database.rows(f"{frames} WHERE segment IN {chosen} ORDER BY segment, position", values),
            self._database.rows(f"SELECT * FROM answers WHERE segment IN {chosen}", values),
            self._problems.add,
        )

    def timeline_of(self, segment: int) -> Timeline | None:
        """The timeline of a segment."""
        row = self._database.row("SELECT timeline FROM segments WHERE id = ?", (segment,))
        return self.find(str(row["timeline"])) if row else None

    def save_frames(self, segment: int, frames: Sequence[KeptFrame], notes: Sequence[str] = ()) -> None:
        """The frames that the model is shown, in place of earlier ones. Raises DeletedError."""
        with self._database.transaction() as db:
            _check(db, segment)
            db.execute("DELETE FROM frames WHERE segment = ?", (segment,))
            for position, frame in enumerate(frames):
                time_and_index = frame.ref.timestamp_seconds, frame.ref.frame_index
                values = (segment, position, *time_and_index, frame.ref.sha256, frame.thumbnail, frame.picture)
                db.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            db.execute("UPDATE segments SET notes = ? WHERE id = ?", (_json(notes), segment))

    def thumbnail(self, segment: int, position: int) -> bytes | None:
        """A JPEG; None where there is no such frame."""
        return self._blob("thumbnail", segment, position)

    def picture(self, segment: int, position: int) -> bytes | None:
        """The whole frame, where it was kept."""
        return self._blob("picture", segment, position)

    def _blob(self, what: str, segment: int, position: int) -> bytes | None:
        row = self._database.row(
            f"SELECT {what} AS found FROM frames WHERE segment = ? AND position = ?", (segment, position)
        )
        return bytes(row["found"]) if row and isinstance(row["found"], bytes) else None

    # Answers and notes

    def save_answer(self, segment: int, column: int, answer: Answer) -> None:
        """What the model said, in place of what it said before; an edit stays. Raises DeletedError."""
        with self._database.transaction() as db:
            _check(db, segment)
            before = db.execute(
                "SELECT edited FROM answers WHERE segment = ? AND number = ?", (segment, column)
            ).fetchone()
            edited = before["edited"] if before is not None else answer.edited
            db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    segment,
                    column,
                    valid_text(answer.text),
                    edited,
                    valid_text(answer.error),
                    valid_text(answer.model),
                    valid_text(answer.weights),
                    valid_text(answer.prompt),
                    _json(asdict(answer.stats)) if answer.stats is not None else None,
                    answer.finished,
                ),
            )
            words.put(db, segment, column, answer.text if edited is None else str(edited))

    def edit(self, segment: int, column: int, text: str | None) -> None:
        """What a person makes of an answer, beside the model's words; None takes it back.

        Raises DeletedError where there is no such answer.
        """
        edited = None if text is None else valid_text(text)
        with self._database.transaction() as db:
            found = db.execute(
                "UPDATE answers SET edited = ? WHERE segment = ? AND number = ? RETURNING text",
                (edited, segment, column),
            ).fetchone()
            if found is None:
                raise DeletedError("There is no such answer any more.", "Reload the page.")
            words.put(db, segment, column, str(found["text"]) if edited is None else edited)

    def set_note(self, segment: int, text: str) -> None:
        """A person's own words about a segment. Raises DeletedError."""
        with self._database.transaction() as db:
            _check(db, segment)
            db.execute("UPDATE segments SET note = ? WHERE id = ?", (valid_text(text), segment))
            words.put(db, segment, None, valid_text(text))

    def search(self, text: str, identity: str | None = None) -> list[Hit]:
        """Where all the words are found, the best first. Raises StoreError where the text has too many characters."""
        return words.find(self._database, text, identity)

    # Documents

    def keep(self, owner: str, kind: str, name: str, value: Any) -> None:
        """Keep something that can be JSON with a clip (its SHA-256) or a timeline (its identity)."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)",
                (owner, kind, valid_text(name), _json(value), time.time()),
            )

    def documents(self, owner: str, kind: str) -> list[Document]:
        """The newest first. Those that cannot be read are left out, and among `problems`."""
        found = self._database.rows(
            "SELECT name, value, created FROM documents WHERE owner = ? AND kind = ? ORDER BY created DESC, rowid DESC",
            (owner, kind),
        )
        read = (rows.json_of(row["value"], self._problems.add) for row in found)
        return [
            Document(name=str(row["name"]), value=value, created=rows.moment_of(row["created"]))
            for row, value in zip(found, read)
            if value is not None
        ]

    def forget(self, owner: str, kind: str, name: str) -> None:
        with self._database.transaction() as db:
            db.execute("DELETE FROM documents WHERE owner = ? AND kind = ? AND name = ?", (owner, kind, name))


def _add_segment(db: sqlite3.Connection, identity: str, start: float, end: float, parent: int | None) -> int:
    try:
        cursor = db.execute(
            "INSERT INTO segments (timeline, start, stop, parent) VALUES (?, ?, ?, ?)", (identity, start, end, parent)
        )
    except sqlite3.IntegrityError as error:
        raise DeletedError(*GONE) from error
    return int(cursor.lastrowid or 0)


def _check(db: sqlite3.Connection, segment: int) -> None:
    if db.execute("SELECT 1 FROM segments WHERE id = ?", (segment,)).fetchone() is None:
        raise DeletedError(*GONE)


def _json(value: Any) -> str:
    return json.dumps(value)
