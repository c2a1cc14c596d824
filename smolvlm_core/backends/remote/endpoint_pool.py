"""Several servers of one model: which ones are proved, how busy each is, and which gets the next question.

Knows servers. Does not know questions, nor how vision is proved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial

from smolvlm_core.backends.base import Backend, Capabilities
from smolvlm_core.backends.remote.faults import ServerFault
from smolvlm_core.backends.remote.http import normal_url
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.work.job import Job
from smolvlm_core.work.report import Report

Prove = Callable[[Backend], str | None]
Clock = Callable[[], float]
PAUSES_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0)  # after the first failure in a row, the second …
WEIGHT_OF_THE_LAST = 0.3  # in an endpoint's recent answer time


class ProvedServer(OpenAIBackend):
    """A server that passed the proof. What it said of itself then is remembered, so a question is one request."""

    def __init__(self, url: str, model: str, api_key: str, said: Capabilities) -> None:
        super().__init__(url, model, api_key)
        self._said = said

    def _capabilities(self, cancel: threading.Event | None) -> Capabilities:
        return self._said


@dataclass(eq=False)
class Endpoint:
    """An address and where it stands. Times are seconds on the pool's clock.

    Attributes:
        server: None while it is not proved. A new object after each proof.
        problem: why it gets no questions; "" where nothing is wrong.
        refused: it does not see. It is not looked at again.
        looking: it is being proved.
        running: questions that it answers now.
        answer_seconds: what its recent answers took; 0 before the first.
        failures: in a row.
        rests_until: it gets no questions, and is not looked at, before then.
    """

    url: str
    server: ProvedServer | None = None
    problem: str = "not checked yet"
    refused: bool = False
    looking: bool = False
    running: int = 0
    answer_seconds: float = 0.0
    failures: int = 0
    rests_until: float = 0.0


@dataclass(frozen=True)
class Taken:
    """An endpoint that was given a question, with its server as it was proved then."""

    endpoint: Endpoint
    server: ProvedServer


class EndpointPool:
    """Used from any thread. Nothing is sent before `look`."""

    def __init__(
        self, urls: Sequence[str], model: str, api_key: str, prove: Prove, clock: Clock, pauses: Sequence[float]
    ) -> None:
        """Raises BackendError where `urls` is empty or has something that is no address."""
        self.endpoints = [Endpoint(url) for url in dict.fromkeys(map(normal_url, urls))]
        if not self.endpoints:
            raise BackendError("No endpoint was given.", "Name at least one server, like http://gpu1:8000/v1.")
        self._model, self._api_key, self._prove = model, api_key, prove
        self._clock, self._pauses = clock, pauses
        self._changed = threading.Condition()

    # Choosing

    def take(self, avoid: Container[Endpoint]) -> Taken | None:
        """The one with the fewest running questions; of several, the one that answered fastest. None where none is ready.

        The endpoint must be given back.
        """
        with self._changed:
            now = self._clock()
            ready = [e for e in self.endpoints if e.server is not None and e.rests_until <= now and e not in avoid]
            if not ready:
                return None
            best = min(ready, key=lambda e: (e.running, e.answer_seconds))
            assert best.server is not None
            best.running += 1
            return Taken(best, best.server)

    def give(self, taken: Taken, answered_in_seconds: float | None) -> None:
        """Give one back. None: it did not answer."""
        endpoint = taken.endpoint
        with self._changed:
            endpoint.running -= 1
            if answered_in_seconds is not None:
                endpoint.failures = 0
                before = endpoint.answer_seconds or answered_in_seconds
                endpoint.answer_seconds = before + WEIGHT_OF_THE_LAST * (answered_in_seconds - before)
            self._changed.notify_all()

    def may_come(self, avoid: Container[Endpoint], busy_until: float, gone_until: float) -> bool:
        """Whether an endpoint is ready, is being proved, or will be soon.

        `busy_until`: so long a wait for a server that is only busy is fine; `gone_until`: for one that is gone.
        """
        with self._changed:
            return any(
                e.looking or (not e.refused and e.rests_until <= (gone_until if e.server is None else busy_until))
                for e in self.endpoints
                if e not in avoid
            )

    def wait(self, seconds: float) -> None:
        """Until something changed, or the time is over."""
        with self._changed:
            self._changed.wait(seconds)

    # What goes wrong

    def take_out(self, taken: Taken, error: LensError) -> None:
        """It failed: no more questions until it is proved again, after a pause."""
        with self._changed:
            if taken.endpoint.server is taken.server:  # otherwise another question was first
                taken.endpoint.server = None
                self._rest(taken.endpoint, error)

    def rest(self, taken: Taken, error: LensError) -> None:
        """It is busy: no more questions for a pause."""
        with self._changed:
            if taken.endpoint.server is taken.server and taken.endpoint.rests_until <= self._clock():
                self._rest(taken.endpoint, error)

    def _rest(self, endpoint: Endpoint, error: LensError) -> None:
        pause = self._pauses[min(endpoint.failures, len(self._pauses) - 1)]
        if isinstance(error, ServerFault):
            pause = max(pause, error.retry_after_seconds or 0)
        endpoint.failures += 1
        endpoint.rests_until = self._clock() + pause
        endpoint.problem = str(error)
        self._changed.notify_all()

    # Looking

    def look(self) -> None:
        """Prove those that are due, each on a thread of its own."""
        with self._changed:
            for endpoint in self.endpoints:
                if self._is_due(endpoint):
                    endpoint.looking = True
                    Job(f"endpoint {endpoint.url}", partial(self._look_at, endpoint)).start()

    def _is_due(self, e: Endpoint) -> bool:
        return e.server is None and not e.refused and not e.looking and e.rests_until <= self._clock()

    def _look_at(self, endpoint: Endpoint, report: Report, cancel: threading.Event) -> None:
        server: ProvedServer | None = None
        refusal: str | None = None
        fault: LensError = BackendError("Its check failed unexpectedly.", "The log has the details.")
        try:
            plain = OpenAIBackend(endpoint.url, self._model, self._api_key)
            said, model = plain.capabilities(), plain.model_served()
            if (refusal := self._prove(plain)) is None:
                said = replace(said, images=True, video=True)
                server = ProvedServer(endpoint.url, model, self._api_key, said)
        except LensError as error:
            fault = error
        finally:
            self._looked(endpoint, server, refusal, fault)

    def _looked(self, endpoint: Endpoint, server: ProvedServer | None, refusal: str | None, fault: LensError) -> None:
        with self._changed:
            endpoint.looking = False
            if server is not None:
                endpoint.server, endpoint.problem, endpoint.rests_until = server, "", 0.0
            elif refusal is not None:
                endpoint.refused, endpoint.problem = True, refusal
            else:
                self._rest(endpoint, fault)
            self._changed.notify_all()

    def forgive(self) -> None:
        """Look again at all that were refused or failed, without a pause."""
        with self._changed:
            for endpoint in self.endpoints:
                endpoint.refused, endpoint.rests_until = False, 0.0

    # Where they stand

    @property
    def is_looking(self) -> bool:
        with self._changed:
            return any(e.looking for e in self.endpoints)

    def proved(self) -> list[ProvedServer]:
        with self._changed:
            return [e.server for e in self.endpoints if e.server is not None]

    def describe(self) -> str:
        """How many are ready, and what is wrong with each of the others."""
        with self._changed:
            ready = sum(e.server is not None for e in self.endpoints)
            rows = [f"{e.url}: {standing}" for e in self.endpoints if (standing := self._standing(e))]
        return "\n".join([f"{ready} of {len(self.endpoints)} endpoints ready", *rows])

    def _standing(self, e: Endpoint) -> str:
        if e.looking:
            return "its vision is being checked"
        if e.refused:
            return f"refused, it does not see: {e.problem}"
        return e.problem if e.server is None or e.rests_until > self._clock() else ""

    def none_left(self) -> BackendError:
        """Lists each endpoint with its reason."""
        return BackendError(
            f"No endpoint can answer. {self.describe()}",
            "Start the servers or correct their addresses; servers that fail are tried again after a pause. "
            "A server that does not see needs its vision projector.",
        )
