"""`lint`: what makes a deployment blind, found in its files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import psutil
import pytest

from smolvlm_core.cli import main
from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp import render
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.gguf_lint import template_of
from smolvlm_core.llamacpp.lint import lint
from smolvlm_core.llamacpp.modelfile import OLLAMA_TEMPLATE, write_modelfile
from smolvlm_core.llamacpp.templates import difference, template_findings
from smolvlm_core.models import catalog

BUNDLED = catalog.bundled().folder
assert BUNDLED is not None
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made = convert(BUNDLED, tmp_path_factory.mktemp("lint"))
    assert made.projector is not None
    return made.texts[0].path, made.projector.path


def lines_of(findings: list[Finding]) -> str:
    return "\n".join(f"{f.level} {f.line} {f.what} {f.fix}" for f in findings)


def test_the_right_files_have_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert lint(pair[0]) == []
    assert lint(BUNDLED) == []
    write_modelfile(*pair, tmp_path / "Modelfile")
    assert lint(tmp_path / "Modelfile") == []


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("", "no chat template"),
        (CHATML, "ChatML"),
        (template_of(BUNDLED).replace("<image>", "<image></image>"), "</image> is not a token"),
        (template_of(BUNDLED).replace("<end_of_utterance>", ""), "answers will not end"),
        (template_of(BUNDLED).replace("':'", "': '"), "another prompt"),
        ("<|im_start|>" + template_of(BUNDLED), "stands 2 times"),
        ("{% for %}", "cannot be rendered"),
        ("{{ ''.__class__.__mro__ }}", "cannot be rendered"),
    ],
)
def test_wrong_templates(template: str, match: str) -> None:
    findings = list(template_findings(template))
    assert match in lines_of(findings) and any(f.level == "error" for f in findings)


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4, "more than 5 s of computing|more than 12 s"),
        ("{{ ('a' * 3000000000) | length }}", "more than 512 MB of memory"),
        ("{% set x = namespace(a='a') %}{% for i in range(60) %}{% set x.a = x.a ~ x.a %}{% endfor %}", "512 MB"),
        ("{{ ('a' * 3000000) }}", "a prompt of 3000000 characters"),
        ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "RecursionError|ended the process"),
        ("{{ " + "-" * 100_000 + "1 }}", "RecursionError|ended the process"),
        ("{% if 1 %}" * 500 + "{% endif %}" * 500, "SyntaxError|RecursionError|ended the process"),
        ("a" * 300_000, "it has 300000 characters"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages.__class__.__base__.__subclasses__() }}", "SecurityError"),
        ("{{ ''|attr('__class__') }}{{ cycler.__init__.__globals__.os.environ }}", "is undefined|SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ raise_exception('no') }}", "UndefinedError"),
    ],
)
def test_a_hostile_template_is_a_finding(template: str, match: str) -> None:
    """These hung the command for ever, filled the memory or ended in a traceback."""
    processes, memory = psutil.Process().children(recursive=True), psutil.Process().memory_info().rss
    (finding,) = [f for f in template_findings(template) if "cannot be rendered" in f.what]
    assert finding.level == "error" and finding.fix and re.search(match, finding.what), finding.what
    assert psutil.Process().children(recursive=True) == processes
    assert psutil.Process().memory_info().rss - memory < 100 * 2**20


def test_a_template_is_rendered_without_the_users_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLVLM_TEST_API_KEY", "secret")
    assert "SMOLVLM_TEST_API_KEY" not in render._environment()


def test_only_a_limited_process_renders_templates_of_others() -> None:
    """Jinja is used in this process for this project's own templates alone, and no tokenizer renders its chat template."""
    root = Path(render.__file__).parents[2]
    sources = {
        p: p.read_text("utf-8") for folder in ("smolvlm_core", "ui", "pages") for p in (root / folder).rglob("*.py")
    }
    own = {
        "smolvlm_core/compare/report.py",
        "smolvlm_core/conversations/export_html.py",
        "smolvlm_core/timeline/export/page.py",
        "ui/access/login.py",
        "ui/backends/evidence.py",
        "ui/compare/summary.py",
    }
    users = {p.relative_to(root).as_posix() for p, text in sources.items() if "jinja2" in text}
    assert users == {"smolvlm_core/llamacpp/render.py", *own}
    assert not [p for p, text in sources.items() if "apply_chat_template" in text]


def test_where_two_prompts_part() -> None:
    assert (
        difference("User: <image>What", "User:<image>What") == "after 'User:' comes ' <image>What', not '<image>What'"
    )


def test_a_text_model_alone_and_a_wrong_projector(pair: tuple[Path, Path], tmp_path: Path) -> None:
    alone = tmp_path / "model.gguf"
    shutil.copy(pair[0], alone)
    assert "never saw" in lines_of(lint(alone))
    data = bytearray(pair[1].read_bytes())
    at = data.index(b"clip.vision.projection_dim") + len(b"clip.vision.projection_dim") + 4
    data[at : at + 4] = (576).to_bytes(4, "little")
    (tmp_path / "mmproj-other.gguf").write_bytes(data)
    assert "projector of another model" in lines_of(lint(alone))
    assert "is a projector" in lines_of(lint(pair[1]))


@pytest.mark.parametrize(
    ("lines", "line", "match"),
    [
        ("FROM {text}", 1, "One FROM line"),
        ("FROM {text}\nADAPTER {projector}", 2, "ADAPTER is for LoRA"),
        ("FROM {text}\nFROM ./nothing.gguf", 2, "There is no file"),
        ("FROM {text}\nFROM {projector}\nPARAMETER stop <|im_end|>", 3, "The stop is '<|im_end|>'"),
        ('FROM {text}\n\n# a comment\nTEMPLATE """<|im_start|>user\n{{ .Prompt }}<|im_end|>\n"""', 4, "ChatML"),
        ("FROM {text}\nFROM {projector}", None, "num_ctx is not set"),
        ('FROM "{text}"', 1, "One FROM line"),
        ("FROM {text}\nFROM {text}", 2, "A second text model"),
    ],
)
def test_wrong_modelfiles(pair: tuple[Path, Path], tmp_path: Path, lines: str, line: int | None, match: str) -> None:
    path = tmp_path / "Modelfile"
    path.write_text(lines.replace("{text}", str(pair[0])).replace("{projector}", str(pair[1])))
    assert any(match in f.what and f.line == line for f in lint(path)), lines_of(lint(path))


def test_a_modelfile_is_checked_against_its_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    data = pair[1].read_bytes()
    (tmp_path / "mmproj.gguf").write_bytes(data.replace(b"smolvlm-shapes", b"another-model!"))
    path = tmp_path / "Modelfile"
    path.write_text(
        f"FROM {pair[0]}\nFROM {tmp_path / 'mmproj.gguf'}\nPARAMETER stop <end_of_utterance>\nPARAMETER stop User:"
    )
    said = lines_of(lint(path))
    assert "warning 2 mmproj.gguf names another model" in said and "stop" not in said


def test_a_checkpoint_that_stops_elsewhere_or_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(BUNDLED, folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "eos_token": "<|im_end|>"}))
    assert "The stop token in tokenizer_config.json is <|im_end|>" in lines_of(lint(folder))
    path.write_text("{")
    with pytest.raises(ModelError, match="tokenizer_config.json cannot be read"):
        lint(folder)


def test_what_is_none_of_these_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "notes.txt", tmp_path / "binary", tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelError):
            lint(path)


def test_a_checkpoint_that_was_saved_again_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(BUNDLED, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["text_config"]["architectures"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "names no text architecture" in lines_of(lint(folder))


def test_the_command(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "Modelfile"
    assert main(["lint", str(pair[0]), "--write-modelfile", str(target)]) == 0
    assert OLLAMA_TEMPLATE in target.read_text() and target.read_text().count("FROM ") == 2
    assert main(["lint", str(pair[0]), "--write-modelfile", str(target)]) == 1  # it is there already
    (tmp_path / "Bad").write_text(f"FROM {pair[0]}")
    assert main(["lint", str(tmp_path / "Bad")]) == 1
    assert f"{tmp_path / 'Bad'}:1: error: One FROM line" in capsys.readouterr().out
