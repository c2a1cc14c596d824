"""llama.cpp as it comes with the install: which program is used and why, and what works without a native one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from smolvlm_core.backends.llama_cpp import GgufEntry
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.cli import main
from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp import programs
from smolvlm_core.llamacpp.programs import find_server
from smolvlm_core.llamacpp.server import ServerOptions, arguments
from smolvlm_core.llamacpp.server_runner import parse
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.workspace import Workspace
from tests.conftest import Ggufs, drawn
from tests.llama import needs_bundled
from tests.test_pages import ROOT, page, texts

RED = str(ROOT / "assets" / "gallery" / "1-red-circle.png")
COLOR = "What color is the circle?"


def write_program(folder: Path, build: int = 12345) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / "llama-server"
    program.write_text(f"#!/bin/sh\necho 'version: {build} (abc)'\n")
    program.chmod(0o755)
    return program


@needs_bundled
@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_native_program_comes_first_and_the_app_says_why(
    no_native_llama_cpp: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = find_server()
    assert bundled.bundled and "comes with the install" in bundled.why and "xllamacpp" in bundled.short_version
    on_path = write_program(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(on_path.parent))
    found = find_server()
    assert (found.bundled, found.short_version) == (False, "b12345")
    assert "on PATH" in found.why and str(on_path) in found.why
    named = write_program(tmp_path / "named", build=12346)
    monkeypatch.setenv("LLAMA_SERVER", str(named))
    assert find_server().build == 12346 and "LLAMA_SERVER" in find_server().why
    monkeypatch.setenv("LLAMA_SERVER", "xllamacpp")
    assert find_server().bundled and "LLAMA_SERVER" in find_server().why
    assert find_server(str(on_path)).build == 12345


@pytest.mark.parametrize(
    ("version", "shown"), [("2026.10.11549", "b11549 (xllamacpp)"), ("0.2.13", "0.2.13 (xllamacpp)")]
)
def test_the_packages_version_is_llama_cpps_build(
    no_native_llama_cpp: None, monkeypatch: pytest.MonkeyPatch, version: str, shown: str
) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: object())
    monkeypatch.setattr(programs, "version", lambda name: version)
    assert find_server().short_version == shown


def test_without_any_llama_cpp_it_says_how_to_get_it(
    no_native_llama_cpp: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not on this machine") as refused:
        find_server()
    assert "requirements.txt" in refused.value.hint and "brew install llama.cpp" in refused.value.hint
    with pytest.raises(ModelError, match="xllamacpp is not installed"):
        find_server("xllamacpp")


def test_the_runner_takes_every_argument_that_a_server_is_started_with() -> None:
    options = ServerOptions(
        Path("t.gguf"), Path("p.gguf"), 4096, gpu_layers=-1, threads=3, image_max_tokens=64, host="::1"
    )
    args = parse(arguments(options, 1234, Path("x.jinja")))
    assert (args.model, args.mmproj, args.alias, args.host, args.port) == ("t.gguf", "p.gguf", "t", "::1", 1234)
    assert (args.ctx_size, args.gpu_layers, args.threads, args.image_max_tokens) == (4096, -1, 3, 64)
    assert (args.parallel, args.slots, args.jinja, args.webui) == (1, True, True, False)
    assert args.chat_template_file == Path("x.jinja")
    alone = parse(arguments(ServerOptions(Path("t.gguf"), None, 1), 1, Path("x")))
    assert (alone.mmproj, alone.chat_template_file) == ("", None)
    assert alone.threads >= 1  # xllamacpp would take one thread
    with pytest.raises(SystemExit):
        parse(["--model", "t.gguf", "--port", "1", "--new-option"])


@needs_bundled
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only its Linux wheels need libgomp")
def test_a_system_without_libgomp_uses_torchs() -> None:
    """Debian's "slim" images have none: xllamacpp could then not be imported."""
    code = """
import ctypes, pathlib, sys
load = ctypes.CDLL
def lacking(name, *args, **options):
    if name == "libgomp.so.1":
        raise OSError("libgomp.so.1: cannot open shared object file")
    return load(name, *args, **options)
ctypes.CDLL = lacking
from smolvlm_core.llamacpp.server_runner import load_openmp
load_openmp()
import xllamacpp
maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
print({line.split()[-1] for line in maps if "libgomp" in line}, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("libgomp") == 1 and "torch/lib/libgomp.so.1" in done.stdout and "False" in done.stdout


@needs_bundled
def test_convert_answer_compare_and_check_work_as_installed(
    no_native_llama_cpp: None,
    tmp_path: Path,
    workspace: Workspace,
    backend: TransformersBackend,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "gguf"
    assert main(["convert", catalog.BUNDLED, "--out", str(out), "--quantize", "Q8_0"]) == 0
    said = capsys.readouterr()
    for name in ("smolvlm-shapes-F16.gguf", "smolvlm-shapes-Q8_0.gguf"):
        assert f"{name}: SEES" in said.err and name in said.out
        assert main(["ask", "--model", str(out / name), "--image", RED, COLOR]) == 0
        assert capsys.readouterr().out.strip() == "Red."
    assert (out / "smolvlm-shapes-Q8_0.gguf").stat().st_size < 0.6 * (out / "smolvlm-shapes-F16.gguf").stat().st_size

    llama = GgufEntry.of_files(out / "smolvlm-shapes-Q8_0.gguf").make(workspace.pool)
    picture = Attachment(kind="image", sha256="blue circle", name="blue", mime="image/png", width=300, height=300)
    prompt = build_prompt([Message("user", COLOR, (picture,))], lambda _: drawn("blue"), "")
    found = workspace.comparisons.begin(
        [("llama.cpp", llama), ("bf16", backend)], [(COLOR, prompt)], GenerationSettings()
    )[1]
    found.wait(120)
    assert [column.answers[0].text for column in found.columns] == ["Blue.", "Blue."]
    assert "xllamacpp" in found.columns[0].revision
    llama.close()
    assert "xllamacpp" not in sys.modules  # only its own process imports it


def test_a_k_quant_says_what_it_needs_before_anything_is_converted(
    no_native_llama_cpp: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", catalog.BUNDLED, "--out", str(tmp_path / "gguf"), "--quantize", "Q8_0,q4_k_m"]) != 0
    said = capsys.readouterr().err
    assert "Q4_K_M needs llama-quantize" in said and "brew install llama.cpp" in said and "F16 and Q8_0" in said
    assert not list(tmp_path.rglob("*.gguf"))


@needs_bundled
def test_the_backends_page_says_which_program_runs(no_native_llama_cpp: None) -> None:
    shown = texts(page("backends"))
    assert f"{find_server().short_version}: comes with the install" in shown
    assert "A native build can be faster" in shown


@needs_bundled
@pytest.mark.skipif(os.name == "nt", reason="sends Ctrl-C as a signal")
@pytest.mark.parametrize("key", ["the user's own", None, ""])
def test_serve_checks_and_serves_until_it_is_stopped(ggufs: Ggufs, tmp_path: Path, key: str | None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "smolvlm_core", "serve", "--engine", "llama.cpp"]
    command += ["--model", str(ggufs.text), "--port", str(port)]
    command += ["--llama-server", "xllamacpp"]
    environment = {name: value for name, value in os.environ.items() if name != "LLAMA_API_KEY"}
    environment |= {"LLAMA_API_KEY": key} if key is not None else {}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where the tests run in the background
    ) as serve:
        try:
            assert serve.stdout is not None
            address = serve.stdout.readline().strip()  # after the check; "" where it failed
            without_key = httpx.get(address.replace("/v1", "/props")).status_code
            serve.send_signal(signal.SIGINT)
            _, said = serve.communicate(timeout=60)
        finally:
            serve.kill()
    assert address == f"http://127.0.0.1:{port}/v1", said
    assert without_key == (200 if key == "" else 401)
    assert ("API key: " in said) == (key is None) and "the user's own" not in said
    assert "SEES" in said and "(xllamacpp): set by --llama-server" in said
