"""Which models the API offers, and which one a request means. Knows the registry and verdicts."""

from __future__ import annotations

from typing import Any

from smolvlm_core.api.errors import ApiError
from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace


class Models:
    """The entries of a workspace. `default`: the one that answers where a request names none.

    A request chooses from the list only: no folder, file or address of its own.
    """

    def __init__(self, workspace: Workspace, default: Entry) -> None:
        self._workspace, self.default = workspace, default

    def entries(self) -> list[Entry]:
        """The default first, then the others of the workspace."""
        others = self._workspace.registry.entries()
        return [self.default, *(entry for entry in others if entry.key != self.default.key)]

    def choose(self, name: str) -> Entry:
        """Raises ApiError where there is no such model, LensError where it cannot be used."""
        entries = self.entries()
        entry = entries[0] if not name else next((e for e in entries if name in (e.key, e.title)), None)
        if entry is None:
            known = ", ".join(e.key for e in entries)
            raise ApiError(
                404, "model_not_found", f"There is no model {name!r}.", f"Use one of: {known}.", param="model"
            )
        if not entry.is_on_this_machine and entry.key != self.default.key:
            hint = f"Start the server with --model {entry.key}, or ask it in the app: that downloads it."
            raise ApiError(400, "model_not_downloaded", f"{entry.title} is not on this machine.", hint, param="model")
        return entry

    def backend(self, entry: Entry) -> Backend:
        return entry.make(self._workspace.pool)

    def verdict(self, backend: Backend) -> str | None:
        """Of the last vision check; None where it was never checked."""
        last = self._workspace.verdicts.last(backend)
        return last.verdict if last is not None else None

    def as_json(self, entry: Entry) -> dict[str, Any]:
        """OpenAI's model object, and what the model needs and sees. Loads nothing and asks no server."""
        row: dict[str, Any] = {
            "id": entry.key,
            "object": "model",
            "created": 0,
            "owned_by": "smolvlm-lens",
            "name": entry.label,
            "kind": entry.kind,
            "on_this_machine": entry.is_on_this_machine,
        }
        try:
            backend = self.backend(entry)
        except LensError as error:
            return {**row, "error": str(error)}
        return {
            **row,
            "max_model_len": backend.spec.context_tokens,
            "architecture": {"input_modalities": ["text", "image", "video"]},
            "vision_check": self.verdict(backend),
        }
