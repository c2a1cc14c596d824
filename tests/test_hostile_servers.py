"""Servers that cut, flood, stall and lead elsewhere: they are refused in words, and an answer can be stopped at any moment."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import psutil
import pytest

from benchmarks.robustness.hostile_server import HostileServer, Reset, Script, Send, Wait, http
from benchmarks.robustness.sections.servers import ABOUT, CHAT, CLIENTS, SAID, backend_of, end, framed, piece, whole
from smolvlm_core.backends.base import Reply, collect
from smolvlm_core.backends.remote.bounded import LIMITS
from smolvlm_core.backends.remote.faults import ServerFault, ServerGone, seconds_of_retry_after
from smolvlm_core.backends.remote.ollama import OllamaEntry
from smolvlm_core.backends.remote.ollama import models as ollama_models
from smolvlm_core.backends.remote.server_entry import ServerEntry
from smolvlm_core.backends.remote.timeouts import FIRST_BYTE_SECONDS, Timeouts
from smolvlm_core.backends.remote.values import MOST_DEPTH, parse_json, too_deep
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.paths import data_folder
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Message
from smolvlm_core.text import with_valid_texts
from smolvlm_core.workspace import Workspace
from tests.test_pages import page, texts
from ui import state

PATIENT = Timeouts(connect_seconds=30, first_byte_seconds=30, silence_seconds=30)
Serve = Callable[..., HostileServer]
each_client = pytest.mark.parametrize("client", CLIENTS)


def question() -> Prompt:
    return build_prompt([Message("user", "What is it?", ())], {}.__getitem__)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with a bad answer for one client, which is told properly what the server is."""
    with contextlib.ExitStack() as running:

        def begin(client: str, chat: Script, about: Script | None = None) -> HostileServer:
            proper = http(json.dumps(SAID[client]).encode(), mime="application/json")
            server = HostileServer({ABOUT[client]: about or proper, CHAT[client]: chat})
            running.callback(server.close)
            return server

        yield begin


def ask(client: str, server: HostileServer, timeouts: Timeouts = PATIENT) -> Reply:
    return collect(
        backend_of(client, server.url, timeouts).generate(question(), GenerationSettings(), threading.Event())
    )


def first_piece(client: str) -> Send:
    return Send(framed(client, [json.dumps(piece(client, "Red"))]))


# Stopping


HEAD = http(b"")[0]
STALLS: dict[str, Callable[[str], tuple[Script, Script | None]]] = {
    "no head": lambda client: ([Wait(30)], None),
    "no first byte": lambda client: ([HEAD, Wait(30)], None),
    "silence": lambda client: ([HEAD, first_piece(client), Wait(30)], None),
    "a giant line": lambda client: ([HEAD, first_piece(client), Send(b"a" * 2**10, 1500, 0.01)], None),
    "a flood": lambda client: ([HEAD, Send(first_piece(client).data, 10**7)], None),
    "what it is": lambda client: ([Wait(30)], [Wait(30)]),
}


@each_client
@pytest.mark.parametrize("stall", STALLS)
def test_stop_ends_an_answer_whatever_the_server_does(serve: Serve, client: str, stall: str) -> None:
    server, cancel = serve(client, *STALLS[stall](client)), threading.Event()
    threading.Timer(0.4, cancel.set).start()
    backend, began = backend_of(client, server.url, PATIENT), time.monotonic()
    events = list(backend.generate(question(), GenerationSettings(), cancel))
    assert time.monotonic() - began < 1.6
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "cancelled"


@each_client
def test_stop_ends_the_wait_for_a_connection(client: str) -> None:
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # one connection waits to be accepted; the kernel does not answer the next ones
        for _ in range(3):
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        cancel = threading.Event()
        threading.Timer(0.4, cancel.set).start()
        began = time.monotonic()
        backend = backend_of(client, f"http://127.0.0.1:{full.getsockname()[1]}", PATIENT)
        events = list(backend.generate(question(), GenerationSettings(), cancel))
        assert 0.3 < time.monotonic() - began < 1.6 and events[-1].stop_reason == "cancelled"
        impatient = Timeouts(connect_seconds=0.3)
        with pytest.raises(BackendError, match=r"no connection within 0\.3 s|Nothing answers|does not answer"):
            backend_of(client, backend.url, impatient).capabilities()


def test_an_answer_that_nobody_reads_is_hung_up(serve: Serve) -> None:
    """A page that is closed, say. No thread and no connection stay behind."""
    server = serve("openai", [HEAD, Send(first_piece("openai").data, 10**7)])
    events = backend_of("openai", server.url).generate(question(), GenerationSettings(), threading.Event())
    assert any(isinstance(event, Delta) for event in events)
    events.close()  # type: ignore[attr-defined]
    until(lambda: not any(thread.name == "read-server" for thread in threading.enumerate()))


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, "it never happened"
        time.sleep(0.02)


# Limits


@each_client
def test_sizes_and_depth_are_limited_while_the_answer_comes(serve: Serve, client: str) -> None:
    sent = {
        r"a line of more than 2 MB": [HEAD, first_piece(client), Send(b"a" * 2**20, 1000)],
        r"an answer of more than 128 MB": [HEAD, Send(framed(client, [json.dumps(piece(client, "b" * 2**20))]), 300)],
        rf"nested more than {MOST_DEPTH} deep": http(framed(client, ["[" * 100_000])),
    }
    for words, script in sent.items():
        server = serve(client, script)
        with pytest.raises(ServerFault, match=rf"{server.url}.* sent .*{words}"):
            ask(client, server)
    server = serve(client, (), http([Send(b" " * 2**20, 300)], mime="application/json"))
    with pytest.raises(ServerFault, match="an answer of more than 16 MB"):
        backend_of(client, server.url).capabilities()
    server = serve(client, http([Send(b"sorry " * 2**16, 1000)], 500))
    with pytest.raises(LensError, match="sorry") as error:
        ask(client, server)
    assert len(str(error.value)) < 500


@each_client
def test_a_compressed_answer_is_refused_before_it_is_unpacked(serve: Serve, client: str) -> None:
    bomb = gzip.compress(whole(client) + b"\0" * 2**28)
    server = serve(client, http(bomb, 200, ("Content-Encoding", "gzip")))
    before = psutil.Process().memory_info().rss
    with pytest.raises(ServerFault, match="compressed answer"):
        ask(client, server)
    assert psutil.Process().memory_info().rss - before < 2**26


@each_client
def test_a_charset_cannot_name_a_codec(serve: Serve, client: str) -> None:
    assert ask(client, serve(client, http(whole(client), mime="text/plain; charset=zlib_codec"))).text == "Red."


@pytest.mark.parametrize("around", ['{"a": "@"}', '{"a\\\\": "@"}', '"\\"@', '"@', '"@\\'])
def test_brackets_in_texts_are_no_depth(around: str) -> None:
    assert not too_deep(around.replace("@", "[" * 200).encode())
    assert too_deep(b'{"a": "[", "b": ' + b"[" * (MOST_DEPTH + 1))
    began = time.monotonic()
    too_deep(b'"' + b'\\"[' * 200_000)
    assert time.monotonic() - began < 2  # linear
    with pytest.raises(ValueError, match="deep"):
        parse_json("[" * 200_000)


# Text


@each_client
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"a\xffb", "a\ufffdb"),
        (rb"a\ud800b", "a\ufffdb"),
        (rb"\ud83d\ude00", "😀"),
        (rb"a\\ud800", r"a\ud800"),
        ("a\u2028b\x85".encode(), "a\u2028b\x85"),  # the end of a line for str.splitlines
    ],
)
def test_text_is_made_valid(serve: Serve, client: str, sent: bytes, read: str) -> None:
    server = serve(client, http(whole(client, "xx@@@x").replace(b"@@@", sent)))
    assert ask(client, server).text == f"xx{read}x"


def test_what_a_server_says_of_itself_is_valid_text(serve: Serve) -> None:
    about = http(rb'{"data": [{"id": "a\ud800b"}]}', mime="application/json")
    server = serve("openai", http(whole("openai")), about)
    assert backend_of("openai", server.url).model_served() == "a\ufffdb"  # type: ignore[attr-defined]
    tags = http(rb'{"models": [{"model": "a\ud800b \ud83d\ude00 \\ud800"}]}', mime="application/json")
    assert ollama_models(HostileServer({"/api/tags": tags}).url) == ["a\ufffdb 😀 \\ud800"]
    assert with_valid_texts({"\ud800": ["\udc00"]}) == {"\ufffd": ["\ufffd"]}


# An end, and nothing but an answer


@each_client
@pytest.mark.parametrize("how", ["closed", "reset", "in the middle of a line"])
def test_a_cut_answer_is_not_whole(serve: Serve, client: str, how: str) -> None:
    last = framed(client, [json.dumps(end(client))])
    tail = {"closed": [], "reset": [Wait(0.1), Reset()], "in the middle of a line": [Send(last[:20])]}[how]
    server = serve(client, [HEAD, first_piece(client), *tail])
    events: list[Event] = []
    with pytest.raises(ServerFault) as error:
        for event in backend_of(client, server.url).generate(question(), GenerationSettings(), threading.Event()):
            events.append(event)
    assert isinstance(error.value, ServerGone) or "events of JSON" in str(error.value)
    assert [e.text for e in events if isinstance(e, Delta)] == ["Red"]
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "failed"


@each_client
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Serve, client: str, status: int) -> None:
    elsewhere = serve(client, http(whole(client)))
    leads = http(b"", status, ("Location", f"{elsewhere.url}{CHAT[client]}"))
    with pytest.raises(ServerFault, match=re.escape(f"redirects to '{elsewhere.url}{CHAT[client]}' ({status})")):
        ask(client, serve(client, leads))
    with pytest.raises(LensError) as error:
        backend_of(client, serve(client, (), leads).url).capabilities()
    assert "redirects to" in str(error.value) and not elsewhere.asked
    if client == "ollama":
        server = HostileServer({"/api/tags": leads})
        with pytest.raises(ServerFault, match="redirects to"):
            ollama_models(server.url)


# Timeouts


@each_client
@pytest.mark.parametrize(
    ("script", "timeouts", "words"),
    [
        ("no first byte", Timeouts(first_byte_seconds=0.3), r"did not begin to answer within 0\.3 s"),
        ("silence", Timeouts(silence_seconds=0.3), r"was silent for 0\.3 s"),
        ("a giant line", Timeouts(silence_seconds=0.3), r"was silent for 0\.3 s"),  # half a line is silence
    ],
)
def test_each_timeout_says_which_it_was(serve: Serve, client: str, script: str, timeouts: Timeouts, words: str) -> None:
    server = serve(client, *STALLS[script](client))
    timeouts = Timeouts(**{**asdict(timeouts), "first_byte_seconds": min(timeouts.first_byte_seconds, 20)})
    with pytest.raises(ServerFault, match=rf"{server.url}.* {words}.*longer timeouts"):
        ask(client, server, timeouts)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**30, "10", None, True])
def test_a_stored_timeout_that_is_none_is_refused_in_words(workspace: Workspace, value: object) -> None:
    entry = ServerEntry(key="url:x", title="x", url="http://x/v1", silence_seconds=value)  # type: ignore[arg-type]
    with pytest.raises(LensError, match="silence_seconds of a server"):
        entry.make(workspace.pool)


def test_timeouts_are_stored_and_lists_from_before_have_the_defaults(serve: Serve, workspace: Workspace) -> None:
    server, waits = serve("ollama", ()), Timeouts(connect_seconds=2, first_byte_seconds=30, silence_seconds=4.5)
    entry = workspace.registry.add(OllamaEntry.of_model("m", server.url, waits))
    assert workspace.registry.added() == (entry,)
    assert "connect 2 s, first byte 30 s, silence 4.5 s" in workspace.registry.make(entry.key).status().text
    path = data_folder() / "backends.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{k: v for k, v in rows[0].items() if not k.endswith("_seconds")}]))
    assert workspace.registry.make(entry.key).timeouts == Timeouts()  # type: ignore[attr-defined]


def test_timeouts_are_chosen_on_the_backends_page(serve: Serve) -> None:
    server = serve("openai", http(whole("openai")))
    app = page("backends")
    assert app.number_input(key="server_first_byte_seconds").value == FIRST_BYTE_SECONDS
    app.text_input(key="server_url").set_value(server.url)
    app.number_input(key="server_silence_seconds").set_value(77.0)
    [b for b in app.button if b.label == "Add"][-1].click()
    app.run()
    assert not app.exception and "silence 77 s" in texts(app)
    (entry,) = state.workspace().registry.added()
    assert isinstance(entry, ServerEntry) and entry.timeouts.silence_seconds == 77


def test_a_server_cannot_ask_to_be_left_alone_for_ever() -> None:
    assert seconds_of_retry_after("9" * 400, 0) == seconds_of_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", 0) == 3600
    assert LIMITS.line < LIMITS.answer
