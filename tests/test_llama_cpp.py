"""The llama.cpp backend with a real llama-server and the bundled model; its pure parts without."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from smolvlm_core.backends.base import collect
from smolvlm_core.backends.llama_cpp import LlamaCppBackend, cut_for
from smolvlm_core.backends.remote.chat_api import Tally, data_uri
from smolvlm_core.backends.remote.http import authorization
from smolvlm_core.backends.remote.llama_completion import completion_request, take_completion
from smolvlm_core.backends.remote.llama_server import LlamaServerBackend
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.conversations.store import Store
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.errors import BackendError, ModelError
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.programs import FIX_FROM_BUILD, Program, build_number, find_server
from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions, arguments, check_files, telling_line
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats
from smolvlm_core.prompt.geometry import VisionGeometry
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.workspace import Workspace
from tests.conftest import Ggufs, Wrapper, drawn
from tests.llama import BOTH_KINDS, needs_llama_cpp
from ui import state

PICTURES = {
    "red": drawn("red"),
    "blue": drawn("blue", "rectangle"),
    "wide": drawn("green").resize((320, 180)),
    **{f"frame {i}": drawn("red", size=120 + i) for i in range(4)},
}
GEOMETRY = VisionGeometry(96, 192, 36, always_overview=True)


def picture(key: str) -> Attachment:
    width, height = PICTURES[key].size
    return Attachment(kind="image", sha256=f"llama {key}", name=key, mime="image/png", width=width, height=height)


def clip(frames: int = 3) -> Attachment:
    refs = tuple(FrameRef(i * 0.5, i, f"frame {i}") for i in range(frames))
    return Attachment(
        kind="video",
        sha256="clip",
        name="clip.mp4",
        mime="video/mp4",
        width=120,
        height=120,
        duration_seconds=frames * 0.5,
        frames=refs,
    )


def prompt_of(*messages: Message, system: str = "") -> Prompt:
    return build_prompt(messages, lambda name: PICTURES[name.removeprefix("llama ")], system)


def user(text: str, *attachments: Attachment) -> Message:
    return Message("user", text, attachments)


def said(events: list[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta))


def ask(backend: object, prompt: Prompt, **settings: object) -> tuple[str, Stats]:
    events = list(backend.generate(prompt, GenerationSettings(**settings), threading.Event()))
    assert isinstance(events[-1], Stats)
    assert all(not isinstance(e, Progress) for e in events[[isinstance(e, Delta) for e in events].index(True) :])
    return said(events), events[-1]


COLOR = "What color is the circle?"
PROMPTS = {
    "text": prompt_of(user("hello")),
    "one image": prompt_of(user(COLOR, picture("red"))),
    "a wide image": prompt_of(user("What is in the image?", picture("wide"))),
    "several images": prompt_of(user("What is in the second image?", picture("red"), picture("blue"))),
    "several turns": prompt_of(
        user(COLOR, picture("red")), Message("assistant", "Red."), user("What shape is it?"), system="Be brief."
    ),
    "numbers and accents": prompt_of(user("Is 12345 = «déjà vu»?\n\n 漢字 🙂", picture("red"))),
}
VIDEO = prompt_of(user(COLOR, clip()))
LONG = GenerationSettings(max_new_tokens=1800)


@pytest.fixture(scope="module", params=BOTH_KINDS)
def llama(ggufs: Ggufs, request: pytest.FixtureRequest) -> Iterator[LlamaCppBackend]:
    """A native llama-server, and the one of xllamacpp."""
    backend = ggufs.backend(program=request.param)
    yield backend
    backend.close()


def _get(server: LlamaServer, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}/{path}", headers=authorization(server.api_key))


def _post(server: LlamaServer, path: str, body: dict[str, Any]) -> Any:
    return httpx.post(f"{server.url}/{path}", json=body, headers=authorization(server.api_key)).json()


@pytest.fixture
def slot_idle(llama: LlamaCppBackend) -> object:
    def idle() -> bool:
        server = llama.handle.loaded
        return server is not None and not _get(server, "slots").json()[0]["is_processing"]

    return idle


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """LONG answers go on to their limit, about a second: whatever the checkpoint, there is time to end them."""

    def request(prompt: Prompt, settings: GenerationSettings, *more: Any, **named: Any) -> dict[str, Any]:
        return completion_request(prompt, settings, *more, **named) | {"ignore_eos": settings == LONG}

    monkeypatch.setattr("smolvlm_core.backends.remote.llama_completion.completion_request", request)


# What is sent


def test_the_request_is_the_exact_prompt_with_a_mark_for_each_picture() -> None:
    body = completion_request(PROMPTS["several images"], GenerationSettings(), "<mark>", GEOMETRY)
    assert body["prompt"]["prompt_string"] == PROMPTS["several images"].text.replace(IMAGE, "<mark>")
    assert len(body["prompt"]["multimodal_data"]) == 2
    again = completion_request(PROMPTS["several images"], GenerationSettings(), "<mark>", GEOMETRY)
    assert again == body  # the same bytes, or the server's cache does not serve the next question
    assert (
        completion_request(PROMPTS["text"], GenerationSettings(), "<mark>", GEOMETRY)["prompt"] == PROMPTS["text"].text
    )


def test_frames_are_counted_as_the_server_cuts_them() -> None:
    assert GEOMETRY.image_tokens(VIDEO.slots) == 3 * 2 * 36
    assert GEOMETRY.image_tokens(PROMPTS["one image"].slots) == 5 * 36
    mixed = prompt_of(user(COLOR, picture("red")), Message("assistant", "Red."), user(COLOR, clip()))
    assert GEOMETRY.image_tokens(mixed.slots) == 4 * 5 * 36
    assert (cut_for(VIDEO), cut_for(mixed), cut_for(PROMPTS["text"])) == ("frames", "tiles", None)


def test_stop_reasons_are_distinguished() -> None:
    def reason(**event: object) -> str:
        tally = Tally("")
        list(take_completion({"stop": True, "generation_settings": {"n_predict": 9}, **event}, tally))
        return tally.reason

    assert reason(stop_type="eos") == "end"
    assert reason(stop_type="limit", tokens_predicted=9) == "length"
    assert reason(stop_type="limit", tokens_predicted=4) == "context"


def test_the_command_line_of_the_server() -> None:
    options = ServerOptions(Path("t.gguf"), Path("p.gguf"), 4096, gpu_layers=9, threads=3, image_max_tokens=64)
    line = " ".join(arguments(options, 1234, Path("x.jinja")))
    for part in ("--host 127.0.0.1 --port 1234", "--ctx-size 4096", "--mmproj p.gguf", "--gpu-layers 9", "--threads 3"):
        assert part in line
    assert "--image-max-tokens 64" in line
    assert "--mmproj" not in arguments(ServerOptions(Path("t.gguf"), None, 1), 1, Path("x"))


@pytest.mark.parametrize(
    ("line", "build"),
    [
        ("version: 6845 (5d195f17)", 6845),
        ("version: 0.6.0 (build 11434, commit abc)", 11434),
        ("version: 0.6.0-dev (build 0, commit unknown)", None),
        ("version: 0 (unknown)", None),
    ],
)
def test_build_numbers(line: str, build: int | None) -> None:
    assert build_number(line) == build


def test_an_old_build_is_warned_about() -> None:
    assert "28273" in Program(Path("x"), "", FIX_FROM_BUILD - 1).warning
    assert "28273" in Program(Path("x"), "", None).warning
    assert Program(Path("x"), "", FIX_FROM_BUILD).warning == ""


def test_the_telling_line_of_a_log() -> None:
    log = ["0.00.1 I loading", "0.01.2 E llama_model_load: error loading model", "0.01.3 E exiting", "0.02.0 I bye"]
    assert telling_line(log) == "llama_model_load: error loading model"
    assert telling_line(["starting", "CUDA out of memory", "bye"]) == "CUDA out of memory"
    assert telling_line([]) == "its log is empty"


def test_a_missing_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="not a program") as refused:
        find_server("/nowhere/llama-server")
    assert "brew install llama.cpp" in refused.value.hint
    monkeypatch.setenv("LLAMA_SERVER", "/nowhere/else")
    with pytest.raises(ModelError, match="/nowhere/else"):
        find_server()


def test_a_program_that_is_not_llama_server_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    with pytest.raises(ModelError, match="did not report its version: hello"):
        find_server(str(program))


# What comes back


def test_it_sees_and_streams(llama: LlamaCppBackend) -> None:
    answer, stats = ask(llama, PROMPTS["one image"])
    assert answer == "Red."
    assert (stats.stop_reason, stats.image_tokens, stats.new_tokens) == ("end", 180, 3)
    assert stats.time_to_first_token_seconds and stats.tokens_per_second and stats.peak_memory_bytes > 10 * 2**20
    assert ask(llama, prompt_of(user("What shape is blue?", picture("blue"))))[0] in ("Square.", "Rectangle.")
    assert "smolvlm-shapes-F16.gguf" in llama.revision
    assert llama.capabilities().images and llama.capabilities().context_tokens == 2048


@pytest.mark.parametrize("name", PROMPTS)
def test_the_model_reads_the_very_tokens_that_transformers_sends(llama: LlamaCppBackend, name: str) -> None:
    """Counted by the server with the pictures, and compared one by one without: it does not tell image tokens."""
    prompt, spec = PROMPTS[name], catalog.bundled()
    ours = ask(llama, prompt, max_new_tokens=1)[1]
    ours_too = TransformersBackend(spec, pool=state.shared_process().pool)
    loaded = ours_too.handle.loaded or (ask(ours_too, PROMPTS["text"]) and ours_too.handle.loaded)
    ids = encode_prompt(prompt, spec, loaded.tokenizer, loaded.image_processor).ids
    assert ours.prompt_tokens == len(ids)
    server = llama.handle.loaded
    for part in prompt.text.split(IMAGE):
        body = {"content": part, "add_special": False, "parse_special": True}
        theirs = _post(server, "tokenize", body)["tokens"]
        assert theirs == loaded.tokenizer(part, add_special_tokens=False)["input_ids"]


def test_a_chat_request_gives_the_same_prompt(llama: LlamaCppBackend) -> None:
    """By the template that our servers are started with; the checkpoint's own puts a space before the picture."""
    exact = ask(llama, PROMPTS["several turns"], max_new_tokens=4)[1]
    server = llama.handle.loaded
    chat, stats = ask(OpenAIBackend(server.url, api_key=server.api_key), PROMPTS["several turns"], max_new_tokens=4)
    assert stats.prompt_tokens == exact.prompt_tokens
    assert chat == "Circle."


def test_pictures_that_end_a_turn_are_put_first(llama: LlamaCppBackend) -> None:
    """As Open WebUI sends them. Between texts they stay where they are."""
    server = llama.handle.ensure()

    def rendered(*parts: str) -> str:
        uri = data_uri(PROMPTS["one image"].slots[0])
        content = [
            {"type": "image_url", "image_url": {"url": uri}} if p == IMAGE else {"type": "text", "text": p}
            for p in parts
        ]
        body = {"messages": [{"role": "user", "content": content}]}
        return re.sub("<__media.*?__>", IMAGE, _post(server, "apply-template", body)["prompt"])

    asked = f"<|im_start|>User:{IMAGE}What?<end_of_utterance>\nAssistant:"
    assert rendered(IMAGE, "What?") == rendered("What?", IMAGE) == asked
    assert rendered("What?", IMAGE, IMAGE) == asked.replace(IMAGE, IMAGE * 2)
    assert f"User: a{IMAGE}b{IMAGE}<" in rendered("a", IMAGE, "b", IMAGE)


def test_a_follow_up_reads_only_what_is_new(llama: LlamaCppBackend) -> None:
    ask(llama, PROMPTS["one image"])
    after = prompt_of(user(COLOR, picture("red")), Message("assistant", "Red."), user("What shape is it?"))
    answer, stats = ask(llama, after)
    assert answer == "Circle."
    assert stats.reused_tokens >= 200 and stats.prompt_tokens - stats.reused_tokens < 25


def test_frames_of_a_clip_are_two_tiles_each(llama: LlamaCppBackend) -> None:
    """The difference to transformers that stays: the server adds an overview to the one tile."""
    answer, stats = ask(llama, VIDEO)
    assert answer == "Red."
    assert stats.image_tokens == 3 * 2 * 36
    assert stats.image_tokens < stats.prompt_tokens < stats.image_tokens + 120  # counted by the server
    assert llama.handle.loader._cut == "frames"
    running = [h.loader.options for h in state.shared_process().pool.loaded() if isinstance(h.loaded, LlamaServer)]
    assert running.count(llama.options) == 1
    assert ask(llama, PROMPTS["one image"])[1].image_tokens == 180
    assert llama.handle.loader._cut == "tiles"


def test_sampling_repeats_with_its_seed(llama: LlamaCppBackend) -> None:
    settings = {"temperature": 2.0, "max_new_tokens": 12}
    prompt = prompt_of(user("Describe the image.", picture("blue")))
    answers = [ask(llama, prompt, seed=seed, **settings)[0] for seed in (1, 1, 2, 3)]
    assert answers[0] == answers[1] and len(set(answers)) > 1


def test_a_cancel_closes_the_request_and_frees_the_slot(
    llama: LlamaCppBackend, slot_idle: object, endless: None
) -> None:
    cancel = threading.Event()
    events = []
    for event in llama.generate(prompt_of(user("Describe.")), LONG, cancel):
        events.append(event)
        if isinstance(event, Delta):
            cancel.set()
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "cancelled"
    began = time.monotonic()
    while not slot_idle():
        assert time.monotonic() - began < 3
        time.sleep(0.02)
    assert ask(llama, PROMPTS["one image"])[0] == "Red."


def test_a_cancel_while_waiting_and_one_before_the_first_word(llama: LlamaCppBackend) -> None:
    release = threading.Event()
    llama.handle.worker.submit(lambda: release.wait(20))
    cancel = threading.Event()
    events = llama.generate(PROMPTS["text"], GenerationSettings(), cancel)
    assert next(events) == Progress("Waiting: 1 before you")
    cancel.set()
    assert [e.stop_reason for e in events if isinstance(e, Stats)] == ["cancelled"]
    release.set()
    late = threading.Event()
    late.set()
    assert list(llama.generate(PROMPTS["text"], GenerationSettings(), late))[-1].stop_reason == "cancelled"


def test_a_server_that_dies_during_an_answer_restarts_and_the_text_is_saved(
    llama: LlamaCppBackend, workspace: Workspace, store: Store, endless: None
) -> None:
    class Fatal(Wrapper):
        """The backend, whose server is killed after the first words."""

        def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
            for event in llama.generate(prompt, settings, cancel):
                if isinstance(event, Delta):
                    kill_server(llama)
                yield event

    conversation = store.create("image")
    question = store.add_question(conversation, "Describe.")
    answer = workspace.answers.start(Fatal(llama), conversation, question, LONG)
    answer.wait(30)
    kept = store.messages(conversation)[-1]
    assert kept.status == "failed" and kept.text
    assert "started again" in kept.error
    deadline = time.monotonic() + 30
    while llama.handle.state != "ready" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert llama.handle.state == "ready"
    assert ask(llama, PROMPTS["one image"])[0] == "Red."


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.0])
def test_a_server_killed_while_idle_starts_again_and_is_asked_again(llama: LlamaCppBackend, seconds: float) -> None:
    """At once, it may seem alive: its port still answers, or its keeper has not noticed."""
    assert ask(llama, PROMPTS["one image"])[0] == "Red."
    before = llama.handle.loaded
    kill_server(llama)
    time.sleep(seconds)
    text, stats = ask(llama, PROMPTS["one image"])
    assert (text, stats.stop_reason) == ("Red.", "end")
    assert llama.handle.loaded is not before and llama.handle.loaded.api_key != before.api_key
    assert not llama.handle.worker.busy


def kill_server(backend: LlamaCppBackend) -> None:
    """Called after each piece of text: the process, or all of the server, may be gone already."""
    server = backend.handle.loaded
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(server._process.pid).children() if server is not None else ():
            child.kill()


@pytest.mark.parametrize("program", BOTH_KINDS)
def test_a_full_context_is_refused_with_what_to_do(ggufs: Ggufs, program: str) -> None:
    small = ServerOptions(ggufs.text, ggufs.projector, 256, program=program)
    backend = LlamaCppBackend(spec_of(read_gguf(ggufs.text), read_gguf(ggufs.projector)), small, pool=ggufs.pool)
    events: list[Event] = []
    with pytest.raises(BackendError, match="fewer pictures"):
        for event in backend.generate(PROMPTS["several images"], GenerationSettings(), threading.Event()):
            events.append(event)
    assert events[-1].stop_reason == "failed"
    backend.close()


@needs_llama_cpp
def test_without_a_projector_pictures_are_refused_before_anything_starts(ggufs: Ggufs) -> None:
    blind = LlamaCppBackend(
        spec_of(read_gguf(ggufs.text), None), ServerOptions(ggufs.text, None, 2048), pool=ggufs.pool
    )
    assert not blind.capabilities().images
    with pytest.raises(BackendError, match="projector"):
        blind.generate(PROMPTS["one image"], GenerationSettings(), threading.Event())
    assert blind.handle.loaded is None
    blind.close()


def test_files_in_the_wrong_places_are_refused_before_a_start(ggufs_without_quantizer: tuple[Path, Path]) -> None:
    text, projector = ggufs_without_quantizer
    with pytest.raises(BackendError, match="is a vision projector"):
        check_files(projector, None)
    with pytest.raises(BackendError, match="not a vision projector"):
        check_files(text, text)


@pytest.fixture(scope="module")
def ggufs_without_quantizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from smolvlm_core.llamacpp.convert import convert

    made = convert(catalog.bundled().folder, tmp_path_factory.mktemp("pair"))
    return made.texts[0].path, made.projector.path


# The process


@pytest.mark.parametrize("program", BOTH_KINDS)
def test_a_failed_start_shows_the_logs_line(ggufs: Ggufs, tmp_path: Path, program: str) -> None:
    damaged = tmp_path / "damaged.gguf"
    data = ggufs.text.read_bytes()
    damaged.write_bytes(data.replace(b"blk.0.attn_q.weight", b"blk.0.attn_X.weight"))
    with pytest.raises(BackendError, match=r"tensor 'blk\.0\.attn_q\.weight'") as failed:
        LlamaServer.start(ServerOptions(damaged, None, 256, program=program), lambda *_: None)
    assert ".log" in failed.value.hint


@needs_llama_cpp
def test_a_port_in_use_is_an_error(ggufs: Ggufs) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = ggufs.options(port=taken.getsockname()[1])
        with pytest.raises(BackendError, match="cannot be used"):
            LlamaServer.start(options, lambda *_: None)


@pytest.mark.parametrize("program", BOTH_KINDS)
def test_a_remote_llama_server_is_used_by_its_address(ggufs: Ggufs, program: str) -> None:
    server = LlamaServer.start(ggufs.options(program=program, threads=1), lambda *_: None)
    try:
        assert "n_threads = 1" in server.log.read_text()
        spec = spec_of(read_gguf(ggufs.text), read_gguf(ggufs.projector))
        elsewhere = LlamaServerBackend(spec, f"{server.url}/v1")
        assert elsewhere.capabilities().images and elsewhere.capabilities().context_tokens == 2048
        assert ask(elsewhere, PROMPTS["one image"])[0] == "Red."
        assert "smolvlm-shapes-F16.gguf" in elsewhere.revision
    finally:
        server.stop()
    if os.name != "nt":
        assert server._process.returncode == 0  # it ended when asked to, and was not killed
    with pytest.raises(BackendError, match="Nothing answers"):
        elsewhere.generate(PROMPTS["text"], GenerationSettings(), threading.Event())


@pytest.mark.parametrize("program", BOTH_KINDS)
def test_the_server_ends_with_the_app_even_when_that_is_killed(ggufs: Ggufs, tmp_path: Path, program: str) -> None:
    code = (
        "import sys, time; from pathlib import Path; from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions\n"
        "s = LlamaServer.start(ServerOptions(Path(sys.argv[1]), None, 256, program=sys.argv[2]), lambda *_: None)\n"
        "print(s._process.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "SMOLVLM_LENS_DATA": str(tmp_path)}
    app = subprocess.Popen([sys.executable, "-c", code, ggufs.text, program], stdout=subprocess.PIPE, env=environment)
    assert app.stdout is not None
    keeper = psutil.Process(int(app.stdout.readline()))
    server = keeper.children()[0]
    assert find_server(program).path.name in " ".join(server.cmdline())
    app.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    app.wait()
    psutil.wait_procs([keeper, server], timeout=15)
    assert not server.is_running() and not keeper.is_running()


@pytest.mark.parametrize("program", BOTH_KINDS)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_the_server_ends_with_its_keeper(ggufs: Ggufs, program: str) -> None:
    server = LlamaServer.start(ServerOptions(ggufs.text, None, 256, program=program), lambda *_: None)
    child = psutil.Process(server._process.pid).children()[0]
    server._process.kill()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
    server.stop()


def test_a_server_of_the_app_answers_only_with_its_key(llama: LlamaCppBackend) -> None:
    """A new key at each start. It is not in the arguments, which every user of a machine can list."""
    server = llama.handle.ensure()
    for path in ("props", "slots"):
        assert httpx.get(f"{server.url}/{path}").status_code == 401
        assert _get(server, path).status_code == 200
    for path in ("completion", "v1/chat/completions", "tokenize", "apply-template", "v1/models", "metrics", "infill"):
        assert httpx.post(f"{server.url}/{path}", json={"prompt": "a", "content": "a"}).status_code == 401, path
    assert httpx.get(f"{server.url}/health").status_code == 200
    process = psutil.Process(server._process.pid)
    lines = [" ".join(p.cmdline()) for p in (process, *process.children(recursive=True))]
    assert len(server.api_key) > 30 and all(server.options.text.name in line for line in lines)
    assert not any(server.api_key in line for line in lines) and server.api_key not in server.log.read_text()
    before = server.api_key
    llama.close()
    assert ask(llama, PROMPTS["one image"])[0] == "Red."
    assert llama.handle.loaded.api_key not in ("", before)


@pytest.mark.parametrize("program", BOTH_KINDS)
@pytest.mark.parametrize("key", ["", "first,second"])
def test_a_server_for_other_programs_has_the_users_key_or_none(
    ggufs: Ggufs, program: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", key)
    server = LlamaServer.start(ggufs.options(program=program), lambda *_: None)
    try:
        assert httpx.get(f"{server.url}/props").status_code == (401 if key else 200)
        assert _get(server, "props").status_code == 200
        assert server.api_key == key.split(",")[0]
    finally:
        server.stop()


@pytest.mark.parametrize("program", BOTH_KINDS)
def test_a_web_page_cannot_read_answers(ggufs: Ggufs, program: str) -> None:
    server = LlamaServer.start(ggufs.options(program=program), lambda *_: None)
    try:
        allowed = [
            httpx.get(f"{server.url}/props", headers={"Origin": origin}).headers.get("access-control-allow-origin")
            for origin in ("http://evil.example", "http://localhost:3000")
        ]
        assert allowed == [None, "http://localhost:3000"]
        assert httpx.get(server.url).status_code == 404  # no web page of its own
    finally:
        server.stop()


# Several at once


def test_answers_run_together_in_slots_and_a_restart_waits_for_them(ggufs: Ggufs) -> None:
    """More askers than slots: all get their own answers, two at a time. A clip, which restarts the server, ends none of them."""
    shared = ggufs.backend(slots=2)
    prompts = {
        key: prompt_of(Message("user", f"Describe the image, {key}.", (picture(key),))) for key in ("red", "wide")
    }
    alone = {
        key: collect(shared.generate(p, GenerationSettings(), threading.Event())).text for key, p in prompts.items()
    }
    frames = prompt_of(Message("user", "What happens?", (clip(),)))
    got: list[tuple[str, str]] = []
    most = [0]

    def ask(key: str, prompt: Prompt) -> None:
        for event in shared.generate(prompt, GenerationSettings(), threading.Event()):
            server = shared.handle.loaded
            most[0] = max(most[0], server.slots.taken if server is not None else 0)
            text = event.text if isinstance(event, Delta) else ""
            got.append((key, text))

    asked = [("red", prompts["red"]), ("wide", prompts["wide"]), ("red 2", prompts["red"]), ("clip", frames)]
    threads = [threading.Thread(target=ask, args=one) for one in [*asked, ("wide 2", prompts["wide"])]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    texts = {key: "".join(text for name, text in got if name == key) for key, _ in got}
    assert {key: text for key, text in texts.items() if key != "clip"} == {
        "red": alone["red"],
        "red 2": alone["red"],
        "wide": alone["wide"],
        "wide 2": alone["wide"],
    }
    assert texts["clip"] and most[0] == 2
    shared.close()
