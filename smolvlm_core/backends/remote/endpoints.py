"""Several servers of one model as one backend. Questions go to the server with the least to do.

A server gets questions only after it was proved to see. How that is proved is handed in: this module does not know the check.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from smolvlm_core.backends.base import Backend, Capabilities, Status
from smolvlm_core.backends.remote.endpoint_pool import PAUSES_SECONDS, Clock, Endpoint, EndpointPool, Prove, Taken
from smolvlm_core.backends.remote.estimates import DEFAULT_CONTEXT, ESTIMATES, estimated_spec
from smolvlm_core.backends.remote.faults import TOO_MANY_REQUESTS, ServerFault
from smolvlm_core.backends.remote.http import device_of
from smolvlm_core.errors import LensError, NoVision
from smolvlm_core.models.catalog import BUNDLED
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats, StopReason

SEVERAL_MACHINES = "several machines"
POLL_SECONDS = 0.1  # how soon a cancel is noticed
MOST_BUSY_SECONDS = 600.0  # a question waits so long for servers that are only busy
MOST_FAILURES = 4  # a question that ends a server should not end all of them
INTERNAL_ERROR = 500  # servers send it for some bad questions too


@dataclass(frozen=True)
class _Attempt:
    """How one endpoint did with a question. `said`: text was passed on, so the question cannot be asked again."""

    stats: Stats
    said: bool
    failure: LensError | None


class EndpointsBackend(Backend):
    """OpenAI-compatible servers of the same model, by their addresses.

    Args:
        urls: in any order. Those that are down now join when they come up.
        prove: asks one server about pictures. Returns None where it sees, else the reason why it gets no questions. Raises
            LensError where that cannot be found out now; the server is then tried again later.
        model: its name on the servers; "" takes the first one of each.
        patience_seconds: how long a question waits for a server while all of them are gone.
        clock: seconds that never go back.
        pauses: seconds before a server that failed is tried again: after the first failure in a row, the second and so on.

    Raises:
        BackendError: there is no address, or one is not an address.
    """

    kind = "endpoints"
    verdict_expires = True
    note = ESTIMATES

    def __init__(
        self,
        urls: Sequence[str],
        prove: Prove,
        *,
        model: str = "",
        api_key: str = "",
        patience_seconds: float = 0.0,
        clock: Clock = time.monotonic,
        pauses: Sequence[float] = PAUSES_SECONDS,
    ) -> None:
        self._model, self._clock, self._patience = model, clock, patience_seconds
        self._pool = EndpointPool(urls, model, api_key, prove, clock, pauses)
        self._urls = sorted(endpoint.url for endpoint in self._pool.endpoints)
        self.name = f"{model or 'model'} · {len(self._urls)} endpoints"
        self.spec = estimated_spec(model, self.identity(), self.name, DEFAULT_CONTEXT)
        self._revisions: set[str] = set()

    def identity(self) -> str:
        """All addresses, whether their servers run or not."""
        return f"endpoints {self._model} {' '.join(self._urls)}"

    def capabilities(self) -> Capabilities:
        """What every proved server can do. Waits until each was looked at.

        Raises:
            BackendError: none is proved. It lists each with its reason.
        """
        self._pool.look()
        while self._pool.is_looking:
            self._pool.wait(POLL_SECONDS)
        said = [server.capabilities() for server in self._pool.proved()]
        if not said:
            raise self._pool.none_left()
        return Capabilities(
            images=all(one.images for one in said),
            video=all(one.video for one in said),
            streaming=True,
            context_tokens=min(one.context_tokens for one in said),
            logprobs=all(one.logprobs for one in said),
            json_schema=all(one.json_schema for one in said),
        )

    @property
    def revision(self) -> str:
        """The names of the models that answered."""
        return ", ".join(sorted(self._revisions))

    @property
    def device(self) -> str:
        hosts = {device_of(url) for url in self._urls}
        return hosts.pop() if len(hosts) == 1 else SEVERAL_MACHINES

    @property
    def reads_text(self) -> bool:
        served = [server.model for server in self._pool.proved()]
        return BUNDLED not in f"{self._model} {served}".lower()

    def status(self) -> Status:
        """Says what is wrong with each endpoint that gets no questions."""
        return Status(state="remote", text=self._pool.describe(), busy=self._pool.is_looking)

    def preload(self) -> None:
        """Start proving the servers."""
        self._pool.look()

    def retry(self) -> None:
        """Look again at every server that failed or was refused."""
        self._pool.forgive()
        self._pool.look()

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        """See `Backend.generate`. A question that fails before its first text, for a reason of the server, is asked elsewhere."""
        began = self._clock()
        failed: dict[Endpoint, tuple[Taken, LensError]] = {}
        while True:
            try:
                taken = yield from self._turn(began, failed, cancel)
            except LensError:
                yield self._without_answer("failed", began, prompt)
                raise
            if taken is None:
                yield self._without_answer("cancelled", began, prompt)
                return
            waited = self._clock() - began
            attempt = yield from self._ask(taken, prompt, settings, cancel)
            if attempt.failure is not None and self._may_go_on(taken, attempt, failed):
                yield Progress(f"{taken.endpoint.url} failed. Asking another endpoint")
                continue
            yield _with_wait(attempt.stats, waited)
            if attempt.failure is not None:
                raise attempt.failure
            self._blame(failed, attempt)
            return

    def _turn(
        self, began: float, failed: dict[Endpoint, tuple[Taken, LensError]], cancel: threading.Event
    ) -> Generator[Event, None, Taken | None]:
        """The endpoint for this question; None where it was cancelled. Raises LensError where none is left."""
        shown = ""
        while not cancel.is_set():
            self._pool.look()
            if (taken := self._pool.take(failed)) is not None:
                return taken
            if not self._pool.may_come(failed, began + MOST_BUSY_SECONDS, began + self._patience):
                raise self._nothing_left(failed)
            if (text := f"Waiting for an endpoint. {self._pool.describe()}") != shown:
                shown = text
                yield Progress(text)
            self._pool.wait(POLL_SECONDS)
        return None

    def _ask(
        self, taken: Taken, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event
    ) -> Generator[Event, None, _Attempt]:
        stats, said, failure, began = Stats("failed"), False, None, self._clock()
        try:
            for event in taken.server.generate(prompt, settings, cancel):
                if isinstance(event, Stats):
                    stats = event
                else:
                    said = said or isinstance(event, Delta)
                    yield event
        except LensError as error:
            failure = error
        finally:  # also where nobody listens any more
            answered = stats.stop_reason not in ("failed", "cancelled")
            self._pool.give(taken, self._clock() - began if answered else None)
        if answered:
            self._revisions.add(taken.server.model)
        return _Attempt(stats, said, failure)

    def _may_go_on(self, taken: Taken, attempt: _Attempt, failed: dict[Endpoint, tuple[Taken, LensError]]) -> bool:
        """Draw the consequence for the endpoint. Returns whether the question can be asked elsewhere."""
        error = attempt.failure
        assert error is not None
        if not isinstance(error, ServerFault | NoVision):
            return False
        if isinstance(error, ServerFault) and error.status == TOO_MANY_REQUESTS:
            self._pool.rest(taken, error)
            return not attempt.said
        if isinstance(error, NoVision) or error.status != INTERNAL_ERROR:
            self._pool.take_out(taken, error)
        failed[taken.endpoint] = (taken, error)
        return not attempt.said and len(failed) < MOST_FAILURES

    def _blame(self, failed: dict[Endpoint, tuple[Taken, LensError]], attempt: _Attempt) -> None:
        """Another endpoint answered: the reason was not the question, but the servers that failed before."""
        if attempt.stats.stop_reason != "cancelled":
            for taken, error in failed.values():
                self._pool.take_out(taken, error)

    def _nothing_left(self, failed: dict[Endpoint, tuple[Taken, LensError]]) -> LensError:
        """Where servers that are in order have failed on this question, what the last one said is the reason."""
        if failed and self._pool.proved():
            return list(failed.values())[-1][1]
        return self._pool.none_left()

    def _without_answer(self, reason: StopReason, began: float, prompt: Prompt) -> Stats:
        waited = self._clock() - began
        return Stats(
            reason,
            total_seconds=waited,
            queued_seconds=waited,
            prompt_fingerprint=prompt.fingerprint,
        )


def _with_wait(stats: Stats, waited_seconds: float) -> Stats:
    return replace(
        stats,
        total_seconds=stats.total_seconds + waited_seconds,
        queued_seconds=stats.queued_seconds + waited_seconds,
    )
