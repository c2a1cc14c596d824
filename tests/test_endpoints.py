"""Several servers as one backend: who gets a question, what happens when one fails, and that a blind one gets none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.utils import formatdate

import psutil
import pytest
from PIL import Image, ImageDraw

from smolvlm_core.backends.base import THIS_MACHINE, Backend, Reply, collect
from smolvlm_core.backends.remote.endpoints import SEVERAL_MACHINES, EndpointsBackend
from smolvlm_core.backends.remote.faults import seconds_of_retry_after
from smolvlm_core.check.endpoints import checked_endpoints
from smolvlm_core.errors import BackendError, ContextTooSmall
from smolvlm_core.llamacpp.programs import BUNDLED
from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, Message
from tests.conftest import Ggufs
from tests.llama import needs_bundled
from tests.test_openai_api import Server, answering, piece, prompt

PAUSES = (10.0, 100.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Proof:
    """A proof that finds what it is given: by address, a reason or an error. Counts how often each was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.found: dict[str, str | BackendError] = {}

    def __call__(self, backend: Backend) -> str | None:
        url = backend.identity().split()[0]
        self.asked.append(url)
        found = self.found.get(url)
        if isinstance(found, BackendError):
            raise found
        return found


class Fleet:
    """Servers that answer with their own name, and the backend made of them."""

    def __init__(self, count: int) -> None:
        self.servers = [Server() for _ in range(count)]
        for i, server in enumerate(self.servers):
            server.chat = answering(piece(f"server {i}", finish_reason="stop"))
        self.clock, self.proof = Clock(), Proof()
        self.backend = self.made()

    def made(self, **more: float) -> EndpointsBackend:
        urls = [server.url for server in self.servers]
        return EndpointsBackend(urls, self.proof, clock=self.clock, pauses=PAUSES, **more)

    def ready(self, count: int) -> None:
        """Wait until so many are proved and no other is being looked at."""
        self.backend.preload()
        until(lambda: self.backend.status().text.startswith(f"{count} of ") and not self.backend.status().busy)

    def ask(self, cancel: threading.Event | None = None) -> Reply:
        return collect(self.backend.generate(prompt("red"), GenerationSettings(), cancel or threading.Event()))

    def counts(self) -> list[int]:
        """Questions that each server got."""
        return [len(server.asked) for server in self.servers]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    made = Fleet(getattr(request, "param", 2))
    yield made
    for server in made.servers:
        server.http.shutdown()
        server.http.server_close()


def gone(server: Server) -> None:
    """Nothing answers at its address any more."""
    server.http.shutdown()
    server.http.server_close()


def test_the_server_with_the_least_to_do_gets_the_question(fleet: Fleet) -> None:
    fleet.ready(2)
    go_on, slow = threading.Event(), fleet.servers[0]

    def waits() -> Iterator[bytes]:
        go_on.wait(30)
        fleet.clock.now += 5
        yield piece("slow", finish_reason="stop")

    slow.chat = waits
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(fleet.ask)
        until(lambda: slow.asked != [])
        assert [fleet.ask().text for _ in range(3)] == ["server 1"] * 3
        go_on.set()
        assert first.result().text == "slow"
    assert fleet.ask().text == "server 1"  # both are idle; it answered faster
    assert fleet.backend.revision == "a-model"


def test_a_question_to_a_dead_server_is_asked_elsewhere_and_the_server_comes_back(fleet: Fleet) -> None:
    fleet.ready(2)
    dead = fleet.servers[0]
    dead.chat = (503, "engine is dead")
    assert [fleet.ask().text for _ in range(3)] == ["server 1"] * 3
    assert len(dead.asked) == 1  # it was taken out
    assert f"{dead.url}: The server refused: engine is dead" in fleet.backend.status().text

    dead.models = (503, "still loading")
    fleet.clock.now += PAUSES[0]
    fleet.ready(1)  # looked at, and not back
    assert fleet.proof.asked.count(dead.url) == 1
    assert "still loading" in fleet.backend.status().text
    dead.models, dead.chat = fleet.servers[1].models, answering(piece("back", finish_reason="stop"))
    fleet.clock.now += PAUSES[1] - 1
    fleet.ready(1)  # the second pause is longer
    fleet.clock.now += 1
    fleet.ready(2)
    assert fleet.proof.asked.count(dead.url) == 2  # it was proved again
    assert "back" in {fleet.ask().text for _ in range(4)}
    dead.chat = (503, "dead again")
    until(lambda: fleet.ask() and "dead again" in fleet.backend.status().text)
    fleet.clock.now += PAUSES[0]
    fleet.ready(2)  # it answered in between, so the pause is the first one again


def test_no_connection_is_a_reason_to_ask_elsewhere(fleet: Fleet) -> None:
    fleet.ready(2)
    gone(fleet.servers[0])
    assert fleet.ask().text == "server 1"
    assert "Nothing answers at" in fleet.backend.status().text


def test_a_question_that_no_server_can_answer_takes_none_out(fleet: Fleet) -> None:
    fleet.ready(2)
    chats = [server.chat for server in fleet.servers]
    for server in fleet.servers:
        server.chat = (500, "cannot decode this image")
    with pytest.raises(BackendError, match="cannot decode this image"):
        fleet.ask()
    assert fleet.counts() == [1, 1]
    assert fleet.backend.status().text == "2 of 2 endpoints ready"
    fleet.servers[1].chat = chats[1]
    for _ in range(2):
        assert fleet.ask().text == "server 1"
    assert "1 of 2" in fleet.backend.status().text  # the other one answered: the server was the reason


def test_a_busy_server_is_left_alone_as_long_as_it_asks(fleet: Fleet) -> None:
    fleet.ready(2)
    busy = fleet.servers[0]
    busy.chat = (429, "too many requests", {"Retry-After": "120"})
    assert [fleet.ask().text for _ in range(2)] == ["server 1"] * 2
    fleet.clock.now += 119
    fleet.ask()
    assert len(busy.asked) == 1
    busy.chat = answering(piece("again", finish_reason="stop"))
    fleet.clock.now += 1
    assert fleet.ask().text == "again"  # it never answered before, so it counts as fastest
    assert fleet.proof.asked.count(busy.url) == 1


@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_a_question_waits_for_a_busy_server_and_can_be_cancelled(fleet: Fleet) -> None:
    fleet.ready(1)
    fleet.servers[0].chat = (429, "too many requests", {"Retry-After": "60"})
    cancel = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        cancelled, answered = threads.submit(fleet.ask, cancel), threads.submit(fleet.ask)
        until(lambda: "too many" in fleet.backend.status().text)
        cancel.set()
        assert cancelled.result(30).stats.stop_reason == "cancelled"
        fleet.servers[0].chat = answering(piece("at last", finish_reason="stop"))
        fleet.clock.now += 60
        reply = answered.result(30)
    assert reply.text == "at last" and reply.stats.queued_seconds >= 60


@pytest.mark.parametrize("status", [400, 500])
def test_a_prompt_that_does_not_fit_is_not_asked_elsewhere(fleet: Fleet, status: int) -> None:
    fleet.ready(2)
    for server in fleet.servers:
        server.chat = (status, '{"error": {"message": "exceeds the maximum context length"}}')
    with pytest.raises(ContextTooSmall):
        fleet.ask()
    assert sum(fleet.counts()) == 1
    assert fleet.backend.status().text == "2 of 2 endpoints ready"


@pytest.mark.parametrize("fleet", [6], indirect=True)
def test_a_question_that_ends_servers_does_not_end_all_of_them(fleet: Fleet) -> None:
    fleet.ready(6)
    for server in fleet.servers:
        server.chat = answering()  # the connection ends without an answer
    with pytest.raises(BackendError, match="in the middle of the answer"):
        fleet.ask()
    assert sum(fleet.counts()) == 4


def test_an_error_that_comes_as_an_event_counts_like_a_status(fleet: Fleet) -> None:
    fleet.ready(2)
    fleet.servers[0].chat = answering(b'data: {"error": {"message": "engine is dead", "code": 503}}\n\n')
    assert fleet.ask().text == "server 1"
    assert "engine is dead" in fleet.backend.status().text


def test_text_that_was_passed_on_is_not_taken_back(fleet: Fleet) -> None:
    fleet.ready(2)
    fleet.servers[0].chat = answering(piece("A red"))  # and the connection ends
    events = []
    with pytest.raises(BackendError, match="in the middle of the answer"):
        for event in fleet.backend.generate(prompt("red"), GenerationSettings(), threading.Event()):
            events.append(event)
    assert [e.text for e in events if isinstance(e, Delta)] == ["A red"]
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "failed"
    assert fleet.counts() == [1, 0]
    assert fleet.ask().text == "server 1" and len(fleet.servers[0].asked) == 1


@pytest.mark.parametrize("fleet", [3], indirect=True)
def test_a_blind_server_gets_no_questions_and_all_reasons_are_listed(fleet: Fleet) -> None:
    blind, unsure, sees = fleet.servers
    fleet.proof.found = {blind.url: "it guesses", unsure.url: BackendError("The check broke off.")}
    assert [fleet.ask().text for _ in range(3)] == ["server 2"] * 3
    gone(sees)
    with pytest.raises(BackendError) as raised:
        fleet.ask()
    assert all(reason in str(raised.value) for reason in ("it guesses", "The check broke off", "Nothing answers at"))
    assert raised.value.hint
    with pytest.raises(BackendError, match="it guesses"):
        fleet.backend.capabilities()
    fleet.clock.now += 1000
    fleet.proof.found = {}
    fleet.ready(1)  # the one that could not be checked; the blind one stays out
    assert fleet.proof.asked.count(blind.url) == 1 and blind.asked == []
    fleet.backend.retry()
    fleet.ready(2)


def test_what_it_is(fleet: Fleet) -> None:
    fleet.servers[0].models = {"data": [{"id": "a-model", "max_model_len": 8192}]}
    fleet.servers[1].models = {"data": [{"id": "a-model", "max_model_len": 2048}]}
    can = fleet.backend.capabilities()
    assert can.images and can.video and can.context_tokens == 2048
    fleet.servers.reverse()
    other = fleet.made()
    assert other.identity() == fleet.backend.identity()
    twice = EndpointsBackend([fleet.servers[0].url, f"{fleet.servers[0].url}/"], fleet.proof)
    assert twice.name.endswith("1 endpoints")
    assert fleet.backend.device == THIS_MACHINE
    assert EndpointsBackend(["gpu1:8000", "http://gpu2:8000/v1"], fleet.proof).device == SEVERAL_MACHINES
    with pytest.raises(BackendError, match="No endpoint"):
        EndpointsBackend([], fleet.proof)


@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_a_patient_question_waits_until_a_server_comes_back(fleet: Fleet) -> None:
    fleet.ready(1)
    server, answers = fleet.servers[0], fleet.servers[0].chat
    fleet.backend = fleet.made(patience_seconds=60)
    fleet.ready(1)
    server.chat = (503, "restarting")
    with pytest.raises(BackendError, match="restarting"):
        fleet.ask()  # it failed on this very question
    server.chat = answers
    with ThreadPoolExecutor(1) as thread:
        waits = thread.submit(fleet.ask)
        time.sleep(0.3)
        assert not waits.done()
        fleet.clock.now += PAUSES[0]
        assert waits.result(30).text == "server 0"


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), (formatdate(1060.0), 60.0), (formatdate(10.0), 0.0), ("soon", None), ("", None)]
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert seconds_of_retry_after(value, 1000.0) == seconds


# Real servers

COLORS = {"red": "red", "green": (30, 150, 50), "blue": (30, 70, 220), "yellow": (250, 215, 20)}


def circle(i: int) -> tuple[Prompt, str]:
    """A question about a circle, and its color. Each picture is another one."""
    name, color = list(COLORS.items())[i % len(COLORS)]
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).ellipse((40 + i, 40, 130 + i, 130), fill=color)
    shown = Attachment(kind="image", sha256=f"circle {i}", name="c.png", mime="image/png", width=200, height=200)
    question = Message("user", "What color is the circle?", (shown,))
    return build_prompt([question], lambda _: image), name


def killed(server: LlamaServer) -> None:
    for child in psutil.Process(server._process.pid).children(recursive=True):
        child.kill()


@needs_bundled
def test_three_llama_servers_one_blind_and_one_killed(ggufs: Ggufs) -> None:
    """The blind one is refused by the real check; the other is killed while it answers; every answer is right."""
    options = ggufs.options(program=BUNDLED, slots=2)
    without = ServerOptions(ggufs.text, None, 2048, program=BUNDLED)
    with ExitStack() as started:
        servers = [LlamaServer.start(o, lambda *_: None) for o in (options, options, without)]
        for server in servers:
            started.callback(server.stop)
        backend = checked_endpoints([server.url for server in servers])
        assert backend.capabilities().context_tokens == 2048
        blind = servers[2].url
        assert f"{blind}/v1: refused, it does not see: blind" in backend.status().text
        done: list[bool] = []

        def ask(i: int) -> bool:
            question, color = circle(i)
            said = collect(backend.generate(question, GenerationSettings(max_new_tokens=24), threading.Event())).text
            done.append(True)
            if len(done) == 12:
                killed(servers[0])
            return color in said.lower()

        with ThreadPoolExecutor(4) as threads:
            right = list(threads.map(ask, range(40)))
        assert right == [True] * 40
        assert f"{servers[0].url}/v1: " in backend.status().text and "1 of 3" in backend.status().text
