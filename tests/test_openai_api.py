"""The OpenAI-compatible client against servers that answer, refuse, stall and break, as real ones do.

The servers here send what the documentation of llama-server (tools/server/README.md, b11434), vLLM and LM Studio shows.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from smolvlm_core.backends.remote.chat_api import chat_request, picture_bytes
from smolvlm_core.backends.remote.http import normal_url
from smolvlm_core.backends.remote.openai import OpenAIBackend, listed_context, self_reported_vision
from smolvlm_core.backends.remote.server_entry import ServerEntry
from smolvlm_core.errors import BackendError, LensError, StoreError
from smolvlm_core.paths import data_folder
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.workspace import Workspace
from tests.conftest import drawn

PICTURES = {"red": drawn("red"), "blue": drawn("blue")}


def prompt(*keys: str, text: str = "What is it?") -> Prompt:
    shown = tuple(Attachment(kind="image", sha256=k, name=k, mime="image/png", width=300, height=300) for k in keys)
    return build_prompt([Message("user", text, shown)], PICTURES.__getitem__)


class Server:
    """`chat`: the lines of the answer to a chat request, or a status, a body and headers."""

    def __init__(self) -> None:
        self.models: object = {"data": [{"id": "a-model"}]}
        self.props: object = None
        self.chat: Callable[[], Iterator[bytes]] | tuple[int, str] | tuple[int, str, dict[str, str]] = (500, "not set")
        self.asked: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.hung_up = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                found = {"/v1/models": outer.models, "/props": outer.props}.get(self.path)
                if isinstance(found, tuple):
                    self.reply(*found)
                else:
                    self.reply(404 if found is None else 200, json.dumps(found))

            def do_POST(self) -> None:
                outer.keys.append(self.headers.get("Authorization"))
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if isinstance(outer.chat, tuple):
                    self.reply(*outer.chat)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                try:
                    for line in outer.chat():
                        self.wfile.write(line)
                        self.wfile.flush()
                except OSError:
                    outer.hung_up.set()

            def reply(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()


def piece(text: str = "", **more: object) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}, **more}]})}\n\n".encode()


def answering(*lines: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter(lines)


def run(backend: OpenAIBackend, asked: Prompt, cancel: threading.Event | None = None) -> list[Event]:
    return list(backend.generate(asked, GenerationSettings(), cancel or threading.Event()))


def test_a_lone_surrogate_is_replaced_and_a_split_pair_is_joined(server: Server) -> None:
    server.chat = answering(piece("a \ud800 b"), piece(" \ud83d"), piece("\ude00", finish_reason="stop"))
    said = "".join(e.text for e in run(OpenAIBackend(server.url), prompt()) if isinstance(e, Delta))
    assert said == "a \ufffd b 😀"


def test_a_request_keeps_the_order_of_text_and_pictures() -> None:
    frames = tuple(FrameRef(i * 1.0, i, key) for i, key in enumerate(PICTURES))
    clip = Attachment(
        kind="video",
        sha256="c",
        name="c.mp4",
        mime="video/mp4",
        width=300,
        height=300,
        duration_seconds=2.0,
        frames=frames,
    )
    said = build_prompt([Message("user", "What happens?", (clip,))], PICTURES.__getitem__, "Be brief.")
    body = chat_request(said, GenerationSettings(seed=5), "m")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    kinds = [part["type"] for part in body["messages"][1]["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    text = "".join(part.get("text", "<image>") for part in body["messages"][1]["content"])
    assert text == said.turns[1].content
    assert "seed" not in body and body["temperature"] == 0
    assert chat_request(said, GenerationSettings(temperature=0.5, seed=5, repetition_penalty=1.2), "m")["seed"] == 5


def test_pictures_are_sent_as_the_same_bytes_each_time() -> None:
    first, again = prompt("red").slots[0], prompt("red").slots[0]
    assert picture_bytes(first) is picture_bytes(again)
    assert picture_bytes(first)[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_answer_with_its_figures(server: Server) -> None:
    usage = {"prompt_tokens": 90, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 40}}
    server.chat = answering(
        b": a comment\n\n",
        piece(" Red"),
        piece("."),
        piece("", finish_reason="stop"),
        f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode(),
        b"data: [DONE]\n\n",
    )
    events = run(OpenAIBackend(server.url, api_key="secret"), prompt("red"))
    assert "".join(e.text for e in events if isinstance(e, Delta)) == "Red."
    stats = events[-1]
    assert isinstance(stats, Stats) and stats.stop_reason == "end"
    assert (stats.prompt_tokens, stats.reused_tokens, stats.new_tokens) == (90, 40, 3)
    assert server.keys == ["Bearer secret"] and server.asked[0]["model"] == "a-model"


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((401, "{}"), "refused the API key"),
        ((404, "{}"), "is not there"),
        ((500, '{"error":{"message":"image input is not supported - hint: … mmproj"}}'), "--mmproj"),
        ((400, '{"error":{"type":"exceed_context_size_error","message":"the request exceeds the available context size"}}'), "fewer pictures"),
        ((400, '{"error":"Failed: Invalid token"}'), "Convert the checkpoint again"),
        ((400, '{"object":"error","message":"The model `x` was not found"}'), "/v1/models"),
        ((502, "<html>Bad gateway</html>"), "Bad gateway"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(server: Server, answer: tuple[int, str], match: str) -> None:
    server.chat = answer
    events: list[Event] = []
    with pytest.raises(BackendError, match=match):
        for event in OpenAIBackend(server.url).generate(prompt("red"), GenerationSettings(), threading.Event()):
            events.append(event)
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "failed"


def test_a_stream_without_an_end_is_an_incomplete_answer(server: Server) -> None:
    for lines, match in (
        ((piece("Half"),), "stopped in the middle"),
        ((piece("A"), b"data: {broken\n\n"), "events of JSON"),
    ):
        server.chat = answering(*lines)
        events: list[Event] = []
        with pytest.raises(BackendError, match=match):
            for event in OpenAIBackend(server.url).generate(prompt(), GenerationSettings(), threading.Event()):
                events.append(event)
        assert isinstance(events[-1], Stats) and events[-1].stop_reason == "failed"


def test_an_error_during_an_answer_keeps_the_text_so_far(server: Server) -> None:
    server.chat = answering(piece("Half"), b'data: {"error":{"message":"out of memory"}}\n\n')
    backend, said = OpenAIBackend(server.url), ""
    with pytest.raises(BackendError, match="out of memory"):
        for event in backend.generate(prompt(), GenerationSettings(), threading.Event()):
            said += event.text if isinstance(event, Delta) else ""
    assert said == "Half"


def test_a_server_without_vision_is_refused_before_it_is_asked(server: Server) -> None:
    server.props = {"modalities": {"vision": False}}
    backend = OpenAIBackend(server.url)
    assert not backend.capabilities().images
    with pytest.raises(BackendError, match="no vision"):
        backend.generate(prompt("red"), GenerationSettings(), threading.Event())
    assert not server.asked


def test_a_cancel_hangs_up_while_the_server_is_silent(server: Server) -> None:
    def slow() -> Iterator[bytes]:
        yield piece("One")
        for _ in range(200):
            time.sleep(0.05)
            yield b": still here\n\n"

    server.chat = slow
    cancel = threading.Event()
    began = time.monotonic()
    events = []
    for event in OpenAIBackend(server.url).generate(prompt(), GenerationSettings(), cancel):
        events.append(event)
        if isinstance(event, Delta):
            cancel.set()
    assert events[-1].stop_reason == "cancelled" and time.monotonic() - began < 2
    assert server.hung_up.wait(5)


def test_nothing_there_and_no_such_model(server: Server) -> None:
    with pytest.raises(BackendError, match="Nothing answers"):
        OpenAIBackend("http://127.0.0.1:9/v1").capabilities()
    with pytest.raises(BackendError, match="has no model 'b'") as error:
        OpenAIBackend(server.url, "b").capabilities()
    assert "a-model" in error.value.hint
    server.models = {"data": []}
    with pytest.raises(BackendError, match="serves no model"):
        OpenAIBackend(server.url).capabilities()
    server.models = (200, "<html>")
    with pytest.raises(BackendError, match="did not answer with JSON"):
        OpenAIBackend(server.url).capabilities()


@pytest.mark.parametrize(
    ("told", "props", "sees"),
    [
        ({}, {"modalities": {"vision": True}}, True),
        ({"architecture": {"input_modalities": ["text"]}}, {}, False),
        ({"capabilities": ["completion", "multimodal"]}, {}, True),
        ({"type": "vlm"}, {}, True),
        ({"type": "llm"}, {}, False),
        ({"id": "x"}, {}, None),
    ],
)
def test_self_reported_vision(told: dict[str, object], props: dict[str, object], sees: bool | None) -> None:
    assert self_reported_vision(told, props) is sees


def test_self_reported_context() -> None:
    assert listed_context({"max_model_len": 8192}) == 8192
    assert listed_context({"meta": {"n_ctx": 2048}}) == 2048
    assert listed_context({"max_context_length": 4096}) == 4096
    assert listed_context({}) == 0


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("localhost:8080", "http://localhost:8080/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("http://h/api/openai/", "http://h/api/openai"),
    ],
)
def test_addresses_are_normalized(typed: str, url: str) -> None:
    assert normal_url(typed) == url


@pytest.mark.parametrize(
    "typed", ["", "ftp://h", "file:///etc/passwd", "http://", "http://[::1", "http://127.0.0.1:x/v1"]
)
def test_invalid_addresses(typed: str) -> None:
    with pytest.raises(BackendError, match="address of a server"):
        normal_url(typed)


def test_a_server_is_stored_and_removed(server: Server, workspace: Workspace) -> None:
    server.models = {"data": [{"id": "smolvlm2-2.2b-instruct", "max_model_len": 5000}]}
    registry = workspace.registry
    entry = registry.add(ServerEntry.of_url(server.url, "smolvlm2-2.2b-instruct", "secret"))
    assert registry.added() == (entry,)
    spec = registry.make(entry.title).spec
    assert spec.context_tokens == 5000 and spec.geometry.tokens_per_tile == 81
    assert (data_folder() / "backends.json").stat().st_mode & 0o077 == 0  # it holds the key
    registry.remove(entry.key)
    assert registry.added() == ()


def test_a_key_that_cannot_be_sent_is_refused(server: Server) -> None:
    with pytest.raises(BackendError, match="API key"):
        ServerEntry.of_url(server.url, "", "schlüssel")


def test_an_unreadable_list_does_not_keep_the_bundled_model_from_answering(workspace: Workspace) -> None:
    path = data_folder() / "backends.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert workspace.registry.make("smolvlm-shapes").spec.key == "smolvlm-shapes"
    assert workspace.registry.entries() and workspace.registry.problem is not None


def test_a_damaged_list_of_backends_is_reported_and_left(server: Server, workspace: Workspace) -> None:
    path = data_folder() / "backends.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"nonsense": 1}')
    with pytest.raises(StoreError, match="cannot be read"):
        workspace.registry.added()
    with pytest.raises(LensError):
        workspace.registry.add(ServerEntry.of_url(server.url))
    assert path.read_text() == '{"nonsense": 1}'


def test_a_list_from_before_opens_and_kinds_of_a_later_version_stay(workspace: Workspace) -> None:
    """The fields that version 0.1.0 wrote for every kind, and a kind that this version does not have."""
    path = data_folder() / "backends.json"
    path.parent.mkdir(parents=True)
    old = {
        "key": "url:http://h/v1 m", "title": "m at h/v1", "kind": "url", "text": "", "projector": "", "context_tokens": 4096,
        "gpu_layers": None, "threads": None, "url": "http://h/v1", "model": "m", "api_key": "k", "is_llama_server": False,
    }  # fmt: skip
    path.write_text(json.dumps([old, {"kind": "telepathy", "key": "t"}]))
    (entry,) = workspace.registry.added()
    assert isinstance(entry, ServerEntry) and (entry.url, entry.api_key, entry.added) == ("http://h/v1", "k", True)
    workspace.registry.remove(entry.key)
    assert json.loads(path.read_text()) == [{"kind": "telepathy", "key": "t"}]
