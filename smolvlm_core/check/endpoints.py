"""Several servers as one backend, each proved by the vision check before it gets a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from smolvlm_core.backends.base import Backend, Entry
from smolvlm_core.backends.remote.endpoints import EndpointsBackend
from smolvlm_core.check.run import check
from smolvlm_core.errors import BackendError
from smolvlm_core.work.pool import Pool


@dataclass(frozen=True, kw_only=True)
class EndpointsEntry(Entry):
    """Several servers, chosen on the command line. All its backends are one: what is known of the servers is shared."""

    kind: ClassVar[str] = "endpoints"

    urls: tuple[str, ...]
    model: str = ""
    api_key: str = field(default="", repr=False)
    patience_seconds: float = 0.0

    def make(self, pool: Pool, precision: str = "") -> EndpointsBackend:
        return pool.shared(
            repr((self.kind, self.urls, self.model, self.api_key, self.patience_seconds)),
            lambda: checked_endpoints(
                self.urls, model=self.model, api_key=self.api_key, patience_seconds=self.patience_seconds
            ),
        )

    @classmethod
    def of_urls(
        cls, urls: Sequence[str], model: str = "", api_key: str = "", patience_seconds: float = 0.0
    ) -> EndpointsEntry:
        """`patience_seconds`: how long a question waits while all servers are gone."""
        title = f"{model or 'model'} · {len(urls)} endpoint{'s' if len(urls) > 1 else ''}"
        return cls(
            key=model or "endpoints",
            title=title,
            urls=tuple(urls),
            model=model,
            api_key=api_key,
            patience_seconds=patience_seconds,
        )


def checked_endpoints(
    urls: Sequence[str], *, model: str = "", api_key: str = "", patience_seconds: float = 0.0
) -> EndpointsBackend:
    """See `EndpointsBackend`. Sends nothing yet; `preload` starts the checks. Raises BackendError."""
    return EndpointsBackend(urls, prove, model=model, api_key=api_key, patience_seconds=patience_seconds)


def prove(backend: Backend) -> str | None:
    """Ask about shapes, the quickest check. None where it sees, else what the check found.

    Raises:
        BackendError: it could not be checked.
    """
    verdict = check(backend, subjects=("shapes",))
    if verdict.verdict == "unchecked":
        raise BackendError(verdict.cause, verdict.fix)
    if verdict.verdict == "sees":
        return None
    right, asked = verdict.accuracy("its picture")
    figures = f" ({right} of {asked} correct)" if asked else ""
    return f"{verdict.verdict}{figures}. {verdict.cause} {verdict.fix}".strip()
