"""Model servers that cut, flood, stall, lie and lead elsewhere, asked by each of the three clients."""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.robustness.hostile_server import HostileServer, Reset, Script, Send, Wait, http
from benchmarks.robustness.odd import ODD, spoil
from benchmarks.robustness.section import Section, mutated
from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.remote.llama_server import LlamaServerBackend
from smolvlm_core.backends.remote.ollama import OllamaBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.errors import LensError
from smolvlm_core.models.catalog import bundled
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import Delta, GenerationSettings, Stats
from smolvlm_core.prompt.messages import Message

CLIENTS = ("openai", "ollama", "llama")
CHAT = {"openai": "/v1/chat/completions", "ollama": "/api/chat", "llama": "/completion"}
ABOUT = {"openai": "/v1/models", "ollama": "/api/show", "llama": "/props"}
SAID = {
    "openai": {"data": [{"id": "m", "max_model_len": 4096}]},
    "ollama": {"capabilities": ["completion", "vision"], "model_info": {"llama.context_length": 8192}, "details": {}},
    "llama": {"modalities": {"vision": True}, "media_marker": "<m>", "model_path": "m.gguf", "build_info": "b1"},
}
TIMEOUTS = Timeouts(connect_seconds=1, first_byte_seconds=0.6, silence_seconds=0.6)
STOP_AFTER_SECONDS, STOPPED_WITHIN_SECONDS = 0.3, 1.5
ELSEWHERE = "/elsewhere"


@dataclass(frozen=True)
class Case:
    """`may_complete`: the answer has a proper end. `stops`: it is stopped after a moment, since it would not end soon."""

    client: str
    kind: str
    scripts: dict[str, Script] = field(default_factory=dict)
    may_complete: bool = True
    stops: bool = False


def whole(client: str, text: str = "Red.", **more: Any) -> bytes:
    """A proper answer of some pieces."""
    pieces = [{**piece(client, part), **more} for part in (text[:2], text[2:])]
    lines = [json.dumps(one) for one in (*pieces, end(client))]
    return framed(client, lines) + (b"data: [DONE]\n\n" if client == "openai" else b"")


def piece(client: str, text: Any) -> dict[str, Any]:
    return {
        "openai": {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
        "ollama": {"model": "m", "message": {"role": "assistant", "content": text}, "done": False},
        "llama": {"content": text, "stop": False},
    }[client]


def end(client: str) -> dict[str, Any]:
    return {
        "openai": {
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2},
        },
        "ollama": {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "eval_count": 2,
            "eval_duration": 20_000_000,
        },
        "llama": {"content": "", "stop": True, "stop_type": "eos", "tokens_evaluated": 9, "tokens_predicted": 2},
    }[client]


def framed(client: str, lines: list[str]) -> bytes:
    before, after = ("", "\n") if client == "ollama" else ("data: ", "\n\n")
    return "".join(f"{before}{line}{after}" for line in lines).encode("utf-8", "surrogatepass")


# The kinds: (client, dice) → script of the answer to the question, and what may become of it


def _cut(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    proper = whole(client)
    last = proper.rindex(json.dumps(end(client)).encode())
    return http([Send(proper[: dice.randrange(last + 10)]), *dice.choice(([], [Reset()]))]), False, False


def _giant_line(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    start = framed(client, [json.dumps(piece(client, "a"))]).rstrip()[:-20]
    return http([Send(start), Send(dice.choice((b"a", b"[", b"\\", b'"')) * 2**16, 4000)]), False, dice.random() < 0.3


def _byte_by_byte(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    chunks = Send(b"1\r\na\r\n", 30_000)
    return http([Send(b"5\r\ndata:\r\n"), chunks, Wait(5)], 200, ("Transfer-Encoding", "chunked")), False, True


def _flood(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    line = framed(client, [json.dumps(piece(client, "b" * dice.choice((10, 60_000))))])
    return http([Send(line * 10, 100_000)]), False, True


def _deep(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    opening = dice.choice(("[", '{"a":', '[{"a":'))
    line = json.dumps(piece(client, "x"))[:-1] + f', "more": {opening * dice.choice((70, 900, 5000, 100_000))}'
    return http(framed(client, [line])), False, False


def _bad_utf8(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    bad = dice.choice(
        (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88", b"\xe2\x82", dice.randbytes(3).hex().encode())
    )
    return http(whole(client, "ab@@@b").replace(b"@@@", bad)), True, False


def _surrogates(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    text = dice.choice(("a\ud800", "\udc00b", "\ud83d\ude00", "\ud83d x \ude00", "\\ud800", "\u2028\x85\x0b"))
    return http(whole(client, f"ab{text}")), True, False


def _wrong_types(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    lines: list[Any] = [piece(client, "a"), end(client)]
    for _ in range(dice.randint(1, 3)):
        spoil(dice.choice(lines), dice)
    lines = [one if dice.random() > 0.1 else dice.choice(ODD) for one in lines]
    return http(framed(client, [json.dumps(one) for one in lines])), True, False


def _mutated(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    return http(mutated(whole(client, "Red. And blue."), dice)), True, False


def _drip(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    drip = Send(dice.choice((b"a", b" ", b"\n", b"\xff")), 100, 0.1)
    return http([Send(framed(client, [json.dumps(piece(client, "Red"))])), drip]), False, dice.random() < 0.3


def _comments(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    return http([Send(b": still here\n", 10_000, 0.01)]), False, client != "ollama"


def _silence(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    head = http(b"")[0].data
    return [Send(dice.choice((b"", head, head[:20], head + whole(client)[:70]))), Wait(5)], False, dice.random() < 0.5


def _redirect(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    where = dice.choice(
        (ELSEWHERE, "http://169.254.1.1/", "file:///etc/passwd", "//evil.example/", "\xff", "", CHAT[client])
    )
    status = dice.choice((300, 301, 302, 303, 304, 307, 308))
    return http(b"moved", status, *([("Location", where)] if where else [])), False, False


def _compressed(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    pack: Callable[[bytes], bytes] = dice.choice((gzip.compress, zlib.compress, lambda data: data))
    coding = dice.choice(("gzip", "deflate", "br", "zstd", "gzip, gzip, gzip", "x-odd"))
    return (
        http(pack(whole(client) + b"\0" * 2**26), dice.choice((200, 500)), ("Content-Encoding", coding)),
        False,
        False,
    )


def _content_type(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    charset = dice.choice(("utf-16", "utf-7", "zlib_codec", "bz2", "idna", "unicode_escape", "nonsense", '"'))
    mime = dice.choice(("text/html", "image/png", "application/json", "")) + f"; charset={charset}"
    return http(whole(client), 200, mime=mime), True, False


def _error(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    status = dice.choice((100, 199, 204, 400, 401, 404, 413, 418, 429, 500, 502, 503, 599, 999))
    value = json.dumps({"error": dice.choice((*ODD, {"message": dice.choice(ODD), "code": dice.choice(ODD)}))})
    body: bytes | Script = dice.choice(
        (value.encode(), b"<html>" * 99, b"\xff" * 999, b"[" * 60_000, [Send(b"e" * 2**16, 3000)], [Wait(3)])
    )
    after = dice.choice(("1", "9" * 400, "-1", "Fri, 31 Dec 99999 23:59:59 GMT", "soon"))
    return http(body, status, ("Retry-After", after)), False, False


def _error_event(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    error = json.dumps({"error": dice.choice((*ODD, {"message": dice.choice(ODD), "code": dice.choice(ODD)}))})
    return http(framed(client, [json.dumps(piece(client, "a")), error])), False, False


def _not_http(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    flood = Send(b"X-A: b\r\n", 100_000)
    odd: tuple[Script, ...] = (
        [Send(dice.randbytes(500))],
        [Send(b"SSH-2.0-OpenSSH\r\n")],
        [Send(b"HTTP/1.1 200\r\n\x00: \x00\r\n\r\n")],
        [Send(b"HTTP/1.1 100 Continue\r\n\r\n", 100_000)],
        [Send(b"HTTP/1.1 200 OK\r\n"), flood],
        [Send(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")],
        [Reset()],
    )
    return dice.choice(odd), False, False


def _length_lies(client: str, dice: random.Random) -> tuple[Script, bool, bool]:
    proper = whole(client)
    cut = proper[: proper.rindex(json.dumps(end(client)).encode())]
    header = dice.choice(
        (("Content-Length", str(len(cut) + 999)), ("Content-Length", "-5"), ("Content-Length", "9" * 30),
         ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip, chunked"))
    )  # fmt: skip
    body = dice.choice((cut, b"ffffffffff\r\n" + cut, b"zz\r\n" + cut, b"0\r\n\r\n"))
    return http(body, 200, header), False, False


KINDS = (
    _cut, _giant_line, _byte_by_byte, _flood, _deep, _bad_utf8, _surrogates, _wrong_types, _mutated, _drip, _comments,
    _silence, _redirect, _compressed, _content_type, _error, _error_event, _not_http, _length_lies,
)  # fmt: skip


def _about(client: str, dice: random.Random) -> Script:
    """A bad answer to what it is."""
    said = json.loads(json.dumps(SAID[client]))
    match dice.randrange(8):
        case 0:
            return http(json.dumps(dice.choice(ODD)).encode(), mime="application/json")
        case 1:
            return http(b"[" * dice.choice((100, 10**6)), mime="application/json")
        case 2:
            return http([Send(b" " * 2**16, 2000)], mime="application/json")
        case 3:
            return http(mutated(json.dumps(said).encode(), dice), mime="application/json")
        case 4:
            return http([Send(b" ", 300, 0.05)], mime="application/json")
        case 5 | 6:
            spoil(said, dice)
            return http(json.dumps(said).encode(), mime="application/json")
    return dice.choice((_redirect, _compressed, _error, _not_http, _silence))(client, dice)[0]


class Servers(Section):
    name, full_count = "servers", 500

    def case(self, number: int, dice: random.Random) -> Case:
        client = CLIENTS[number % len(CLIENTS)]
        kind = KINDS[number // len(CLIENTS) % len(KINDS)]
        if dice.random() < 0.15:
            proper = http(whole(client))
            return Case(client, "about", {ABOUT[client]: _about(client, dice), CHAT[client]: proper})
        script, may_complete, stops = kind(client, dice)
        good = http(json.dumps(SAID[client]).encode(), mime="application/json")
        return Case(client, kind.__name__, {ABOUT[client]: good, CHAT[client]: script}, may_complete, stops)

    def attempt(self, case: Case, folder: Path) -> str:
        server = HostileServer(case.scripts)
        try:
            return outcome(case, server)
        finally:
            server.close()


def outcome(case: Case, server: HostileServer) -> str:
    """Ask, and look at everything that came. Raises LensError, and AssertionError where something is wrong."""
    cancel = threading.Event()
    if case.stops:
        threading.Timer(STOP_AFTER_SECONDS, cancel.set).start()
    began, said, stats = time.monotonic(), "", None
    try:
        question = build_prompt([Message("user", "What is it?", ())], None)  # type: ignore[arg-type]
        for event in backend_of(case.client, server.url).generate(question, GenerationSettings(), cancel):
            assert stats is None, "an event after the statistics"
            if isinstance(event, Delta):
                said += event.text
            stats = event if isinstance(event, Stats) else None
    except LensError as error:
        assert not case.stops or not cancel.is_set(), f"stopped, and yet it failed: {error}"
        str(error).encode()
        assert len(str(error)) < 2000, "an endless error"
        raise
    finally:
        took = time.monotonic() - began
        assert ELSEWHERE not in server.asked, "a redirect was followed"
    said.encode()
    assert isinstance(stats, Stats), "no statistics"
    for value in vars(stats).values():
        assert not isinstance(value, int | float) or -(2**63) <= value < 2**63, f"{value} cannot be stored"
    if stats.stop_reason == "cancelled":
        assert took < STOP_AFTER_SECONDS + STOPPED_WITHIN_SECONDS, f"stopping took {took:.1f} s"
        return "stopped"
    assert case.may_complete, f"half an answer passed for a whole one: {case.kind} {said[:60]!r}"
    return "used"


def backend_of(client: str, url: str, timeouts: Timeouts = TIMEOUTS) -> Backend:
    if client == "ollama":
        return OllamaBackend("m", url, timeouts=timeouts)
    if client == "llama":
        return LlamaServerBackend(bundled(), url, timeouts=timeouts)
    return OpenAIBackend(f"{url}/v1", timeouts=timeouts)


SECTION = Servers()
