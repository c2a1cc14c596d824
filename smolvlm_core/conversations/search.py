"""Finding conversations by their titles and messages. Knows the tables; not what a page shows."""

from __future__ import annotations

import sqlite3

from smolvlm_core.database import Database
from smolvlm_core.errors import StoreError
from smolvlm_core.text import valid_text

MAX_SEARCH_CHARACTERS = 1000
COLUMNS = "c.id, c.kind, c.title, c.created, c.updated"


def find(database: Database, kind: str | None, search: str) -> list[sqlite3.Row]:
    """Rows of COLUMNS of the conversations with messages, the one with the latest message first.

    Raises:
        StoreError: they cannot be read, or `search` is longer than MAX_SEARCH_CHARACTERS.
    """
    if len(search) > MAX_SEARCH_CHARACTERS:
        raise StoreError(
            f"The search has {len(search):,} characters; {MAX_SEARCH_CHARACTERS:,} are allowed.", "Shorten it."
        )
    pattern = _like(search)
    return database.rows(
        f"SELECT DISTINCT {COLUMNS} FROM conversations c JOIN messages m ON m.conversation_id = c.id"
        " WHERE (? IS NULL OR c.kind = ?) AND (c.title LIKE ? ESCAPE '\\' OR m.text LIKE ? ESCAPE '\\')"
        " ORDER BY (SELECT MAX(id) FROM messages WHERE conversation_id = c.id) DESC",  # whatever the clock says
        (kind, kind, pattern, pattern),
    )


def matching_text(database: Database, conversation_id: str, search: str) -> str:
    """The first message that matches, if possible one that is not replaced; "" where only the title does. Raises StoreError."""
    row = database.row(
        "SELECT text FROM messages WHERE conversation_id = ? AND text LIKE ? ESCAPE '\\' ORDER BY active DESC, id LIMIT 1",
        (conversation_id, _like(search)),
    )
    return str(row["text"]) if row else ""


def _like(search: str) -> str:
    return "%" + valid_text(search).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
