"""The Ollama backend against a recorded server: no Ollama can be installed where this was made.

It answers /api/tags, /api/show and /api/chat with the fields of Ollama's documentation (docs/api.md) and client package
(0.6.3), and the bundled model behind it answers for real. Its variants misbehave as real ones were reported to.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from smolvlm_core.backends.remote import ollama
from smolvlm_core.backends.remote.ollama import OllamaBackend, OllamaEntry
from smolvlm_core.backends.remote.ollama_api import context_for, geometry_of, messages, options
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import check
from smolvlm_core.check.diagnose import likely_cause
from smolvlm_core.errors import BackendError, ContextTooSmall, PromptError
from smolvlm_core.llamacpp.modelfile import OLLAMA_TEMPLATE
from smolvlm_core.prompt.build import Prompt, Slot, Turn, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.workspace import Workspace
from tests.conftest import drawn

CHATML = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
PICTURES = {"red": drawn("red"), "blue": drawn("blue")}


def prompt(*keys: str, text: str = "What color is the circle?") -> Prompt:
    shown = tuple(Attachment(kind="image", sha256=k, name=k, mime="image/png", width=300, height=300) for k in keys)
    return build_prompt([Message("user", text, shown)], PICTURES.__getitem__)


def clip_prompt() -> Prompt:
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
    return build_prompt([Message("user", "What happens?", (clip,))], PICTURES.__getitem__)


class FakeOllama:
    """`drops_pictures`: lists vision and never shows them to the model. `chatml`: its template is another model's, and puts
    the text before the pictures; the pictures come white, since the bundled model sees through a wrong template at times.
    `slow`: a pause before each word."""

    def __init__(self, backend: TransformersBackend) -> None:
        self.backend = backend
        self.capabilities: list[str] | None = ["completion", "vision"]
        self.context = 8192
        self.drops_pictures = self.chatml = False
        self.slow = 0.0
        self.fails: tuple[int, str] | None = None
        self.asked: list[dict[str, object]] = []
        self.hung_up = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.reply({"models": [{"model": "smolvlm2:latest", "name": "smolvlm2:latest", "size": 1}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if body["model"] != "smolvlm2":
                    self.reply({"error": f"model '{body['model']}' not found"}, 404)
                elif self.path == "/api/show":
                    info = {"general.architecture": "llama", "llama.context_length": outer.context}
                    told = {
                        **({"capabilities": outer.capabilities} if outer.capabilities is not None else {}),
                        "model_info": info,
                        "projector_info": {"general.architecture": "clip"},
                    }
                    template = CHATML if outer.chatml else OLLAMA_TEMPLATE
                    self.reply({**told, "details": {"quantization_level": "Q8_0"}, "template": template})
                elif outer.fails:
                    self.reply({"error": outer.fails[1]}, outer.fails[0])
                elif not body["messages"]:  # "Load a model"
                    outer.asked.append(body)
                    message = {"role": "assistant", "content": ""}
                    self.reply({"model": "smolvlm2", "message": message, "done_reason": "load", "done": True})
                else:
                    outer.asked.append(body)
                    self.chat(body)

            def chat(self, body: dict[str, object]) -> None:
                self.send_response(200)
                self.end_headers()
                try:
                    for part in outer.parts(body):
                        self.wfile.write(json.dumps(part).encode() + b"\n")
                        self.wfile.flush()
                except OSError:
                    outer.hung_up.set()

            def reply(self, value: object, status: int = 200) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(value).encode())

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def parts(self, body: dict[str, object]) -> Iterator[dict[str, object]]:
        """Lines of /api/chat: words, then the figures; durations in nanoseconds."""
        common = {"model": "smolvlm2", "created_at": "2026-01-01T00:00:00Z"}
        settings = GenerationSettings(max_new_tokens=body["options"]["num_predict"])  # type: ignore[index]
        for event in self.backend.generate(self.prompt_of(body), settings, threading.Event()):
            if isinstance(event, Delta):
                time.sleep(self.slow)
                yield {**common, "message": {"role": "assistant", "content": event.text}, "done": False}
            elif isinstance(event, Stats):
                figures = {
                    "done_reason": "stop",
                    "prompt_eval_count": event.prompt_tokens,
                    "eval_count": event.new_tokens,
                    "eval_duration": 20_000_000,
                }
                yield {**common, "message": {"role": "assistant", "content": ""}, "done": True, **figures}

    def prompt_of(self, body: dict[str, object]) -> Prompt:
        turns, slots = [], []
        for message in body["messages"]:  # type: ignore[attr-defined]
            content = message["content"]
            for n, data in enumerate(message.get("images", [])):
                assert "[img]" in content
                if self.drops_pictures:
                    content = content.replace("[img]", "", 1)
                    continue
                content = content.replace("[img]", IMAGE, 1)
                picture = Image.open(io.BytesIO(base64.b64decode(data)))
                if self.chatml:
                    picture = Image.new("RGB", picture.size, "white")
                key = f"{hash(data)} {n}"
                slots.append(
                    Slot(
                        sha256=key,
                        width=picture.width,
                        height=picture.height,
                        tiled=True,
                        label="",
                        open=lambda picture=picture: picture,
                    )
                )
            if self.chatml:
                content = content.replace(IMAGE, "") + IMAGE * content.count(IMAGE) + "<|im_end|>"
            turns.append(Turn(message["role"], content))
        return Prompt(tuple(turns), tuple(slots))


@pytest.fixture
def server(backend: TransformersBackend) -> Iterator[FakeOllama]:
    made = FakeOllama(backend)
    yield made
    made.http.shutdown()


def run(backend: OllamaBackend, asked: Prompt, cancel: threading.Event | None = None) -> list[Event]:
    return list(backend.generate(asked, GenerationSettings(max_new_tokens=32), cancel or threading.Event()))


def test_messages_keep_pictures_where_they_stand() -> None:
    said = messages(clip_prompt())[0]
    assert said["content"] == clip_prompt().turns[0].content.replace(IMAGE, "[img]")
    assert len(said["images"]) == 2 and said["images"][0] != said["images"][1]
    assert "images" not in messages(prompt(text="hi"))[0]
    with pytest.raises(PromptError, match=r"\[img\]"):
        messages(prompt(text="What does [img] mean?"))


def test_the_context_holds_every_picture_as_ollama_counts() -> None:
    settings = GenerationSettings(max_new_tokens=100)
    cut = geometry_of("smolvlm2:2.2b")
    assert context_for(prompt("red"), settings, 8192, cut) == 4096
    assert geometry_of("SmolVLM2-500M").tile == 512 and geometry_of("other") == cut
    many = build_prompt(
        [
            Message(
                "user",
                "?",
                tuple(
                    Attachment(kind="image", sha256=f"{i}", name="x", mime="image/png", width=9, height=9)
                    for i in range(8)
                ),
            )
        ],
        PICTURES.get,
    )
    assert context_for(many, settings, 0, cut) == 12288 >= 8 * 17 * 81 + 100  # 16 tiles and an overview each
    with pytest.raises(ContextTooSmall, match="drop pictures silently"):
        context_for(many, settings, 8192, cut)


def test_ollamas_own_defaults_are_off() -> None:
    sent = options(GenerationSettings(), 4096)
    assert (sent["repeat_penalty"], sent["top_k"], sent["temperature"], sent["num_ctx"]) == (1.0, 0, 0.0, 4096)


def test_it_answers_with_its_figures(server: FakeOllama) -> None:
    backend = OllamaBackend("smolvlm2", server.url)
    assert backend.capabilities().images and backend.capabilities().context_tokens == 8192
    events = run(backend, prompt("red"))
    assert "".join(e.text for e in events if isinstance(e, Delta)) == "Red."
    stats = events[-1]
    assert isinstance(stats, Stats) and (stats.stop_reason, stats.new_tokens, stats.prompt_tokens) == ("end", 3, 206)
    assert stats.tokens_per_second == pytest.approx(150)
    assert server.asked[0]["options"]["num_ctx"] == 4096  # type: ignore[index]


def test_a_model_without_vision_is_refused_with_a_fix(server: FakeOllama) -> None:
    server.capabilities = ["completion"]
    with pytest.raises(BackendError, match="two FROM lines"):
        run(OllamaBackend("smolvlm2", server.url), prompt("red"))
    assert not server.asked


def test_what_it_says_of_itself_is_asked_past(server: FakeOllama) -> None:
    """One that sees is not called blind for a list, which is told; an older Ollama, without a list, is asked too."""
    server.capabilities = ["completion"]
    found = check(OllamaBackend("smolvlm2", server.url), seed=1, subjects=("shapes",))
    assert found.verdict == "sees" and found.metadata["images"] is False
    server.capabilities = None
    run(OllamaBackend("smolvlm2", server.url), prompt("red"))
    server.capabilities, server.drops_pictures = ["completion"], True
    assert "imported without its projector" in likely_cause(OllamaBackend("smolvlm2", server.url), verdict="blind")[0]


def test_it_is_loaded_once_for_what_will_be_asked(server: FakeOllama) -> None:
    backend, settings = OllamaBackend("smolvlm2", server.url), GenerationSettings(max_new_tokens=3000)
    events = list(backend.prepare(prompt("red"), settings, threading.Event()))
    assert isinstance(events[-1], Stats)
    run(backend, prompt(text="Hello"))
    sizes = [asked["options"]["num_ctx"] for asked in server.asked]  # type: ignore[index]
    assert sizes == [5120, 5120] and server.asked[0]["messages"] == []


@pytest.mark.parametrize("page", [b"<html>", b"[1]", b'{"models": 3}'])
def test_a_server_that_is_not_ollama_is_an_error(page: bytes) -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self) -> None:
            self.do_GET()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    for url in (f"http://127.0.0.1:{http.server_port}", "http://localhost:abc"):
        with pytest.raises(BackendError, match="is not Ollama"):
            ollama.models(url)
    http.shutdown()


def test_one_that_sees_and_one_that_only_says_so(server: FakeOllama) -> None:
    """Metadata is not trusted: both list the capability."""
    backend = OllamaBackend("smolvlm2", server.url)
    assert check(backend, seed=1, subjects=("shapes",)).verdict == "sees"
    assert "No cause was found" in likely_cause(backend, verdict="blind")[0]
    server.drops_pictures = True
    found = check(backend, seed=1)
    assert found.verdict == "blind" and "dropped on the way" in found.cause


def test_a_wrong_template_is_reported(server: FakeOllama) -> None:
    backend = OllamaBackend("smolvlm2", server.url)
    server.chatml = True
    found = check(backend, seed=1, subjects=("shapes",))
    assert found.verdict != "sees" and "ChatML" in found.cause and "ollama create smolvlm2 -f Modelfile" in found.fix


def test_a_cancel_hangs_up(server: FakeOllama) -> None:
    server.slow = 0.2
    cancel = threading.Event()
    events: list[Event] = []
    asked = prompt("red", text="Describe the image.")
    for event in OllamaBackend("smolvlm2", server.url).generate(asked, GenerationSettings(), cancel):
        events.append(event)
        if isinstance(event, Delta):
            cancel.set()
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "cancelled"
    assert server.hung_up.wait(10)


@pytest.mark.parametrize(
    ("fails", "match"),
    [((500, "model requires more system memory (9 GiB) than is available"), "smaller model"), ((400, "odd"), "odd")],
)
def test_errors_say_what_to_do(server: FakeOllama, fails: tuple[int, str], match: str) -> None:
    server.fails = fails
    with pytest.raises(BackendError, match=match):
        run(OllamaBackend("smolvlm2", server.url), prompt("red"))


def test_nothing_there_and_no_such_model(server: FakeOllama) -> None:
    with pytest.raises(BackendError, match="ollama serve"):
        OllamaBackend("smolvlm2", "http://127.0.0.1:9").capabilities()
    with pytest.raises(BackendError, match="ollama pull nothing"):
        OllamaBackend("nothing", server.url).capabilities()
    with pytest.raises(BackendError, match="does not answer"):
        ollama.models("http://127.0.0.1:9")


def test_models_are_listed_and_stored(server: FakeOllama, workspace: Workspace) -> None:
    assert ollama.models(server.url) == ["smolvlm2:latest"]
    entry = workspace.registry.add(OllamaEntry.of_model("smolvlm2", server.url))
    assert workspace.registry.added() == (entry,)
    again = workspace.registry.make(entry.key)
    assert again.spec.context_tokens == 8192 and isinstance(again, OllamaBackend)
