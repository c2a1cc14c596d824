"""The tables of the conversation database, as numbered migrations. Does not know what the rows mean."""

from __future__ import annotations

from smolvlm_core.database import Schema

# MIGRATIONS[n] upgrades a database from version n to n + 1. Never change a released migration: add a new one.
# Databases created before version numbers have user_version 0 and the tables of the first migration, hence IF NOT EXISTS.
#
# Before version 3, questions stood in the order of their ids, and only the last one could be edited: those that are not active were
# replaced by the next active one. Earlier frames of clips were hidden in the row; now the branch says which are earlier. `:conversation`: the only one to change, or NULL for all.
BRANCHES = (
    """UPDATE messages SET active = 1 WHERE role = 'assistant' AND (:conversation IS NULL OR conversation_id = :conversation)
        AND id IN (SELECT MAX(id) FROM messages WHERE role = 'assistant' GROUP BY reply_to HAVING MAX(active) = 0)""",
    """UPDATE messages SET parent = (
            SELECT COALESCE((SELECT MAX(a.id) FROM messages a WHERE a.reply_to = q.id AND a.role = 'assistant' AND a.active
            AND a.id < messages.id), q.id) FROM messages q WHERE q.conversation_id = messages.conversation_id
            AND q.role = 'user' AND q.active AND q.id < messages.id ORDER BY q.id DESC LIMIT 1
        ) WHERE role = 'user' AND (:conversation IS NULL OR conversation_id = :conversation)""",
    """UPDATE messages SET attachments = REPLACE(attachments, '"shown": false', '"shown": true')
        WHERE attachments LIKE '%"kind": "video"%' AND (:conversation IS NULL OR conversation_id = :conversation)""",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS conversations (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL
        )""",
        """CREATE TABLE IF NOT EXISTS messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
            role TEXT NOT NULL, text TEXT NOT NULL, attachments TEXT NOT NULL, reply_to INTEGER, status TEXT NOT NULL,
            active INTEGER NOT NULL DEFAULT 1, model TEXT NOT NULL DEFAULT '', revision TEXT NOT NULL DEFAULT '',
            settings TEXT, stats TEXT, error TEXT NOT NULL DEFAULT '', created REAL NOT NULL, owner TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX IF NOT EXISTS messages_of ON messages(conversation_id, id)",
        """CREATE TABLE IF NOT EXISTS media (
            sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, mime TEXT NOT NULL, bytes INTEGER NOT NULL
        )""",
    ),
    ("CREATE INDEX IF NOT EXISTS conversations_by_update ON conversations(kind, updated)",),
    (
        "ALTER TABLE messages ADD COLUMN parent INTEGER",
        "CREATE INDEX IF NOT EXISTS messages_by_question ON messages(reply_to)",
        *BRANCHES,
    ),
)
SCHEMA = Schema("conversations", MIGRATIONS, parameters=("conversation",))
