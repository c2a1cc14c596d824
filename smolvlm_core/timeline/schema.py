"""The tables of the timeline database, as numbered migrations. Does not know what the rows mean."""

from __future__ import annotations

from smolvlm_core.database import Schema

# MIGRATIONS[n] upgrades a database from version n to n + 1. Never change a released migration: add a new one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE timelines (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, clip TEXT NOT NULL, sha256 TEXT NOT NULL, request TEXT NOT NULL,
            created REAL NOT NULL, model TEXT NOT NULL, notes TEXT NOT NULL DEFAULT '[]'
        )""",
        "CREATE INDEX timelines_of ON timelines(sha256)",
        """CREATE TABLE columns (
            timeline TEXT NOT NULL REFERENCES timelines(id) ON DELETE CASCADE, number INTEGER NOT NULL,
            question TEXT NOT NULL, PRIMARY KEY (timeline, number)
        )""",
        """CREATE TABLE segments (
            id INTEGER PRIMARY KEY AUTOINCREMENT, timeline TEXT NOT NULL REFERENCES timelines(id) ON DELETE CASCADE,
            start REAL NOT NULL, stop REAL NOT NULL, parent INTEGER, note TEXT NOT NULL DEFAULT '',
            notes TEXT NOT NULL DEFAULT '[]'
        )""",
        "CREATE INDEX segments_of ON segments(timeline, start)",
        """CREATE TABLE frames (
            segment INTEGER NOT NULL REFERENCES segments(id) ON DELETE CASCADE, position INTEGER NOT NULL,
            seconds REAL NOT NULL, number INTEGER NOT NULL, sha256 TEXT NOT NULL, thumbnail BLOB NOT NULL, picture BLOB,
            PRIMARY KEY (segment, position)
        )""",
        """CREATE TABLE answers (
            segment INTEGER NOT NULL REFERENCES segments(id) ON DELETE CASCADE, number INTEGER NOT NULL,
            text TEXT NOT NULL, edited TEXT, error TEXT NOT NULL, model TEXT NOT NULL, weights TEXT NOT NULL,
            prompt TEXT NOT NULL, stats TEXT, finished REAL NOT NULL, PRIMARY KEY (segment, number)
        )""",
        """CREATE TABLE documents (
            owner TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, created REAL NOT NULL,
            PRIMARY KEY (owner, kind, name)
        )""",
        'CREATE VIRTUAL TABLE words USING fts5(text, tokenize = "unicode61 remove_diacritics 2")',
    ),
)
SCHEMA = Schema("timelines", MIGRATIONS, shrinks=True)
