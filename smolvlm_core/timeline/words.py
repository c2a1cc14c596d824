"""Full-text search over what was said and noted, with SQLite's FTS5. Knows the tables; not what a page shows.

One row of `words` is the text of one answer or note. Its number says of which: see `_row`.
"""

from __future__ import annotations

import re
import sqlite3

from smolvlm_core.database import Database
from smolvlm_core.errors import StoreError
from smolvlm_core.text import valid_text
from smolvlm_core.timeline.records import MARK, MAX_COLUMNS, Hit

MAX_SEARCH_CHARACTERS = 1000
MOST_HITS = 200
EXCERPT_WORDS = 24
_PLACES = MAX_COLUMNS + 1  # of a segment: its columns, and the note after them
_WORD = re.compile(r"\w+")


def put(db: sqlite3.Connection, segment: int, column: int | None, text: str) -> None:
    """The text of an answer, or of a note (None), in place of the one before."""
    db.execute("DELETE FROM words WHERE rowid = ?", (_row(segment, column),))
    if text.strip():
        db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (_row(segment, column), valid_text(text)))


def forget_column(db: sqlite3.Connection, timeline: str, column: int) -> None:
    db.execute(
        f"DELETE FROM words WHERE rowid IN (SELECT id * {_PLACES} + ? FROM segments WHERE timeline = ?)",
        (column, timeline),
    )


def forget_timeline(db: sqlite3.Connection, timeline: str) -> None:
    for row in db.execute("SELECT id FROM segments WHERE timeline = ?", (timeline,)).fetchall():
        first = _row(int(row["id"]), 0)
        db.execute("DELETE FROM words WHERE rowid BETWEEN ? AND ?", (first, first + _PLACES - 1))


def find(database: Database, text: str, timeline: str | None) -> list[Hit]:
    """Where all the words of `text` are, each as the beginning of a word there; the best first.
    MOST_HITS at most over all timelines; all of them in one.

    Raises:
        StoreError: the timelines cannot be read, or `text` has more than MAX_SEARCH_CHARACTERS.
    """
    if len(text) > MAX_SEARCH_CHARACTERS:
        raise StoreError(
            f"The search has {len(text):,} characters; {MAX_SEARCH_CHARACTERS:,} are allowed.", "Shorten it."
        )
    wanted = _WORD.findall(valid_text(text))
    if not wanted:
        return []
    found = database.rows(
        f"SELECT w.rowid AS place, s.timeline, s.id, snippet(words, 0, ?, ?, '…', {EXCERPT_WORDS}) AS excerpt FROM words w"
        f" JOIN segments s ON s.id = w.rowid / {_PLACES} WHERE words MATCH ? AND (? IS NULL OR s.timeline = ?)"
        f" ORDER BY rank, s.start LIMIT ?",
        (*MARK, " ".join(f'"{word}"*' for word in wanted), timeline, timeline, MOST_HITS if timeline is None else -1),
    )
    return [
        Hit(
            timeline=str(row["timeline"]),
            segment=int(row["id"]),
            column=_column(int(row["place"])),
            excerpt=str(row["excerpt"]),
        )
        for row in found
    ]


def _row(segment: int, column: int | None) -> int:
    return segment * _PLACES + (MAX_COLUMNS if column is None else column)


def _column(row: int) -> int | None:
    place = row % _PLACES
    return None if place == MAX_COLUMNS else place
