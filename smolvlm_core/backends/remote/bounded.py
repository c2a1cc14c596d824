"""Everything that is read from a server passes here: bounded while it comes, and valid text when it leaves.

An httpx transport, so that our own requests and the Ollama client are read alike. Knows HTTP; not what is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from smolvlm_core.backends.remote.faults import ServerFault
from smolvlm_core.backends.remote.timeouts import Timeouts
from smolvlm_core.backends.remote.values import MOST_DEPTH, too_deep
from smolvlm_core.text import valid_text
from smolvlm_core.web import certificates

_HINT = "Is this the right address? The text so far is saved."
# Inside JSON, these end a line for Python's `str.splitlines`, which the Ollama client uses. JSON can escape them.
_LINE_ENDS = str.maketrans({end: f"\\u{ord(end):04x}" for end in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"})
# An escape: half of a surrogate pair alone, a whole pair, or another one.
_ESCAPE = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes of what a server may send.

    Attributes:
        line: of a line, and so of an event. llama-server's last one repeats the whole prompt.
        answer: of a streamed answer; log probabilities take some kilobytes a token.
        whole: of an answer that comes in one piece, such as a list of models.
        error: of the body of an error; the rest is not read.
    """

    line: int = 2 * 2**20
    answer: int = 128 * 2**20
    whole: int = 16 * 2**20
    error: int = 64 * 2**10


LIMITS = Limits()


def bounded_client(server: str, timeouts: Timeouts, *, streams: bool, limits: Limits = LIMITS) -> httpx.Client:
    """A client for one question. See `BoundedTransport`."""
    return httpx.Client(
        **client_options(server, timeouts, streams=streams, limits=limits)  # type: ignore[arg-type]
    )


def client_options(server: str, timeouts: Timeouts, *, streams: bool, limits: Limits = LIMITS) -> dict[str, object]:
    """The arguments of an httpx client, for packages that make their own."""
    longest = max(timeouts.first_byte_seconds, timeouts.silence_seconds) + 5  # who waits for the answer gives up before
    return {
        "transport": BoundedTransport(server, streams=streams, limits=limits),
        "timeout": httpx.Timeout(longest, connect=timeouts.connect_seconds),
        "follow_redirects": False,
        "trust_env": False,
    }


class BoundedTransport(httpx.BaseTransport):
    """Refuses redirects, compressed answers, and what is larger or nested deeper than the limits.

    Args:
        server: its address, for errors.
        streams: the answer comes in lines. Each piece that is passed on is some whole lines, without empty ones.
            Halves of surrogate pairs are left for the reader, since the other half may come with the next line.

    Raises:
        ServerFault: from every request and read.
    """

    def __init__(self, server: str, *, streams: bool, limits: Limits = LIMITS) -> None:
        self._server, self._streams, self._limits = server, streams, limits
        self._inner = httpx.HTTPTransport(verify=certificates(), trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        answer = self._inner.handle_request(request)
        try:
            self._check_head(answer)
        except BaseException:
            answer.close()
            raise
        # A charset could name any codec of Python, one that decompresses included.
        headers = [(name, value) for name, value in answer.headers.multi_items() if name != "content-type"]
        return httpx.Response(
            answer.status_code,
            headers=headers,
            stream=_Stream(answer, self._pieces(answer)),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._inner.close()

    def _check_head(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if 300 <= status < 400:
            where = valid_text(answer.headers.get("Location", ""))[:200]
            raise ServerFault(
                f"{self._server} redirects to {where!r} ({status}).",
                "Redirects are not followed. If you trust that address, add it instead.",
                status=status,
            )
        coding = answer.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity"):
            raise ServerFault(
                f"{self._server} sent a compressed answer ({coding[:40]!r}), which was not asked for.",
                "Turn off compression in the server or in the proxy before it.",
                status=status,
            )

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        if not 200 <= answer.status_code < 300:
            return self._head(answer)
        return self._lines(answer) if self._streams else self._whole(answer)

    def _head(self, answer: httpx.Response) -> Iterator[bytes]:
        """The beginning of an error."""
        left = self._limits.error
        for chunk in answer.iter_raw():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    def _whole(self, answer: httpx.Response) -> Iterator[bytes]:
        found = bytearray()
        for chunk in answer.iter_raw():
            found += chunk
            if len(found) > self._limits.whole:
                raise self._too_much("an answer", self._limits.whole)
        yield self._clean(bytes(found))

    def _lines(self, answer: httpx.Response) -> Iterator[bytes]:
        line, total = bytearray(), 0
        for chunk in answer.iter_raw():
            total += len(chunk)
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1  # only in what is new: a line may come byte by byte
            if end:
                yield self._clean_lines(bytes(line) + chunk[:end])
                line.clear()
            line += chunk[end:]
            if len(line) > self._limits.line:
                raise self._too_much("a line", self._limits.line)
            if total > self._limits.answer:
                raise self._too_much("an answer", self._limits.answer)
        yield self._clean_lines(bytes(line))

    def _clean_lines(self, data: bytes) -> bytes:
        lines = [line for line in data.splitlines() if line.strip()]
        if any(len(line) > self._limits.line for line in lines):
            raise self._too_much("a line", self._limits.line)
        return b"".join(self._clean(line) + b"\n" for line in lines)

    def _clean(self, data: bytes) -> bytes:
        """Valid UTF-8, and where it is whole, JSON without lone halves of surrogate pairs."""
        if too_deep(data):
            raise ServerFault(f"{self._server} sent JSON that is nested more than {MOST_DEPTH} deep.", _HINT)
        text = data.decode("utf-8", "replace")
        if self._streams:
            return text.translate(_LINE_ENDS).encode()
        return _ESCAPE.sub(lambda found: b"\\ufffd" if found[2] else found[0], text.encode())

    def _too_much(self, what: str, most: int) -> ServerFault:
        size = f"{most / 2**20:.0f} MB" if most >= 2**20 else f"{most / 2**10:.0f} KB"
        return ServerFault(f"{self._server} sent {what} of more than {size}.", _HINT)


class _Stream(httpx.SyncByteStream):
    def __init__(self, answer: httpx.Response, pieces: Iterator[bytes]) -> None:
        self._answer, self._pieces = answer, pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._answer.close()
