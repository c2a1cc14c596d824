from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from smolvlm_core.cli import main
from tests.clips import number_in, write_numbered
from tests.conftest import Writer, drawn
from tests.test_openai_api import Server, answering, piece, server  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smolvlm_core", *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def red_circle(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    drawn().save(path)
    return path


def test_the_answer_goes_to_stdout_and_everything_else_to_stderr(red_circle: Path) -> None:
    done = run("ask", "--model", "smolvlm-shapes", "--image", red_circle, "What color is the circle?")
    assert (done.returncode, done.stdout) == (0, "Red.\n")
    assert "180 image + " in done.stderr


def test_ask_prints_one_json_object(red_circle: Path, write_clip: Writer) -> None:
    done = run(
        "ask",
        "--model",
        "smolvlm-shapes",
        "--image",
        red_circle,
        "--image",
        red_circle,
        "--json",
        "How many images are there?",
    )
    value = json.loads(done.stdout)
    assert (
        value["model"] == "smolvlm-shapes" and value["stats"]["image_tokens"] == 360 and len(value["attachments"]) == 2
    )
    done = run("ask", "--model", "smolvlm-shapes", "--video", write_clip(), "--frames", 3, "--json", "What happens?")
    assert len(json.loads(done.stdout)["frames"]) == 3


ENDLESS = (("ask", "--image", "/dev/zero", "x"), ("ask", "--video", "/dev/zero", "x"), ("frames", "/dev/zero"))
if not Path("/dev/zero").exists():
    ENDLESS = ()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("ask",), 2, "question"),
        (("ask", "--frames", "0", "x"), 2, "the minimum is 1"),
        (("ask", "--model", "nonsense", "x"), 1, "no model or backend called 'nonsense'"),
        (("ask", "--image", "missing.png", "x"), 1, "missing.png does not exist"),
        *((command, 1, "/dev/zero is a device or a pipe") for command in ENDLESS),
        (("ask", "--image", "README.md", "x"), 1, "not an image"),
        (("ask", "--video", "README.md", "x"), 1, "not a clip"),
        (("ask", "--video", "a.mp4", "--image", "b.png", "x"), 2, "cannot be used together"),
        (("ask", "--frames", "3", "x"), 2, "--frames needs --video"),
        (("ask", "--temperature", "-1", "x"), 2, "temperature is -1.0; 0.0 to 5.0 is allowed"),
        (("ask", "what is <image>"), 1, "reserves"),
        (("frobnicate",), 2, "invalid choice"),
    ],
)
def test_errors_go_to_stderr_with_an_exit_code(args: tuple[str, ...], code: int, message: str) -> None:
    done = run(*args)
    assert done.returncode == code and message in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


def test_the_list_of_models_marks_the_default() -> None:
    done = run("models")
    assert done.returncode == 0 and "SmolVLM2-2.2B-Instruct" in done.stdout and "* " in done.stdout
    rows = json.loads(run("models", "--json").stdout)
    assert sum(row["default"] for row in rows) == 1 and all(row["memory_bytes"] > 0 for row in rows)


# Frames


def run_frames(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    try:
        code = main(["frames", *args])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_frames_are_printed_as_json_and_written_as_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_numbered(tmp_path / "a.mp4")
    code, out, _ = run_frames(capsys, str(tmp_path / "a.mp4"), "--count", "3", "--json", "--out", str(tmp_path / "out"))
    result = json.loads(out)
    assert code == 0 and set(result) == {"frames", "clip", "notes"} and result["notes"] == []
    assert [f["frame_index"] for f in result["frames"]] == [0, 29, 59]
    assert result["frames"][1] | {"file": ""} == {
        "timestamp_seconds": 2.9,
        "frame_index": 29,
        "width": 160,
        "height": 96,
        "decoder": "PyAV",
        "damaged": False,
        "file": "",
    }
    assert result["clip"]["codec"] == "h264" and result["clip"]["duration_seconds"] == 6.0
    saved = sorted((tmp_path / "out").iterdir())
    assert [str(path) for path in saved] == [f["file"] for f in result["frames"]]
    assert [number_in(Image.open(path)) for path in saved] == [0, 29, 59]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), [0, 11, 23, 35, 47, 59]),
        (("--fps", "0.5"), [0, 29, 59]),
        (("--fps", "2", "--range", "1-3"), [10, 16, 23, 30]),
        (("--count", "2", "--range", "4-60"), [40, 59]),
        (("--count", "2", "--range", "0:04.5-1:00:00"), [45, 59]),
    ],
)
def test_options_select_the_frames(
    args: tuple[str, ...], expected: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_numbered(tmp_path / "a.mp4")
    code, out, err = run_frames(capsys, str(tmp_path / "a.mp4"), *args, "--json")
    assert code == 0 and [f["frame_index"] for f in json.loads(out)["frames"]] == expected and err == ""
    code, out, err = run_frames(capsys, str(tmp_path / "a.mp4"), *args)
    assert len(out.splitlines()) == len(expected) and "H.264" in err and "PyAV" in err


def test_scenes_returns_fewer_frames_if_the_clip_has_fewer_and_reports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_numbered(tmp_path / "a.mp4", 4)
    code, out, err = run_frames(capsys, str(tmp_path / "a.mp4"), "--scenes", "--count", "9")
    assert code == 0 and len(out.splitlines()) == 4 and "note: 4 of 9 frames" in err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--range", "3-1"), 2, "ends before it starts"),
        (("--range", "soon"), 2, "“soon” is not a range"),
        (("--count", "0"), 2, "the minimum is 1"),
        (("--count", "600"), 2, "the limit is 512"),
        (("--fps", "0"), 2, "not between"),
        (("--count", "2", "--fps", "1"), 2, "not allowed with"),
        (("--range", "60-70"), 1, "not within the clip"),
    ],
)
def test_invalid_frame_requests_are_refused(
    args: tuple[str, ...], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_numbered(tmp_path / "a.mp4", 20)
    status, out, err = run_frames(capsys, str(tmp_path / "a.mp4"), *args)
    assert status == code and words in err and out == ""
    status, _, err = run_frames(capsys, str(tmp_path / "missing.mp4"))
    assert status == 1 and "does not exist" in err


def test_a_server_cannot_rewrite_the_terminal(
    server: Server,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.chat = answering(piece("red\x1b]0;owned\x07\x1b[2J"), piece("\x9b31m\rblue", finish_reason="stop"))
    assert main(["ask", "--model", server.url, "What?"]) == 0
    assert capsys.readouterr().out == "red\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u000dblue\n"
    assert main(["ask", "--model", server.url, "--json", "What?"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "red\x1b]0;owned\x07\x1b[2J\x9b31m\rblue"
    server.chat = (500, json.dumps({"error": {"message": "no\x1b[2J"}}))
    assert main(["ask", "--model", server.url, "What?"]) == 1
    assert "\x1b" not in capsys.readouterr().err
