"""The API as its clients see it: the `openai` package and plain HTTP, over a real socket, with the bundled model."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import openai
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from smolvlm_core.access.users import Users
from smolvlm_core.api import conversation
from smolvlm_core.api.app import build_api
from smolvlm_core.api.errors import ApiError
from smolvlm_core.api.fetch import Fetcher, is_public
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.api.places import Places
from smolvlm_core.api.server import bind
from smolvlm_core.api.stops import Stops
from smolvlm_core.api.uploads import MOST_FILES, Uploads
from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend, Entry, collect
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.check import check
from smolvlm_core.conversations.unsaved import ClipSampling, UnsavedMedia
from smolvlm_core.media import sha256_of
from smolvlm_core.models import catalog
from smolvlm_core.paths import GALLERY
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Message as ChatMessage
from smolvlm_core.video import sample_clip
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace
from tests.conftest import Writer, drawn, encoded
from tests.toy_backend import ToyBackend

ROOT = Path(__file__).resolve().parent.parent
MOVES = GALLERY / "circle-moves-right.mp4"
COLORS = ("red", "blue", "green", "yellow")
NEVER = threading.Event()
Message = dict[str, Any]


@dataclass
class Api:
    url: str  # ends in /v1
    key: str = "none"

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=60)

    def post(self, path: str = "/chat/completions", **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=60, trust_env=False, **options)

    def ask(self, *messages: Message, **options: Any) -> Any:
        return self.client.chat.completions.create(model="", messages=list(messages), **options)  # type: ignore[arg-type]


Start = Callable[..., Api]


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Start]:
    """Serves the workspace on a free port. The bundled model is the default."""
    with contextlib.ExitStack() as running:

        def begin(entry: Entry | None = None, **options: Any) -> Api:
            default = entry or workspace.registry.find(catalog.BUNDLED)
            app = build_api(workspace, default, ApiOptions(**options))
            listening = bind("127.0.0.1", 0)
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
            ready = threading.Event()
            begun = server.startup

            async def startup(sockets: Any = None) -> None:
                await begun(sockets=sockets)
                ready.set()

            server.startup = startup  # type: ignore[method-assign]
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            assert ready.wait(20)

            def end() -> None:
                server.should_exit = True
                thread.join(20)

            running.callback(end)
            return Api(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", options.get("api_key", "none"))

        yield begin


def data_uri(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def picture(color: str, size: int = 300) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_uri(encoded(drawn(color, size=size)))}}


def clip(path: Path = MOVES) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": data_uri(path.read_bytes(), "video/mp4")}}


def user(text: str, *parts: dict[str, Any]) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


def test_keys_files_and_places_in_the_queue_belong_to_users(start: Start, workspace: Workspace) -> None:
    users = Users(workspace.folder)
    for name in ("anna", "bob"):
        users.put(name, password="")
    api = start(users=users, is_shared=True, max_requests=8)
    as_user = {name: {"Authorization": f"Bearer {users.add_key(name)}"} for name in ("anna", "bob")}
    assert api.post("/chat/completions", json={}).status_code == 401
    assert (
        httpx.get(f"{api.url}/models", headers={"Authorization": "Bearer lens_0_x"}, trust_env=False).status_code == 401
    )

    def get(path: str, name: str) -> httpx.Response:
        return httpx.get(f"{api.url}{path}", headers=as_user[name], trust_env=False)

    files = {"file": ("red.png", encoded(drawn("red")))}
    uploaded = api.post("/files", files=files, headers=as_user["anna"]).json()["id"]
    assert [f["id"] for f in get("/files", "anna").json()["data"]] == [uploaded]
    assert get("/files", "bob").json()["data"] == [] and get(f"/files/{uploaded}", "bob").status_code == 404
    assert httpx.delete(f"{api.url}/files/{uploaded}", headers=as_user["bob"], trust_env=False).status_code == 404
    asked = user("What color is it?", {"type": "input_image", "input_image": {"file_id": uploaded}})

    def ask(name: str, tokens: int = 20) -> httpx.Response:
        body = {"messages": [asked], "max_tokens": tokens}
        return api.post("/chat/completions", json=body, headers=as_user[name])

    assert ask("anna").json()["choices"][0]["message"]["content"].startswith("Red")
    assert ask("bob").json()["error"]["code"] == "file_not_found"
    key = users.find("anna").keys[0].id  # type: ignore[union-attr]
    users.revoke_key(key)
    assert get("/models", "anna").status_code == 401


def test_a_user_has_a_limited_number_of_places() -> None:
    places = Places(3, lambda: 1)
    taken = places.take("anna")
    with pytest.raises(ApiError, match="1 of your requests"):
        places.take("anna")
    places.take("bob")
    places.take("")
    with pytest.raises(ApiError, match="3 requests run"):
        places.take("")
    places.give(taken, "anna", answered=True)
    assert places.take("anna") and places.taken == 3


def test_the_openai_client_asks_about_pictures_over_several_turns(start: Start) -> None:
    api = start()
    first = user("What color is the circle?", picture("red", 301))
    answer = api.ask(first, max_tokens=20, seed=3)
    said = answer.choices[0].message.content
    assert said == "Red." and answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 206 and answer.usage.prompt_tokens_details.image_tokens == 180
    given = answer.smolvlm_lens
    assert given["prompt"].endswith("User:<image>What color is the circle?<end_of_utterance>\nAssistant:")
    assert given["media"][0]["width"] == 301 and given["settings"]["max_new_tokens"] == 20 and given["ignored"] == []
    again = api.ask(first, {"role": "assistant", "content": said}, {"role": "user", "content": "What shape is it?"})
    assert "ircle" in again.choices[0].message.content
    assert again.usage.prompt_tokens_details.cached_tokens > 200  # the picture's part is not read again


def test_an_answer_streams_as_it_is_written(start: Start) -> None:
    api = start()
    asked = user("What color is the square?", picture("blue", 302))
    whole = api.ask(asked)
    chunks = list(api.ask(asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and not chunks[-1].choices
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-2].smolvlm_lens["media"][0]["width"] == 302


def test_clips_are_sampled_as_in_the_app(start: Start) -> None:
    api = start()
    question = user("Which way does the circle move?", clip())
    expected = [frame.timestamp_seconds for frame in sample_clip(MOVES, 5).frames]
    answer = api.ask(question, extra_body={"num_frames": 5})
    assert "right" in answer.choices[0].message.content
    assert [frame["timestamp_seconds"] for frame in answer.usage.frames] == expected
    media = answer.smolvlm_lens["media"][0]
    assert [frame["timestamp_seconds"] for frame in media["frames"]] == expected and media["decoder"]
    own_rule = api.ask(question)
    assert len(own_rule.usage.frames) == 8  # two a second of four
    vllm = api.ask(question, extra_body={"media_io_kwargs": {"video": {"num_frames": 5, "backend": "opencv"}}})
    assert vllm.usage.frames == answer.usage.frames and vllm.smolvlm_lens["ignored"] == [
        "media_io_kwargs.video.backend"
    ]
    at_rate = api.ask(question, extra_body={"fps": 1.5, "frame_range_seconds": [0, 2]})
    assert len(at_rate.usage.frames) == 3 and at_rate.usage.frames[-1]["timestamp_seconds"] <= 2
    other = api.ask(question, extra_body={"num_frames": 5, "video_prompt": "vlmevalkit"})
    assert "Here are some frames sampled from a video:" in other.smolvlm_lens["prompt"]
    assert "You are provided the following series of five frames" in answer.smolvlm_lens["prompt"]


def test_this_app_as_a_client_gives_the_same_prompt_and_passes_the_check(start: Start, backend: Backend) -> None:
    """Frames of a clip stay single tiles in their places, though the chat API knows only pictures."""
    api = start()
    given = UnsavedMedia()
    shown = given.add_clip(MOVES, "clip", ClipSampling(frames=4), model_fps=1, model_max_frames=8)
    prompt = build_prompt([ChatMessage("user", "Which way does the circle move?", (shown,))], given.open)
    through = OpenAIBackend(api.url)
    reply = collect(through.generate(prompt, GenerationSettings(), threading.Event()))
    here = collect(backend.generate(prompt, GenerationSettings(), threading.Event()))
    assert (reply.text, reply.stats.prompt_tokens) == (here.text, here.stats.prompt_tokens)
    verdict = check(through, seed=5)
    assert verdict.verdict == "sees" and verdict.subjects["clips"].standing == "sees"


def test_an_uploaded_clip_is_asked_by_its_id(start: Start) -> None:
    api = start(max_upload_bytes=MOVES.stat().st_size + 10)
    files = api.client.files
    uploaded = files.create(file=MOVES, purpose="vision")
    part = {"type": "input_video", "input_video": {"file_id": uploaded.id}}
    answer = api.ask(user("Which way does the circle move?", part), extra_body={"num_frames": 6})
    assert "right" in answer.choices[0].message.content and answer.smolvlm_lens["media"][0]["name"] == MOVES.name
    assert answer.smolvlm_lens["media"][0]["sha256"] == sha256_of(MOVES.read_bytes())
    newer = files.create(file=("a.png", encoded(drawn("green", size=303))), purpose="vision")
    assert [file.id for file in files.list()] == [newer.id]  # the older one had to make room
    with pytest.raises(openai.NotFoundError, match="Upload it"):
        api.ask(user("?", part))
    assert files.delete(newer.id).deleted and not list(files.list())
    too_large = api.post("/files", files={"file": ("b.bin", bytes(MOVES.stat().st_size + 11))})
    assert too_large.status_code == 413 and too_large.json()["error"]["code"] == "file_too_large"


def test_log_probabilities(start: Start) -> None:
    answer = start().ask(user("What color is the circle?", picture("yellow", 304)), logprobs=True, top_logprobs=2)
    tokens = answer.choices[0].logprobs.content
    assert [t.token for t in tokens] == [" Yellow", "."]
    assert all(len(t.top_logprobs) == 2 and t.top_logprobs[0].token == t.token for t in tokens)
    assert -0.1 < tokens[0].logprob <= 0 and tokens[0].top_logprobs[1].logprob < tokens[0].logprob


def test_stop_sequences_end_an_answer(start: Start) -> None:
    asked = user("What color is the circle?", picture("green", 305))
    for stream in (False, True):
        answer = start().ask(asked, stop=["ee", "."], stream=stream)
        said = (
            "".join(c.choices[0].delta.content or "" for c in answer) if stream else answer.choices[0].message.content
        )
        assert said == "Gr"


@given(st.text("ab.", max_size=12), st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3), st.data())
def test_stops_cut_at_the_first_sequence_however_the_text_comes(text: str, sequences: list[str], data: Any) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    stops = Stops(sequences)
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    got = "".join(stops.add(piece) for piece in pieces) + stops.rest()
    ends = [n for n in range(len(text) + 1) if any(text[:n].endswith(s) for s in sequences)]
    first = min((text.find(s) for s in sequences if s in text[: ends[0]]), default=0) if ends else len(text)
    assert got == text[:first] and stops.found == bool(ends)


def test_simultaneous_questions_are_not_mixed_up(start: Start) -> None:
    api = start()

    def ask(i: int) -> str:
        return str(
            api.ask(user("What color is the circle?", picture(COLORS[i % 4], 306 + i))).choices[0].message.content
        )

    with ThreadPoolExecutor(8) as pool:
        assert [said.strip(".").lower() for said in pool.map(ask, range(16))] == [COLORS[i % 4] for i in range(16)]


def test_models_health_and_metrics(start: Start, workspace: Workspace) -> None:
    api = start()
    listed = httpx.get(f"{api.url}/models", trust_env=False).json()["data"]
    assert {row["id"] for row in listed} == {entry.key for entry in workspace.registry.entries()}
    assert listed[0]["id"] == catalog.BUNDLED  # the default
    assert listed[0]["vision_check"] is None and listed[0]["max_model_len"] == 2048
    assert httpx.get(f"{api.url}/models/smolvlm-shapes", trust_env=False).json() == listed[0]
    api.ask(user("What color is the circle?", picture("red", 330)))
    root = api.url.removesuffix("/v1")
    assert httpx.get(f"{root}/health", trust_env=False).json()["status"] == "ok"
    metrics = httpx.get(f"{root}/metrics", trust_env=False).text
    assert 'smolvlm_lens_requests_total{model="smolvlm-shapes",status="200"} 1.0' in metrics
    assert 'smolvlm_lens_tokens_total{kind="image",model="smolvlm-shapes"} 180.0' in metrics
    assert "smolvlm_lens_requests_running 0.0" in metrics


def test_pictures_have_a_limit_together(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setattr(conversation, "MAX_IMAGE_PIXELS", 2 * 340 * 340)
    api = start()
    first, second, third = (picture("red", 340), picture("blue", 340), picture("green", 340))
    assert api.post(json=body(user("What color is the circle?", first, second))).status_code == 200
    refused = api.post(json=body(user("What color is the circle?", first, second, third)))
    assert refused.status_code == 400 and "megapixels together" in refused.json()["error"]["message"]


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def test_what_cannot_be_served_is_refused_with_a_reason(start: Start) -> None:
    api = start()
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}}
    text = {"type": "image_url", "image_url": {"url": data_uri(b"no picture")}}
    both = {"type": "input_video", "input_video": {"data": "AA==", "file_id": "file-1"}}
    wrong: list[tuple[dict[str, Any], int, str, str]] = [
        (body(), 400, "invalid_value", "messages"),
        (body(user("Hi"), model="nope"), 404, "model_not_found", "smolvlm-shapes"),
        (body(user("Hi"), model="/etc/passwd"), 404, "model_not_found", "no model"),
        (body(user("Hi"), model="SmolVLM2-2.2B-Instruct"), 400, "model_not_downloaded", "--model"),
        (body(user("Hi"), temperature=9), 400, "invalid_value", "temperature"),
        (body(user("Hi"), n=2), 400, "invalid_value", "n:"),
        (body(user("Hi", broken)), 400, "invalid_value", "base64"),
        (body(user("Hi", text)), 400, "invalid_media", "not an image"),
        (body(user("Hi", picture("red"), clip())), 400, "invalid_prompt", "images or a clip"),
        (body(user("Hi", {"type": "audio"})), 400, "invalid_value", "audio"),
        (body(user("Hi", both)), 400, "invalid_value", "either data or file_id"),
        (body(user("<image>")), 400, "invalid_prompt", "reserves"),
        (body({"role": "assistant", "content": "Hi"}), 400, "invalid_prompt", "no question"),
        (body({"role": "tool", "content": "Hi"}), 400, "invalid_value", "role"),
        (body(user("Hi"), {"role": "system", "content": "Be brief"}), 400, "invalid_value", "system message"),
        (body(user("Hi", clip()), num_frames=3, fps=1), 400, "invalid_value", "num_frames and fps"),
        (body(user("Hi", clip()), num_frames=60), 400, "context_length_exceeded", "fewer"),
        (body(user("Hi", *[text] * 60)), 400, "context_length_exceeded", "60 pictures"),
        (body(user("Hi"), response_format={"type": "json_object"}), 400, "no_json_schema", "schema"),
        (
            body(user("Hi"), response_format={"type": "json_schema", "json_schema": "x"}),
            400,
            "invalid_value",
            "json_schema",
        ),
        (body(user("Hi"), response_format={"type": "json_schema"}), 400, "invalid_value", "response_format"),
        (body(user("Hi"), tool_choice="required"), 400, "invalid_value", "no tools"),
        (body(user("Hi"), stop=["x"] * 17), 400, "invalid_value", "stop"),
        (body(*[0] * 3000), 400, "invalid_value", "messages"),
        (body(user("a" * 2_000_000)), 400, "context_length_exceeded", "characters"),
        (body(user("Hi"), model="m" * 100_000), 404, "model_not_found", "…"),
        (
            body(user("Hi", {"type": "image_url", "image_url": {"url": "http://a.example/b.png"}})),
            400,
            "invalid_value",
            "--allow-urls",
        ),
    ]
    for request, status, code, words in wrong:
        for stream in (False, True):
            answer = api.post(json={**request, "stream": stream})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (status, code), answer.text
            assert words in error["message"], error
    json_type = {"Content-Type": "application/json"}
    assert "Content-Type: application/json" in api.post(content=b"{}").json()["error"]["hint"]
    assert api.post(content=b"{", headers=json_type).status_code == 400
    assert api.post(content=b"[" * 200_000, headers=json_type).json()["error"]["hint"]
    assert api.post("/nowhere").json()["error"]["code"] == "not_found"


def test_what_openai_clients_send(start: Start) -> None:
    """Nulls, a seed of -1, no limit of tokens, and the Responses API's form of a picture."""
    image = {"type": "input_image", "image_url": picture("red", 334)["image_url"]["url"]}
    question = {"role": "user", "content": [{"type": "input_text", "text": "What color is the circle?"}, image]}
    options = dict.fromkeys(("model", "stream", "stop", "temperature", "frame_strategy", "video_prompt", "tools"))
    answer = start().post(json=body(question, seed=-1, max_tokens=-1, top_p=0, **options)).json()
    assert answer["choices"][0]["message"]["content"] == "Red." and answer["smolvlm_lens"]["ignored"] == []


def test_what_is_ignored_is_listed(start: Start) -> None:
    answer = start().ask(
        user("What color is the circle?", {**picture("blue", 331), "cache_control": {"type": "ephemeral"}}),
        presence_penalty=0.5,
        user="me",
        max_tokens=99999,
    )
    given = answer.smolvlm_lens
    assert given["ignored"] == ["presence_penalty", "user", "messages.0.image_url.cache_control"]
    assert given["warnings"] == ["max_tokens is limited to 8192."]


def test_other_hosts_origins_and_keys_are_refused(start: Start) -> None:
    api = start(api_key="secret", max_body_bytes=100_000)
    allowed = {"Authorization": "Bearer secret"}

    def status(path: str = "/models", **headers: str) -> int:
        return httpx.get(f"{api.url}{path}", headers=headers, trust_env=False).status_code

    assert status() == 401 and status(Authorization="Bearer wrong") == 401 and status(**allowed) == 200
    assert status(**allowed, Host="evil.example") == 403 and status(**allowed, Origin="http://evil.example") == 403
    assert status(**allowed, Origin="http://[") == 403
    assert httpx.get(api.url.replace("/v1", "/health"), trust_env=False).status_code == 200
    assert api.client.models.list().data[0].id == catalog.BUNDLED
    large = json.dumps(body(user("x" * 100_000))).encode()
    pieces = (large[i : i + 1000] for i in range(0, len(large), 1000))  # without a length
    for content in (large, pieces):
        refused = api.post(content=content, headers=allowed)
        assert refused.status_code == 413 and "/v1/files" in refused.json()["error"]["hint"]


class SlowBackend(ToyBackend):
    """Writes until it is stopped, and says when that was."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.began, self.stopped = threading.Event(), threading.Event()

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        self.began.set()
        while not cancel.wait(0.01):
            yield Delta("more ")
        self.stopped.set()
        yield Stats("cancelled")


@dataclass(frozen=True, kw_only=True)
class SlowEntry(Entry):
    kind: ClassVar[str] = "slow"
    backend: Backend

    def make(self, pool: Pool, precision: str = "") -> Backend:
        return self.backend


@pytest.fixture
def slow() -> Iterator[SlowEntry]:
    registry.register(SlowEntry)
    yield SlowEntry(key="slow", title="Slow", backend=SlowBackend())
    del registry.KINDS["slow"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_model(start: Start, slow: SlowEntry, stream: bool) -> None:
    api = start(slow)
    backend = slow.backend
    assert isinstance(backend, SlowBackend)
    host, port = api.url.removeprefix("http://").removesuffix("/v1").split(":")
    request = json.dumps(body(user("Go"), stream=stream))
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(request)}\r\n\r\n{request}".encode())
        assert backend.began.wait(20)
    assert backend.stopped.wait(20)
    metrics = api.url.replace("/v1", "/metrics")
    wait_until(lambda: "requests_running 0.0" in httpx.get(metrics, trust_env=False).text)


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_full_queue_and_a_slow_answer(start: Start, slow: SlowEntry) -> None:
    api = start(slow, max_requests=1, timeout_seconds=1.0)
    backend = slow.backend
    assert isinstance(backend, SlowBackend)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(api.post, json=body(user("Go")))
        assert backend.began.wait(20)
        second = api.post(json=body(user("Go")))
        assert second.status_code == 429 and int(second.headers["Retry-After"]) >= 1
        assert second.json()["error"]["code"] == "queue_full"
        assert api.post(json=body(user("Go"), model="junk")).status_code == 429
        assert first.result().status_code == 504 and first.result().json()["error"]["code"] == "timeout"
    assert backend.stopped.wait(20)
    metrics = api.url.replace("/v1", "/metrics")
    wait_until(lambda: "requests_running 0.0" in httpx.get(metrics, trust_env=False).text)
    assert "junk" not in httpx.get(metrics, trust_env=False).text
    streamed = api.post(json=body(user("Go"), stream=True))
    assert streamed.status_code == 200 and '"code": "timeout"' in streamed.text.splitlines()[-2]


class Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        if self.path == "/moved":
            self.send_header("Location", "/picture")
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(encoded(drawn("green", size=332)) if self.path == "/picture" else bytes(5_000))

    def log_message(self, *_: Any) -> None:
        pass


def test_web_addresses_only_from_listed_public_hosts() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        port = web.server_port
        asked: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        fetcher = Fetcher(["pictures.example"], 4_000, resolve=resolve, is_allowed=lambda address: True)
        assert fetcher.fetch(f"http://pictures.example:{port}/picture", NEVER).startswith(b"\x89PNG")
        assert asked == ["pictures.example"]
        for url, words in (
            (f"http://other.example:{port}/picture", "pictures.example only"),
            (f"http://me:pw@pictures.example:{port}/picture", "without a user name"),
            (f"http://pictures.example:{port}/moved", "Redirects"),
            (f"http://pictures.example:{port}/large", "more than"),
            (f"http://pictures.example:{port}/packed", "compressed"),
            ("file:///etc/passwd", "only"),
            ("http://pictures.example:99999/", "not an address"),
            (f"http://pictures.example:{port}/\x00", "cannot be fetched"),
        ):
            with pytest.raises(ApiError, match=words):
                fetcher.fetch(url, NEVER)
        private = Fetcher(["pictures.example"], 4_000, resolve=resolve)
        with pytest.raises(ApiError, match="private"):
            private.fetch(f"http://pictures.example:{port}/picture", NEVER)
        web.shutdown()
    inside = [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "::1",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
    ]
    assert not any(map(is_public, inside)) and is_public("93.184.216.34") and is_public("2606:2800:220:1::1")


def test_uploads_leave_nothing_behind() -> None:
    uploads = Uploads(1000)
    path = uploads.add(io.BytesIO(b"abc"), "a.png").path
    assert path.read_bytes() == b"abc" and path.parent.stat().st_mode & 0o077 == 0
    uploads.close()
    assert not path.parent.exists()


def test_the_number_of_uploads_of_a_user_is_limited() -> None:
    uploads = Uploads(2**30)
    first, other = uploads.add(io.BytesIO(b"0"), "0.png", "anna"), uploads.add(io.BytesIO(b"0"), "0.png", "bob")
    for n in range(MOST_FILES):
        uploads.add(io.BytesIO(b"1"), f"{n}.png", "anna")
    assert len(uploads.all("anna")) == MOST_FILES and not first.path.exists() and uploads.all("bob") == [other]
    uploads.close()


@pytest.mark.skipif(os.name == "nt", reason="sends Ctrl-C as a signal")
def test_serve_checks_first_and_ends_on_ctrl_c(write_clip: Writer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "smolvlm_core", "serve", "--model", catalog.BUNDLED, "--port", str(port)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    ) as serve:
        try:
            assert serve.stdout is not None
            address = serve.stdout.readline().strip()  # after the check
            answer = Api(address).ask(user("What color is the circle?", picture("red", 333)))
            second = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
            serve.send_signal(signal.SIGINT)
            _, said = serve.communicate(timeout=60)
        finally:
            serve.kill()
    assert address == f"http://127.0.0.1:{port}/v1" and "SEES" in said
    assert answer.choices[0].message.content == "Red."
    assert second.returncode == 1 and "cannot be used" in second.stderr


def test_other_machines_need_a_key() -> None:
    command = [sys.executable, "-m", "smolvlm_core", "serve", "--host", "0.0.0.0", "--model", catalog.BUNDLED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "API key" in done.stderr
