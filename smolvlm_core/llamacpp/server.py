"""One llama-server process: command line, start with progress, log, end. Does not know prompts."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import httpx
import psutil

from smolvlm_core.errors import BackendError
from smolvlm_core.files import make_folder
from smolvlm_core.llamacpp.gguf import read_gguf, why_not_a_pair
from smolvlm_core.llamacpp.programs import Program, find_server
from smolvlm_core.paths import data_folder
from smolvlm_core.work.report import Report
from smolvlm_core.work.slots import Slots

START_SECONDS = 600  # a large model from a slow disk
LOG_LIFETIME_SECONDS = 7 * 24 * 3600
KEEPER = Path(__file__).with_name("keeper.py")
# The checkpoint's own template puts a space after "User:" unless the first part of a turn has type "image". In llama-server
# it never has: pictures reach the template as marks in the text (common/chat.cpp, b11434). This template looks for the mark, so
# that a chat request gives exactly the prompt that SmolVLM2 was trained on. Pictures at the end of a turn move to its start, as
# in training: Open WebUI (0.12.4) sends them after the text, which made answers worse.
TEMPLATE = """\
<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}\
{% if message['content'] is string %}{% set said = message['content'] %}\
{% else %}{% set said = message['content'] | map(attribute='text') | join('') %}{% endif %}\
{% set parts = said.split('<__media') %}{% set found = namespace(last=parts | length > 1) %}\
{% for part in parts[1:] %}{% if not part.endswith('__>') %}{% set found.last = false %}{% endif %}{% endfor %}\
{% if found.last %}{% set said = '<__media' + parts[1:] | join('<__media') + parts[0].strip() %}{% endif %}\
{{ ':' if said.startswith('<__media') else ': ' }}{{ said }}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""


@dataclass(frozen=True)
class ServerOptions:
    """`image_max_tokens`: the most image tokens a picture is cut into, besides its overview. None: llama-server's default.

    `context_tokens`: of each slot. `slots`: answers at once. `program`: see `programs.find_server`. `port`: None takes a free one.
    """

    text: Path
    projector: Path | None
    context_tokens: int
    _: KW_ONLY
    slots: int = 1
    gpu_layers: int | None = None
    threads: int | None = None
    image_max_tokens: int | None = None
    program: str = ""
    host: str = "127.0.0.1"
    port: int | None = None


def arguments(options: ServerOptions, port: int, template: Path) -> list[str]:
    """llama-server's arguments, without the program. Pure.

    Each slot has a context of its own. llama-server divides `--ctx-size` among them.
    """
    out = ["--model", str(options.text), "--alias", options.text.stem, "--host", options.host, "--port", str(port)]
    out += [
        "--ctx-size",
        str(options.context_tokens * options.slots),
        "--parallel",
        str(options.slots),
        "--slots",
        "--no-webui",
    ]
    if options.projector is not None:
        out += ["--mmproj", str(options.projector), "--jinja", "--chat-template-file", str(template)]
    if options.gpu_layers is not None:
        out += ["--gpu-layers", str(options.gpu_layers)]
    if options.threads is not None:
        out += ["--threads", str(options.threads)]
    if options.image_max_tokens is not None:
        out += ["--image-max-tokens", str(options.image_max_tokens)]
    return out


class LlamaServer:
    """A running server. Created by `start`. It ends with `stop`, or when this process ends, however that happens."""

    def __init__(
        self,
        options: ServerOptions,
        program: Program,
        process: subprocess.Popen[bytes],
        url: str,
        log: Path,
        api_key: str = "",
    ):
        self.options, self.program, self.url, self.log, self.api_key = options, program, url, log, api_key
        self._process = process
        self.slots = Slots(options.slots)
        self.start_seconds = 0.0  # until it answered

    @classmethod
    def start(
        cls, options: ServerOptions, report: Report, cancel: threading.Event | None = None, api_key: str = ""
    ) -> LlamaServer:
        """Start a server and wait until it answers.

        Args:
            api_key: requests must send it. "": $LLAMA_API_KEY, as llama-server reads it, or no key.

        Raises:
            ModelError: no llama.cpp on this machine, or a file is missing or incomplete.
            BackendError: the files do not fit together, or the server ended instead of answering.
        """
        check_files(options.text, options.projector)
        program = find_server(options.program)
        port = options.port or _free_port(options.host)
        _refuse_taken(options.host, port)
        logs = data_folder() / "logs"
        make_folder(logs)
        drop_old(logs, "llama-server-")
        with tempfile.NamedTemporaryFile("wb", prefix="llama-server-", suffix=".log", dir=logs, delete=False) as log:
            template = Path(log.name).with_suffix(".jinja")
            template.write_text(TEMPLATE)
            command = [sys.executable, str(KEEPER), *program.command(arguments(options, port, template))]
            # By default, llama-server lets any web page that the user has open read its answers. The key is not an argument:
            # other users of this machine can read those.
            environment = {"LLAMA_ARG_CORS_ORIGINS": "localhost", **os.environ}
            environment["GOMP_SPINCOUNT"] = "1000"  # as in text/client, where the figures are
            environment |= {"LLAMA_API_KEY": api_key} if api_key else {}
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        reached = "127.0.0.1" if options.host in ("0.0.0.0", "::") else options.host
        reached = f"[{reached}]" if ":" in reached else reached
        key = environment.get("LLAMA_API_KEY", "").split(",")[0]  # any of several is accepted
        server = cls(options, program, process, f"http://{reached}:{port}", Path(log.name), key)
        try:
            began = time.perf_counter()
            server._wait_until_ready(report, cancel or threading.Event())
            server.start_seconds = time.perf_counter() - began
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def memory_bytes(self) -> int:
        """RAM that the server uses; 0 once it has ended."""
        try:
            children = psutil.Process(self._process.pid).children(recursive=True)
            return sum(int(child.memory_info().rss) for child in children)
        except psutil.Error:
            return 0

    def ends_within(self, seconds: float) -> bool:
        """Whether it has ended, or ends within that time: a connection breaks a moment before its process ends."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()  # the keeper then ends the server
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def why_it_ended(self) -> str:
        """The line of its log that says most."""
        try:
            return telling_line(self.log.read_text(errors="replace").splitlines())
        except OSError as error:
            return f"its log cannot be read ({error.strerror})"

    def _wait_until_ready(self, report: Report, cancel: threading.Event) -> None:
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS:
            report(f"Starting llama-server ({time.monotonic() - began:.0f} s)", None)
            if cancel.is_set():
                raise BackendError("The start of llama-server was stopped.")
            if not self.alive:
                raise BackendError(
                    f"llama-server ended while starting: {self.why_it_ended()}", f"Its log is {self.log}."
                )
            try:
                with httpx.stream("GET", f"{self.url}/health", timeout=2, trust_env=False) as answer:  # not its body
                    if answer.status_code == 200:
                        return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise BackendError(f"llama-server did not answer within {START_SECONDS} s.", f"Its log is {self.log}.")


def check_files(text: Path, projector: Path | None) -> None:
    """Raises LensError where the files are not a text model and, if given, a projector that fits it."""
    facts = read_gguf(text)
    if facts.kind == "projector":
        raise BackendError(
            f"{text.name} is a vision projector, not a text model.",
            "Use it as the projector, and the text model's file (without mmproj in its name) as the model.",
        )
    if projector is not None and (apart := why_not_a_pair(facts, read_gguf(projector))):
        raise BackendError(f"{apart[0].upper()}{apart[1:]}.", "Use the projector that was converted with this model.")


def telling_line(lines: Sequence[str]) -> str:
    """The first error of a log: later ones follow from it. Without one, the last line."""
    said = [re.sub(r"^[\d.]+ [A-Z] ", "", line).strip() for line in lines]
    marked = [s for line, s in zip(lines, said) if re.match(r"^[\d.]+ E ", line) and s]
    worded = [s for s in said if re.search(r"\berror\b|\bfailed\b|unable|out of memory|not enough", s, re.IGNORECASE)]
    plain = [s for s in said if s]
    return (marked or worded or plain[-1:] or ["its log is empty"])[0][:300]


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _refuse_taken(host: str, port: int) -> None:
    """Otherwise another server on that port would be mistaken for the one that could not start."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise BackendError(
                f"Port {port} on {host} cannot be used: {error}.",
                "Choose another port, or stop the program that uses it.",
            ) from error


def drop_old(folder: Path, prefix: str) -> None:
    """Delete logs and templates that are more than a week old."""
    for old in folder.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > LOG_LIFETIME_SECONDS:
                old.unlink()
