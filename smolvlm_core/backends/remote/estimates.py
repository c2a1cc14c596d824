"""What a remote model probably costs: servers do not report how they cut pictures."""

from __future__ import annotations

from dataclasses import replace

from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec

DEFAULT_CONTEXT = 4096  # where a server does not say: what small ones are often started with
ESTIMATES = "Remote server: token counts are estimates."


def estimated_spec(model: str, key: str, title: str, context_tokens: int) -> ModelSpec:
    """A server does not say how it cuts pictures. The sizes of a published model of that name are assumed."""
    like = next((s for s in catalog.PUBLISHED if s.key.lower() in model.lower()), catalog.PUBLISHED[1])
    licence = "see the server's model"
    return replace(
        like, key=key, title=title, context_tokens=context_tokens or DEFAULT_CONTEXT, licence=licence, note=""
    )
