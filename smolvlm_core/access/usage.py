"""How much each user stores: numbers, no contents. Knows where users' folders are; opens databases for reading only."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from smolvlm_core.access.quota import used_bytes
from smolvlm_core.access.users import User, Users


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of one user. `stored_bytes`: pictures, clips, uploads and timelines. `last_question`: None where nothing was asked."""

    name: str
    is_admin: bool
    conversations: int
    questions: int
    batches: int
    stored_bytes: int
    last_question: datetime | None
    keys: int


def usage_of(users: Users) -> list[Usage]:
    """Users of the list first, then those of a domain who have stored something. Raises StoreError."""
    listed = [user for user in users.all() if not user.is_domain]
    names = {user.name for user in listed}
    with contextlib.suppress(OSError):
        for folder in sorted((users.data_folder / "users").iterdir()):
            if folder.name not in names and (user := users.find(folder.name)) is not None:
                listed.append(user)
    return [_usage(user, user.folder(users.data_folder)) for user in listed]


def _usage(user: User, folder: Path) -> Usage:
    conversations, questions, last = _counts(folder / "conversations.sqlite3")
    return Usage(
        name=user.name,
        is_admin=user.is_admin,
        conversations=conversations,
        questions=questions,
        batches=sum(1 for _ in folder.glob("batches/*/batch.json")),
        stored_bytes=used_bytes(folder),
        last_question=datetime.fromtimestamp(last, UTC) if last else None,
        keys=len(user.keys),
    )


def _counts(path: Path) -> tuple[int, int, float]:
    """(conversations, questions, time of the last one); zeros for a database that is not there or cannot be read."""
    if not path.exists():
        return 0, 0, 0.0
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)) as db:
            asked = "SELECT COUNT(DISTINCT conversation_id), COUNT(*), MAX(created) FROM messages WHERE role = 'user'"
            conversations, questions, last = db.execute(asked).fetchone()
            return int(conversations), int(questions), float(last or 0.0)
    except (sqlite3.Error, ValueError, TypeError):
        return 0, 0, 0.0
