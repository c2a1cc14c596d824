"""The table of the Usage page."""

from __future__ import annotations

import streamlit as st

from smolvlm_core.access.usage import usage_of
from smolvlm_core.models.machine import describe_bytes
from ui.access import current


def draw() -> None:
    """Raises StoreError."""
    users = current.logins().users
    rows = [
        {
            "User": usage.name,
            "Admin": usage.is_admin,
            "Conversations": usage.conversations,
            "Questions": usage.questions,
            "Batches": usage.batches,
            "Stored": describe_bytes(usage.stored_bytes),
            "Last question": usage.last_question,
            "API keys": usage.keys,
        }
        for usage in usage_of(users)
    ]
    st.dataframe(rows, hide_index=True, column_config={"Last question": st.column_config.DatetimeColumn()})
    limits = users.limits
    st.caption(
        f"Each user: {limits.disk_bytes / 2**30:g} GiB of pictures, clips, uploads and timelines, and {limits.questions} questions at once. "
        "`python -m smolvlm_core users limits` changes this."
    )
