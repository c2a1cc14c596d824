"""Requests to our own API: bodies of the wrong type, size, depth and encoding, uploads, odd paths and headers.

The application is called in this process, without a socket, so that it gets bytes that no client library would send. A small
backend stands for the model: what the requests become before a model is asked is what is tried here.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from benchmarks.robustness.odd import nested, spoil
from benchmarks.robustness.section import Section, mutated
from smolvlm_core.api.app import build_api
from smolvlm_core.api.options import ApiOptions
from smolvlm_core.backends import registry
from smolvlm_core.backends.base import Backend, Capabilities, Entry
from smolvlm_core.models.catalog import bundled
from smolvlm_core.paths import GALLERY
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats, TokenLogprob
from smolvlm_core.work.pool import Pool
from smolvlm_core.workspace import Workspace

Headers = list[tuple[bytes, bytes]]
CHAT, FILES = "/v1/chat/completions", "/v1/files"
JSON: Headers = [(b"content-type", b"application/json")]
UPLOADED = "file-uploaded"  # stands for the id of a file that is there


@dataclass(frozen=True)
class Case:
    kind: str
    method: str
    path: str
    headers: Headers
    body: bytes
    chunks: int = 1


class Echo(Backend):
    """Opens the pictures, and says how many there were."""

    kind = "echo"

    def __init__(self) -> None:
        self.name, self.spec = "echo", bundled()

    def identity(self) -> str:
        return "echo"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            images=True, video=True, streaming=True, context_tokens=2048, logprobs=True, json_schema=True
        )

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        sizes = [slot.open().size for slot in prompt.slots]
        yield Delta(f"{len(sizes)} pictures", (TokenLogprob("a", -1.0, (("b", -2.0),)),))
        yield Stats("end", new_tokens=2, prompt_tokens=len(prompt.text), prompt_fingerprint=prompt.fingerprint)


@dataclass(frozen=True, kw_only=True)
class EchoEntry(Entry):
    kind: ClassVar[str] = "echo"

    def make(self, pool: Pool, precision: str = "") -> Echo:
        return Echo()


@cache
def _png() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((31, 17)).save(out, "PNG")
    return out.getvalue()


def _uri(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def request(dice: random.Random) -> dict[str, Any]:
    """A proper chat request with many of its fields."""
    pictures: list[Any] = [
        {"type": "image_url", "image_url": {"url": _uri(_png()), "detail": "low"}},
        {"type": "image_url", "image_url": _uri(_png())},
        {"type": "input_image", "input_image": {"data": base64.b64encode(_png()).decode()}},
        {"type": "input_image", "file_id": UPLOADED},
    ]
    content = [{"type": "text", "text": "What is it?"}, *dice.sample(pictures, dice.randint(0, 2))]
    messages: list[Any] = [{"role": "user", "content": content}]
    if dice.random() < 0.3:
        messages = [{"role": "system", "content": "Be brief."}, *messages]
    if dice.random() < 0.3:
        messages += [{"role": "assistant", "content": "Red."}, {"role": "user", "content": "Sure?"}]
    more: dict[str, Any] = {
        "model": "echo", "stream": dice.random() < 0.5, "stream_options": {"include_usage": True}, "max_tokens": 9,
        "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 3, "stop": ["x", "y"],
        "logprobs": True, "top_logprobs": 2, "n": 1, "tool_choice": "auto", "user": "me", "num_frames": 3,
        "frame_strategy": "even", "frame_range_seconds": [0, 1], "video_prompt": "processor",
        "media_io_kwargs": {"video": {"num_frames": 3}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    }  # fmt: skip
    return {"messages": messages, **{key: more[key] for key in dice.sample(list(more), dice.randint(0, 8))}}


# The kinds


def _chat(body: Any, kind: str, headers: Headers = JSON) -> Case:
    return Case(kind, "POST", CHAT, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def _spoiled(dice: random.Random) -> Case:
    body = request(dice)
    for _ in range(dice.randint(1, 4)):
        spoil(body, dice)
    return _chat(body, "spoiled")


def _mutated(dice: random.Random) -> Case:
    return _chat(mutated(json.dumps(request(dice)).encode(), dice), "mutated")


def _deep(dice: random.Random) -> Case:
    body = request(dice)
    depth = dice.choice((20, 100, 250, 900))
    where = dice.choice(("messages", "metadata", "response_format", "tool_choice", "stop", "media_io_kwargs"))
    value = nested(depth, dice)
    body[where] = (
        {"type": "json_schema", "json_schema": {"schema": {"a": value}}} if where == "response_format" else value
    )
    raw = json.dumps(body).encode()
    if dice.random() < 0.3:
        raw = raw[:-1] + b', "x": ' + dice.choice((b"[", b'{"a":')) * dice.choice((1000, 100_000, 400_000))
    return _chat(raw, "deep")


def _large(dice: random.Random) -> Case:
    body = request(dice)
    n = dice.choice((1001, 20_000, 300_000))
    match dice.randrange(6):
        case 0:
            body["messages"] = dice.choice(([0], [{"role": "user", "content": "a"}])) * min(n, 50_000)
        case 1:
            body["messages"][0]["content"] = "a" * n * 5
        case 2:
            body |= {f"field {i}": i for i in range(min(n, 50_000))}
        case 3:
            body["stop"] = ["x"] * n
        case 4:
            body["m" * n] = "model"
        case 5:
            body["model"] = dice.choice(("m" * n, "/" * n, "http://127.0.0.1:9/v1", "../" * 20 + "etc/passwd", "\0"))
    return _chat(body, "large")


def _numbers(dice: random.Random) -> Case:
    body = request(dice)
    fields = (
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "repetition_penalty", "seed", "top_logprobs", "n",
        "num_frames", "fps",
    )  # fmt: skip
    raw = json.dumps(body | dict.fromkeys(dice.sample(fields, 3), "@"))
    odd = ("1e999", "-1e999", "NaN", "Infinity", "9" * 4000, "9" * 6000, "-0", "1e-400", "0.1" + "0" * 999, str(2**63))
    return _chat(raw.replace('"@"', dice.choice(odd)).encode(), "numbers")


def _encodings(dice: random.Random) -> Case:
    raw = json.dumps(request(dice)).encode()
    body, headers = dice.choice(
        (
            (raw, [(b"content-type", b"text/plain")]),
            (raw, []),
            (raw.decode().encode("utf-16"), JSON),
            (raw.decode().encode("utf-32"), JSON),
            (b"\xef\xbb\xbf" + raw, JSON),
            (gzip.compress(raw), [*JSON, (b"content-encoding", b"gzip")]),
            (raw.replace(b"What", b"\xff\xfe\xc0"), JSON),
            (raw.replace(b"What", b"\\ud800"), JSON),
            (raw.replace(b"What", b"\\u0000"), JSON),
            (raw, [(b"content-type", b"application/json; charset=zlib_codec")]),
            (raw, [(b"content-type", b"\xff" * 300)]),
            (b"", JSON),
            (b"null", JSON),
        )
    )
    return _chat(body, "encodings", list(headers))


def _pictures(dice: random.Random) -> Case:
    png = mutated(_png(), dice) if dice.random() < 0.5 else _png()
    urls = (
        _uri(png), _uri(png)[:-5], _uri(png, "video/mp4"), _uri(png, "x" * 300), "data:,", "data:;base64,", "data:image/png,",
        "http://127.0.0.1:1/a.png", "file:///etc/passwd", "//a", "http://[::1", "\ud800", "", " ", "data:image/svg+xml;base64,PHN2Zz4=",
        _uri(b"GIF89a" + b"\xff" * 30), "a" * 100_000,
    )  # fmt: skip
    ids = (UPLOADED, "file-1", "../../etc/passwd", "\0", "a" * 5000, "\ud800")
    parts: list[Any] = [
        {"type": "image_url", "image_url": {"url": dice.choice(urls)}},
        {"type": "video_url", "video_url": {"url": dice.choice(urls)}},
        {"type": "input_image", "input_image": {"file_id": dice.choice(ids)}},
        {"type": "input_video", "input_video": {"file_id": dice.choice(ids), "data": dice.choice(("", "AA=="))}},
    ]
    if dice.random() < 0.05:
        clip = (GALLERY / "circle-moves-right.mp4").read_bytes()
        parts = [{"type": "video_url", "video_url": {"url": _uri(mutated(clip, dice), "video/mp4")}}]
    body = request(dice)
    body["messages"] = [{"role": "user", "content": [{"type": "text", "text": "?"}, *dice.sample(parts, 1)]}]
    return _chat(body, "pictures")


def _uploads(dice: random.Random) -> Case:
    name = dice.choice(("a.png", "../../a", "\0", "a" * 10_000, "é\ud800.png", '"', "", "a\r\nX: y"))
    disposition = f'form-data; name="{dice.choice(("file", "file", "other", ""))}"; filename="{name}"'
    part = f"--b\r\nContent-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n".encode(
        "utf-8", "surrogatepass"
    )
    data = dice.choice((_png(), b"", b"x" * 3 * 2**20, mutated(_png(), dice)))
    body = part + data + b"\r\n--b--\r\n"
    if dice.random() < 0.3:
        body = mutated(body, dice)
    if dice.random() < 0.1:
        body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 3000 + body
    if dice.random() < 0.1:
        body = b"--b\r\n" + b"X-A: b\r\n" * 50_000 + b"\r\n" + body
    boundary = dice.choice(
        (b"; boundary=b", b"; boundary=b", b"", b"; boundary=" + b"c" * 5000, b'; boundary="', b"; boundary=\xff")
    )
    length = dice.choice(([], [(b"content-length", str(len(body)).encode())], [(b"content-length", b"-1")]))
    headers = [(b"content-type", b"multipart/form-data" + boundary), *length]
    return Case("uploads", "POST", FILES, headers, body, dice.choice((1, 7)))


def _paths(dice: random.Random) -> Case:
    odd = ("", "/", "//", "%00", "\0", "../../etc/passwd", "a" * 20_000, "é", "\udc80", UPLOADED, "?x=1", "echo")
    path = dice.choice((FILES, CHAT, "/v1/models", "/health", "/metrics", "/openapi.json", "")) + dice.choice(
        ("", "/" + dice.choice(odd))
    )
    method = dice.choice(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X" * 999))
    return Case("paths", method, path, JSON, dice.choice((b"", b"{}", b"[]")))


def _headers(dice: random.Random) -> Case:
    odd = (b"", b"evil.example", b"localhost:", b"[::1", b"localhost\xff", b"a" * 10_000, b"127.0.0.1:99999999")
    headers: Headers = [
        *JSON,
        (b"host", dice.choice(odd)),
        (b"origin", dice.choice((*odd, b"null", b"http://[", b"http://localhost"))),
        (b"authorization", dice.choice((b"", b"Bearer", b"Bearer \xff", b"Basic " + b"a" * 9999))),
        (b"content-length", dice.choice((b"", b"-1", b"9" * 5000, "²".encode("latin-1"), b"1e9"))),
    ]
    kept = [*JSON, *dice.sample(headers, 2)]
    return _chat(request(dice), "headers", kept)


KINDS = (
    _spoiled,
    _spoiled,
    _spoiled,
    _mutated,
    _deep,
    _large,
    _numbers,
    _encodings,
    _pictures,
    _uploads,
    _paths,
    _headers,
)


class ApiBodies(Section):
    name, full_count = "api_bodies", 6000

    def case(self, number: int, dice: random.Random) -> Case:
        kinds: tuple[Callable[[random.Random], Case], ...] = KINDS
        return kinds[number % len(kinds)](dice)

    def start(self, folder: Path) -> None:
        registry.KINDS["echo"] = EchoEntry
        self._loop = asyncio.new_event_loop()
        entry = EchoEntry(key="echo", title="Echo")
        options = ApiOptions(max_body_bytes=2 * 2**20, max_upload_bytes=2 * 2**20)
        self._app = build_api(Workspace(folder), entry, options)
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        form = [(b"content-type", b"multipart/form-data; boundary=b")]
        self._uploaded = b""
        _, answer = self._ask(Case("", "POST", FILES, form, head + _png() + b"\r\n--b--\r\n"))
        self._uploaded = json.loads(answer)["id"].encode()

    def attempt(self, case: Case, folder: Path) -> str:
        status, body = self._ask(case)
        assert status < 500, f"{case.kind}: {status} {body[:300]!r}"
        if status >= 400 and case.method != "HEAD":
            error = json.loads(body)["error"]
            assert error["message"] and error["type"] and error["code"], body[:300]
            assert len(body) < 10_000, "an endless error"
            return f"{status}"
        if case.kind == "uploads":  # it stays until it is deleted
            gone, _ = self._ask(Case("", "DELETE", f"{FILES}/{json.loads(body)['id']}", [], b""))
            assert gone == 200
        return "used"

    def _ask(self, case: Case) -> tuple[int, bytes]:
        return self._loop.run_until_complete(asyncio.wait_for(self._called(case), 25))

    async def _called(self, case: Case) -> tuple[int, bytes]:
        """Call the application as a server would. An exception that it lets through is one."""
        body = case.body.replace(UPLOADED.encode(), self._uploaded)
        size = max(1, -(-len(body) // case.chunks))
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        messages = [{"type": "http.request", "body": p, "more_body": i < len(parts) - 1} for i, p in enumerate(parts)]
        status, said = 0, bytearray()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()  # the client stays
            raise AssertionError

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            said.extend(message.get("body", b""))

        await self._app(self._scope(case), receive, send)
        return status, bytes(said)

    def _scope(self, case: Case) -> dict[str, Any]:
        path, _, query = case.path.replace(UPLOADED, self._uploaded.decode()).partition("?")
        headers = case.headers
        if not any(name == b"host" for name, _ in headers):
            headers = [*headers, (b"host", b"localhost")]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": case.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }

    def stop(self) -> None:
        self._loop.close()


SECTION = ApiBodies()
